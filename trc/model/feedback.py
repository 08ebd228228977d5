"""What the simulator tells the network between iterations.

Each kind of feedback is one entry of :data:`FEEDBACKS`, a function registered by :func:`feedback`. The recursion embeds
what it observes as one more context token; nothing else of the model knows the kinds apart.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..common.checks import all_finite
from ..common.registry import Registry
from ..experts.stationarity import held, ordinary_cost
from ..problems import Problem
from ..simulation import Dynamics, rollout
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

    def __call__(self, initial: Tensor, controls: Tensor) -> Tensor:
        """Trajectories ``[B, T+1, n]``, or final states ``[B, n]``; a ``ValueError`` if the function gives neither."""
        if self.dynamics_fn is None:
            return rollout(self.problem, initial, controls)
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
        if not all_finite(states):
            raise ValueError("dynamics_fn returned states that are not finite; check it with the same controls.")
        return states.to(initial)

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
            with torch.enable_grad():
                states = self(initial, controls.requires_grad_())
                if states.ndim != 3 or not states.requires_grad:
                    raise ValueError(
                        "the costate needs dynamics_fn to return trajectories [B, T+1, n] that can be differentiated: "
                        "write it in torch."
                    )
                costs = self.problem.cost(states, controls, target)
                (gradient,) = torch.autograd.grad(costs.sum(), controls)
            states, costs = states.detach(), costs.detach()
        if not all_finite(gradient):
            raise ValueError("the gradient of the cost is not finite; check the step and the cost at these controls.")
        return states, costs, gradient


class Observation(NamedTuple):
    """What one simulation of the current controls gives."""

    states: Tensor  #: [B, T+1, n] or [B, n], where the controls lead, as the simulator gave it
    error: Tensor  #: [B, n], the terminal error as it is shown
    features: Tensor  #: [B, f], what the network sees of it, scaled


#: Simulator, initial and target states [B, n], controls [B, T, m] and the scale of each state [n].
Observe = Callable[[Simulator, Tensor, Tensor, Tensor, Tensor], Observation]

#: Number of features f, from n, m and T.
Size = Callable[[int, int, int], int]


class Feedback(NamedTuple):
    """One kind of feedback: how many features it shows, and how it observes; None observes nothing."""

    size: Size
    observe: Observe | None


def one_a_state(n: int, m: int, T: int) -> int:
    """As many features as states."""
    return n


#: The kinds by name; ``"none"`` leaves the encoder of the error unused.
FEEDBACKS: Registry[Feedback] = Registry("feedback")
FEEDBACKS.add("none", Feedback(one_a_state, None), one_a_state)


def feedback(name: str, size: Size = one_a_state) -> Callable[[Observe], Observe]:
    """Register, as a decorator, a function that observes; it shows `size` features, by default one a state."""

    def add(observe: Observe) -> Observe:
        FEEDBACKS.add(name, Feedback(size, observe), observe)
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


@feedback("shuffled")
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


def costate_size(n: int, m: int, T: int) -> int:
    """The gradient's direction, its size, the cost, and the states at a few times."""
    return T * m + 2 + n * len(_times(T))


@feedback("costate", costate_size)
def costate(simulator: Simulator, initial: Tensor, target: Tensor, controls: Tensor, scale: Tensor) -> Observation:
    """Show how the cost changes with each control: the costate, seen through the controls.

    Controls are taken as shares of their bounds, and costs as shares of an ordinary one, so that nothing has a unit. A
    control that its bound holds has no gradient. Direction and size are told apart, since a direction is as good near
    the optimum as far from it. No gradient goes back through what is told.
    """
    states, costs, gradient = simulator.gradient(initial, controls, target)
    low, high = simulator.problem.bounds(controls)
    ordinary = ordinary_cost(simulator.problem)
    gradient = torch.where(held(gradient, controls, low, high), 0.0, gradient * (high - low) / 2).flatten(1) / ordinary
    least = torch.finfo(gradient.dtype).tiny
    size = gradient.square().mean(1, keepdim=True).sqrt().clamp_min(least)
    logarithms = torch.cat((size, costs.unsqueeze(1) / ordinary), 1).clamp_min(least).log()
    way = (states[:, _times(controls.shape[1])] / scale).clamp(-FARTHEST, FARTHEST).flatten(1)
    features = torch.cat((gradient / size, logarithms / LOG_SCALE, way), 1)
    if controls.requires_grad:  # whoever asks for the cost of this iterate wants its graph
        states = simulator(initial, controls)
    return Observation(states, states[:, -1] - target, features)


def _times(T: int) -> list[int]:
    """A few times from 0 to T, as evenly as whole numbers can be."""
    return sorted({round(T * i / (TIMES - 1)) for i in range(TIMES)})
