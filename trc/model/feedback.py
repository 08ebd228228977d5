"""What the simulator tells the network between iterations.

Each kind of feedback is one entry of :data:`FEEDBACKS`, a function registered by :func:`feedback`. The recursion embeds
what it observes as one more context token; nothing else of the model knows the kinds apart.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..common.checks import Overflow, all_finite
from ..common.registry import Registry
from ..experts.ilqr import newton_step
from ..experts.stationarity import ordinary_cost, residual_at
from ..problems import Problem
from ..simulation import Dynamics, rollout, rollout_cost
from ..simulation import costate as simulate_costate

#: Times, from first to last, at which the network is shown a trajectory, and how many scales off a state may be.
TIMES, FARTHEST = 11, 10.0

#: What logarithms are divided by, so that a few powers of ten are a few units.
LOG_SCALE = 5.0


@dataclass(frozen=True)
class Simulator:
    """Where the states come from: the dynamics of a problem, or a function of the user's in their place.

    It maps states ``[B, n]`` and controls ``[B, T, m]`` to final states ``[B, n]`` or trajectories ``[B, T+1, n]``.
    """

    problem: Problem | None = None
    dynamics_fn: Dynamics | None = None

    @property
    def is_known(self) -> bool:
        """Whether it knows dynamics of one kind or the other."""
        return self.problem is not None or self.dynamics_fn is not None

    def __call__(self, initial: Tensor, controls: Tensor) -> Tensor:
        """Trajectories ``[B, T+1, n]``, or final states ``[B, n]``; a ``ValueError`` if the function gives neither."""
        if self.dynamics_fn is None:
            return rollout(self.problem, initial, controls)
        states = self._of_function(initial, controls)
        if not all_finite(states):
            raise Overflow("dynamics_fn returned states that are not finite; check it with the same controls.")
        return states

    def _of_function(self, initial: Tensor, controls: Tensor) -> Tensor:
        try:
            states = self.dynamics_fn(initial, controls)
        except RuntimeError as error:  # one that knows no gradients is asked without them
            if not controls.requires_grad or "requires grad" not in str(error):
                raise
            states = self.dynamics_fn(initial.detach(), controls.detach())
        (B, n), T = initial.shape, controls.shape[1]
        if not isinstance(states, Tensor) or states.shape not in {(B, n), (B, T + 1, n)}:
            got = list(states.shape) if isinstance(states, Tensor) else type(states).__name__
            raise ValueError(
                f"dynamics_fn must return final states [{B}, {n}] or trajectories [{B}, {T + 1}, {n}], got {got}."
            )
        return states.to(initial)

    def costs(self, initial: Tensor, controls: Tensor, target: Tensor) -> Tensor:
        """What controls cost ``[B]``, infinity where they overflow; in float64 unless a function simulates."""
        if self.problem is None:
            raise ValueError("plans are judged by their cost: make the model with problem=, or set model.problem.")
        if self.dynamics_fn is None:
            given = initial.double(), self.problem.clip(controls.double()), target.double()
            return rollout_cost(self.problem, *given)
        states = self._of_function(initial, controls)
        if states.ndim != 3:
            raise ValueError("a cost needs every state: let dynamics_fn return trajectories [B, T+1, n].")
        costs = self.problem.cost(states, controls, target)
        return torch.where(costs.isfinite(), costs, torch.inf)

    def gradient(self, initial: Tensor, controls: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """States ``[B, T+1, n]``, costs ``[B]`` and their gradient ``∂J/∂u`` ``[B, T, m]``, all without a graph.

        A function of the user's is differentiated as it is. A ``ValueError`` if nothing says what controls cost, or if
        the function or the gradient is nothing that one can go by.
        """
        if self.problem is None:
            raise ValueError("the costate is the cost's: make the model with problem=, or set model.problem.")
        initial, controls, target = initial.detach(), controls.detach(), target.detach()
        if self.dynamics_fn is None:
            told = simulate_costate(self.problem, initial, controls, target)
            states, costs, gradient = told.states, told.cost, told.gradient
        else:
            with torch.inference_mode(False), torch.enable_grad():
                initial, controls, target = (tensor.clone() for tensor in (initial, controls, target))
                states = self(initial, controls.requires_grad_())
                if states.ndim != 3 or not states.requires_grad:
                    raise ValueError(
                        "the cost's gradient is asked for, by this feedback or by safeguard=True: let dynamics_fn "
                        "return trajectories [B, T+1, n] that can be differentiated, and write it in torch."
                    )
                costs = self.problem.cost(states, controls, target)
                (gradient,) = torch.autograd.grad(costs.sum(), controls)
            states, costs = states.detach(), costs.detach()
        if not all_finite(gradient):
            raise Overflow("the gradient of the cost is not finite; check the step and the cost at these controls.")
        return states, costs, gradient

    def stationarity(self, initial: Tensor, controls: Tensor, target: Tensor) -> Tensor:
        """How far controls are from stationary ``[B]``; see ``trc.experts.stationarity``."""
        states, _, gradient = self.gradient(initial, controls, target)
        first = (tensor.detach().transpose(0, 1) for tensor in (states, controls))
        return residual_at(self.problem, *first, target, gradient.transpose(0, 1))[0]

    def newton(self, initial: Tensor, controls: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The controls ``[B, T, m]`` that a Newton step leads to, and what they cost ``[B]``, in float64."""
        if self.problem is None or self.dynamics_fn is not None:
            raise ValueError(
                "a Newton step linearises the problem's own dynamics: make the model with problem=, and leave "
                "dynamics_fn out."
            )
        inputs = (tensor.detach().double() for tensor in (initial, target, controls))
        return newton_step(self.problem, *inputs)


