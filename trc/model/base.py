"""What every network of the library has in common: what it is asked, what it answers, and whom it may ask."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..common.checks import Overflow, check_count, check_kind, check_same_dtype, check_tensor, plain, shown
from ..common.memory import check_memory
from ..common.modes import refuse_script
from ..problems import Problem, check_problem
from ..simulation import Dynamics
from .config import NetworkConfig
from .feedback import FEEDBACKS, Simulator
from .guarded import Guard, Instances, check_tolerance
from .starts import Start, begin_at

#: From the first guess ``[B, T, m]`` to controls to begin with.
Begun = Callable[[Tensor], Tensor]


class Iterates(NamedTuple):
    """The control sequences of one call, the first guess and its K refinements."""

    controls: Sequence[Tensor]  #: K+1 of [B, T, m]
    latents: Sequence[tuple[Tensor, ...]] = ()  #: K+1 of what each was decoded from, [B, d]; nothing without latents
    errors: Sequence[Tensor] = ()  #: K of [B, n], of all but the last, where a simulator was asked
    states: Sequence[Tensor] = ()  #: K of [B, T+1, n], where it gave trajectories


class ControlNetwork(nn.Module, ABC):
    """A network that proposes whole control sequences; each kind says by :meth:`iterates` how they are made.

    Its `problem` is the simulator that it may ask, and no part of its weights; checkpoints keep the problem's settings.
    """

    def __init__(self, config: NetworkConfig, problem: Problem | None = None) -> None:
        config.check_fits()
        super().__init__()
        self.config = config
        self.problem = problem
        self.needs_simulator = False  # set by training with feedback, kept in checkpoints
        for name in ("control_low", "control_high", "state_scale"):
            self.register_buffer(name, torch.tensor(getattr(config, name)), persistent=False)

    def forward(
        self,
        current_state: Tensor,
        target_state: Tensor,
        time_remaining: Tensor | float | None = None,
        dynamics_fn: Dynamics | None = None,
        return_all_iterations: bool = False,
        iterations: int | None = None,
        *,
        start: Start | Sequence[Start] | None = None,
        safeguard: bool = False,
        tolerance: float | None = None,
    ) -> dict[str, Tensor]:
        """Propose controls and refine them.

        Parameters
        ----------
        current_state, target_state : Tensor ``[B, n]``
        time_remaining : Tensor ``[B]`` or float, optional
            Seconds left; the whole horizon by default.
        dynamics_fn : callable, optional
            ``(states [B, n], controls [B, T, m])`` to final states ``[B, n]`` or trajectories ``[B, T+1, n]``, used
            for the feedback instead of the model's own problem.
        iterations : int, optional
            Number of refinements; ``config.num_outer_cycles`` by default, any number is possible, and 0 gives the
            first guess. A feed-forward network has none.
        start : {"guess", "lqr", "zero"}, another of the problem's own, or Tensor ``[B, T, m]``; or several, optional
            Where to begin, in place of the network's own first guess; of several the cheapest, an instance at a time.
        safeguard : bool
            Whether no iterate may cost more than the one before: what the network proposes is tried at a few sizes,
            beside a few steps down the slope; where nothing is cheaper, ever smaller ones are, and where not even
            they are the controls stay as they are.
        tolerance : float, optional
            An instance leaves when its plan is good enough: when its residual (see ``trc.experts.stationarity``) is at
            most this, or, where the feedback tells no gradient, when the controls change by no more than this share of
            half their range, in the root mean square.

        Returns
        -------
        dict
            In the dtype of the question: ``controls`` ``[B, T, m]``. If feedback was active also ``errors``
            ``[B, K, n]``: the terminal error of iterates 0 to K-1, as the network saw it. With `return_all_iterations`
            also ``all_controls`` ``[B, K+1, T, m]`` (the initial guess first), ``all_latents`` ``[B, K+1, d]`` (``z``;
            with two levels ``z_H``, and ``z_L`` in ``all_low_latents``) and, if the feedback's simulator gives
            trajectories, ``all_states`` ``[B, K, T+1, n]``. With `safeguard` or `tolerance` also what each instance has
            taken ``[B]``: ``iterations``, ``rollouts`` and ``adjoints`` (a Newton step counts as two of each), the
            ``residual`` of its controls, and whether it ``overflowed`` and stays at its last good iterate (without
            either, an overflow is an error); there are as many iterates then as the most patient instance has, and no
            gradient goes through them.
        """
        check_tensor(current_state, (None, self.config.state_dim), "current_state")
        check_tensor(target_state, (current_state.shape[0], self.config.state_dim), "target_state")
        check_same_dtype(current_state, "current_state is", target_state, "target_state")
        check_kind(safeguard, bool, "safeguard", "say True or False")
        if current_state.device != self.control_low.device:
            where = f"current_state is on {current_state.device} but the network on {self.control_low.device}"
            raise ValueError(f"{where}; move one of them.")
        initial, target = current_state.to(self.control_low.dtype), target_state.to(self.control_low.dtype)
        iterations = self.config.num_outer_cycles if iterations is None else check_count(iterations, "iterations", 0)
        kept = iterations * initial.shape[0] * self.config.control_horizon * self.config.control_dim
        check_memory(kept * initial.element_size(), f"{iterations:,} refinements", "ask for fewer", initial.device)
        simulator = self.simulator(dynamics_fn)
        question = self.scaled_inputs(initial, target, time_remaining)
        asked = simulator or Simulator(self.problem, dynamics_fn)
        begun = None if start is None else partial(begin_at, start, initial=initial, target=target, simulator=asked)
        told: dict[str, Tensor] = {}
        if safeguard or tolerance is not None:
            guard, some = Guard(safeguard, check_tolerance(tolerance)), Instances(asked, initial, target)
            if FEEDBACKS[self.config.feedback].asks_others:
                raise ValueError(
                    f"feedback {self.config.feedback!r} needs the whole batch, which none can leave: leave safeguard "
                    "and tolerance out."
                )
            if begun is not None:
                begun = partial(begun, spend=some.spend_on_all)
            found, told = self.guarded_iterates(question, some, iterations, guard, begun)
        else:
            try:
                found = self.iterates(question, initial, target, simulator, iterations, begun)
            except Overflow as error:
                if len(initial) == 1 or FEEDBACKS[self.config.feedback].asks_others:
                    raise
                raise Overflow(f"{error} With safeguard=True, or a tolerance, the other instances go on.") from error
        output = {"controls": found.controls[-1]} | told
        if simulator is not None:
            none = initial.new_zeros(initial.shape[0], 0, self.config.state_dim)
            output["errors"] = torch.stack(list(found.errors), 1) if found.errors else none
        if return_all_iterations:
            output["all_controls"] = torch.stack(list(found.controls), 1)
            names = "all_latents", "all_low_latents"
            for name, latent in zip(names, zip(*found.latents, strict=True), strict=False):
                output[name] = torch.stack(latent, 1)
            if found.states:
                output["all_states"] = torch.stack(list(found.states), 1)
        dtype = current_state.dtype
        return {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in output.items()}

    @property
    def problem(self) -> Problem | None:
        """The problem that it may ask; another one must have the dimensions that the weights are for."""
        return self._problem

    @problem.setter
    def problem(self, problem: Problem | None) -> None:
        if problem is not None:
            check_problem(problem)
            have = tuple(getattr(self.config, name) for name in ("state_dim", "control_dim", "control_horizon"))
            if have != (want := (problem.state_dim, problem.control_dim, problem.horizon)):
                raise ValueError(
                    "the model is for state dimension {}, control dimension {} and horizon {}, the problem has {}, {} "
                    "and {}; train one for it.".format(*have, *want)
                )
        self._problem = problem

    __prepare_scriptable__ = staticmethod(refuse_script)  # torch.jit.script asks it

    @abstractmethod
    def iterates(
        self,
        question: Tensor,
        initial: Tensor,
        target: Tensor,
        simulator: Simulator | None,
        iterations: int,
        begun: Begun | None = None,
    ) -> Iterates:
        """The first guess and `iterations` refinements, from the scaled question ``[B, 2n + 1]``.

        `simulator` is what may be asked in between, about the unscaled states ``[B, n]``; None where nothing is.
        `begun` gives controls to begin with, from the first guess.
        """

    def guarded_iterates(
        self, question: Tensor, some: Instances, iterations: int, guard: Guard, begun: Begun | None = None
    ) -> tuple[Iterates, dict[str, Tensor]]:
        """As :meth:`iterates` under guard, see ``trc.model.guarded``; and what it took."""
        raise ValueError(f"a {type(self).__name__} refines nothing that could be guarded or stopped.")

    @property
    def uses_feedback(self) -> bool:
        """Whether a simulator tells the network something between iterations."""
        return FEEDBACKS[self.config.feedback].observe is not None

    def simulator(self, dynamics_fn: Dynamics | None) -> Simulator | None:
        """What simulates between iterations, or None where feedback is off or no simulator is known."""
        if not self.uses_feedback:
            return None
        if self.problem is None and FEEDBACKS[self.config.feedback].asks_cost:
            raise ValueError(
                f"feedback {self.config.feedback!r} goes by what a plan costs: make the model with problem=, or set "
                "model.problem."
            )
        if dynamics_fn is not None or self.problem is not None:
            return Simulator(self.problem, dynamics_fn)
        if self.needs_simulator:
            raise ValueError(
                "this model was trained with simulator feedback and has no simulator: set model.problem, "
                "or pass dynamics_fn."
            )
        return None

    def num_parameters(self) -> int:
        """Number of trainable parameters."""
        return sum(parameter.numel() for parameter in self.parameters())

    def scaled_inputs(self, initial: Tensor, target: Tensor, time_remaining: Tensor | float | None) -> Tensor:
        """Scaled initial state, target state and time ``[B, 2n + 1]``; the whole horizon where no time is given."""
        time = float(self.config.time_scale) if time_remaining is None else time_remaining
        try:
            time = time if isinstance(time, Tensor) else plain(time)
            if isinstance(time, bool) or (isinstance(time, Tensor) and time.dtype == torch.bool):
                raise TypeError("no number")
            time = torch.as_tensor(time, dtype=initial.dtype, device=initial.device).reshape(-1, 1)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            raise ValueError(f"time_remaining must be seconds, one or one an instance, got {shown(time)}.") from None
        if time.shape[0] not in (1, initial.shape[0]):
            raise ValueError(f"time_remaining needs one value or one an instance ({len(initial)}), got {len(time)}.")
        check_tensor(time, (None, 1), "time_remaining")
        time = time.expand(initial.shape[0], 1) / float(self.config.time_scale)
        return torch.cat((initial / self.state_scale, target / self.state_scale, time), -1)

    def scaled_controls(self, controls: Tensor) -> Tensor:
        """Controls ``[B, T, m]`` as ``[B, T·m]``, mapped from their bounds to [-1, 1]."""
        return (2 * (controls - self.control_low) / (self.control_high - self.control_low) - 1).flatten(1)

    def within_bounds(self, decoded: Tensor) -> Tensor:
        """Controls ``[B, T, m]`` from what was decoded ``[B, T·m]``, inside their bounds by a tanh."""
        unit = torch.tanh(decoded).unflatten(-1, (self.config.control_horizon, -1))
        return self.control_low + (unit + 1) / 2 * (self.control_high - self.control_low)

    def start_small(self, *decoders: nn.Linear) -> None:
        """Begin near zero controls and with small refinements, by these last layers of decoders.

        Otherwise the first steps run into the bounds, where clipping passes no gradient, and training stays there.
        """
        scale = float(self.config.initial_scale)  # a whole number may be too large for torch
        with torch.no_grad():
            for decoder in decoders:
                decoder.weight.mul_(scale)
                decoder.bias.mul_(scale)


def check_network(model: Any, name: str = "model") -> None:
    """Raise ``ValueError`` unless it is a network."""
    remedy = "make it with trc.TinyRecursiveControl.create_medium, or read it with trc.load_model(path)"
    check_kind(model, ControlNetwork, name, remedy)