class Observation(NamedTuple):
    """What one simulation of the current controls gives."""

    states: Tensor  #: [B, T+1, n] or [B, n], where the controls lead, as the simulator gave it
    error: Tensor  #: [B, n], the terminal error as it is shown
    features: Tensor  #: [B, f], what the network sees of it, scaled
    step: Tensor | None = None  #: [B, T, m], what the simulator would add to the controls
    cost: Tensor | None = None  #: [B], of the controls
    gradient: Tensor | None = None  #: [B, T, m], of the cost by the controls
    residual: Tensor | None = None  #: [B], how far they are from stationary, see ``trc.experts.stationarity``


#: Simulator, initial and target states [B, n], controls [B, T, m] and the scale of each state [n].
Observe = Callable[[Simulator, Tensor, Tensor, Tensor, Tensor], Observation]

#: Number of features f, from n, m and T.
Size = Callable[[int, int, int], int]


class Feedback(NamedTuple):
    """One kind of feedback: how many features it shows, how it observes (None: not), and what that takes."""

    size: Size
    observe: Observe | None
    steps: bool = False  #: whether it proposes a step of the controls
    asks_cost: bool = False  #: whether it goes by what plans cost, which a problem knows and a ``dynamics_fn`` doesn't
    asks_others: bool = False  #: whether it shows an instance something of the others of its batch


def one_a_state(n: int, m: int, T: int) -> int:
    """As many features as states."""
    return n


#: The kinds by name; ``"none"`` leaves the encoder of the error unused.
FEEDBACKS: Registry[Feedback] = Registry("feedback")
FEEDBACKS.add("none", Feedback(one_a_state, None), one_a_state)


def feedback(name: str, size: Size = one_a_state, **takes: bool) -> Callable[[Observe], Observe]:
    """Register, as a decorator, a function that observes; it shows `size` features, by default one a state.

    What it `takes` is said as in :class:`Feedback`. If it proposes ``steps`` of the controls, the network takes them,
    and adds what it thinks they lack.
    """

    def add(observe: Observe) -> Observe:
        FEEDBACKS.add(name, Feedback(size, observe, **takes), observe)
        return observe

    return add


@feedback("error")
def terminal_error(
    simulator: Simulator, initial: Tensor, target: Tensor, controls: Tensor, scale: Tensor
) -> Observation:
    """Simulate, and show the network by how much the final state misses the target."""
    states = simulator(initial, controls)
    error = (states[:, -1] if states.ndim == 3 else states) - target
    return Observation(states, error, error / scale)


@feedback("shuffled", asks_others=True)
def shuffled_error(
    simulator: Simulator, initial: Tensor, target: Tensor, controls: Tensor, scale: Tensor
) -> Observation:
    """Simulate, and show for each instance the terminal error of the batch's *next* one: a control experiment.

    What is shown is distributed like a terminal error and says nothing about the plan at hand.
    """
    if len(initial) < 2:
        raise ValueError('feedback "shuffled" shows the error of another instance: give at least two at a time.')
    seen = terminal_error(simulator, initial, target, controls, scale)
    return seen._replace(error=seen.error.roll(-1, 0), features=seen.features.roll(-1, 0))


@feedback("wrong")
def wrong_error(simulator: Simulator, initial: Tensor, target: Tensor, controls: Tensor, scale: Tensor) -> Observation:
    """Show by how much half the controls would miss the target, as if of a weaker actuator: a control experiment."""
    seen = terminal_error(simulator, initial, target, controls / 2, scale)
    return seen._replace(states=simulator(initial, controls))


def direction_and_size(step: Tensor) -> tuple[Tensor, Tensor]:
    """A step ``[B, T, m]`` over its root mean square, ``[B, T·m]``, and the logarithm of that ``[B, 1]``.

    Told apart, a direction is as good near the optimum as far from it.
    """
    flat = step.flatten(1)
    size = flat.square().mean(1, keepdim=True).sqrt().clamp_min(torch.finfo(flat.dtype).tiny)
    return flat / size, size.log() / LOG_SCALE


def on_the_way(states: Tensor, scale: Tensor) -> Tensor:
    """The states at a few times, scaled, ``[B, n·times]``."""
    return (states[:, _times(states.shape[1] - 1)] / scale).clamp(-FARTHEST, FARTHEST).flatten(1)


def _times(T: int) -> list[int]:
    """A few times from 0 to T, as evenly as whole numbers can be."""
    return sorted({round(T * i / (TIMES - 1)) for i in range(TIMES)})


def costate_size(n: int, m: int, T: int) -> int:
    """The gradient's direction, its size, the cost, and the states at a few times."""
    return T * m + 2 + n * len(_times(T))


@feedback("costate", costate_size, asks_cost=True)
def costate(simulator: Simulator, initial: Tensor, target: Tensor, controls: Tensor, scale: Tensor) -> Observation:
    """Show how the cost changes with each control: the costate, seen through the controls.

    Controls are taken as shares of their bounds, and costs as shares of an ordinary one, so that nothing has a unit. A
    control that its bound holds has no gradient. No gradient of a loss goes back through what is told.
    """
    states, costs, gradient = simulator.gradient(initial, controls, target)
    problem, firsts = simulator.problem, (states.transpose(0, 1), controls.detach().transpose(0, 1))
    residual, _, is_held = residual_at(problem, *firsts, target, gradient.transpose(0, 1))
    low, high = problem.bounds(controls)
    ordinary = ordinary_cost(problem)
    free = torch.where(is_held.transpose(0, 1), 0.0, gradient * (high - low) / (2 * ordinary))
    cost = (costs / ordinary).clamp_min(torch.finfo(costs.dtype).tiny).log().unsqueeze(1) / LOG_SCALE
    features = torch.cat((*direction_and_size(free), cost, on_the_way(states, scale)), 1)
    if controls.requires_grad:  # whoever asks for the cost of this iterate wants its graph
        states = simulator(initial, controls)
    told = {"cost": costs, "gradient": gradient, "residual": residual}
    return Observation(states, states[:, -1] - target, features, **told)


def newton_size(n: int, m: int, T: int) -> int:
    """What :func:`costate_size` says, and by how much the step lowers the cost."""
    return costate_size(n, m, T) + 1


@feedback("newton", newton_size, steps=True, asks_cost=True)
def newton(simulator: Simulator, initial: Tensor, target: Tensor, controls: Tensor, scale: Tensor) -> Observation:
    """Propose a Newton step, and show it in place of the gradient: one iteration of iterative LQR from the controls."""
    told = costate(simulator, initial, target, controls, scale)
    improved, lower = simulator.newton(initial, controls, target)
    step = improved - controls.detach()
    low, high = simulator.problem.bounds(step)
    unit = (2 * step / (high - low)).to(controls)
    share = torch.where(told.cost > 0, 1 - lower / told.cost, 0.0)  # there is nothing to save where nothing is paid
    drop = share.clamp_min(torch.finfo(told.cost.dtype).tiny).log().unsqueeze(1) / LOG_SCALE
    rest = told.features[:, unit[0].numel() + 1 :]
    features = torch.cat((*direction_and_size(unit), drop.to(controls), rest), 1)
    return told._replace(features=features, step=step.to(controls))
