"""What every network of the library has in common: the units of its inputs, the bounds of its controls, its problem."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import torch
from torch import Tensor, nn

from ..checks import check_count, check_kind, check_real, check_reals, check_tensor
from ..problems import Problem


@dataclass(frozen=True, kw_only=True)
class InterfaceConfig:
    """The meaning of a network's inputs and outputs.

    Parameters
    ----------
    state_dim, control_dim, control_horizon : int
        ``n``, ``m`` and ``T``.
    control_low, control_high : tuple of float, one a control dimension
    state_scale : tuple of float, one a state dimension
        States, targets and errors are divided by this (the problem's ranges, never sample statistics).
    time_scale : float
        Remaining time is divided by this.
    initial_scale : float
        What the last layers of the decoders are multiplied by before training; 1 leaves them as PyTorch draws them.
    """

    state_dim: int
    control_dim: int
    control_horizon: int
    control_low: tuple[float, ...]
    control_high: tuple[float, ...]
    state_scale: tuple[float, ...]
    time_scale: float = 1.0
    initial_scale: float = 0.1

    def __post_init__(self) -> None:
        for name in ("state_dim", "control_dim", "control_horizon"):
            check_count(getattr(self, name), name)
        sizes = {"control_low": self.control_dim, "control_high": self.control_dim, "state_scale": self.state_dim}
        for name, size in sizes.items():
            object.__setattr__(self, name, check_reals(getattr(self, name), name, size))
        for name in ("time_scale", "initial_scale"):
            check_real(getattr(self, name), name, positive=True)
        if not all(low < high for low, high in zip(self.control_low, self.control_high, strict=True)):
            raise ValueError(f"control_low must be below control_high, got {self.control_low} and {self.control_high}.")
        if not all(scale > 0 for scale in (*self.state_scale, self.time_scale)):
            raise ValueError(
                f"state_scale and time_scale must be positive, got {self.state_scale} and {self.time_scale}."
            )

    @classmethod
    def from_dict(cls, settings: dict[str, Any]) -> Self:
        """Build from a mapping; an unknown or missing key is a ``ValueError`` that lists the known ones."""
        known = [f.name for f in fields(cls)]
        unknown = sorted(set(settings) - set(known))
        if unknown:
            raise ValueError(f"unknown model setting {', '.join(unknown)}; known are {', '.join(known)}.")
        try:
            return cls(**settings)
        except TypeError as error:
            raise ValueError(f"incomplete model settings: {error}.") from None

    def to_dict(self) -> dict[str, Any]:
        """A plain mapping, for JSON."""
        return asdict(self)


def interface_of(problem: Problem) -> dict[str, Any]:
    """The fields of :class:`InterfaceConfig` that a problem fixes."""
    check_kind(problem, Problem, "problem", "make it with trc.make_problem(name)")
    return {
        "state_dim": problem.state_dim,
        "control_dim": problem.control_dim,
        "control_horizon": problem.horizon,
        "control_low": problem.control_low,
        "control_high": problem.control_high,
        "state_scale": problem.state_scale,
        "time_scale": problem.duration,
    }


class ControlNetwork(nn.Module):
    """A network that proposes whole control sequences: scaled inputs, bounded controls.

    Parameters
    ----------
    config : InterfaceConfig
    problem : Problem, optional
        The simulator that it may ask. It is no parameter of the network; checkpoints keep its recipe.
    """

    def __init__(self, config: InterfaceConfig, problem: Problem | None = None) -> None:
        super().__init__()
        self.config = config
        self.problem = problem
        self.needs_simulator = False  # set by training with feedback, kept in checkpoints
        for name in ("control_low", "control_high", "state_scale"):
            self.register_buffer(name, torch.tensor(getattr(config, name)), persistent=False)

    @property
    def uses_feedback(self) -> bool:
        """Whether the network asks a simulator."""
        return False

    def num_parameters(self) -> int:
        """Number of trainable parameters."""
        return sum(parameter.numel() for parameter in self.parameters())

    def check_states(self, current: Tensor, target: Tensor) -> None:
        """Raise ``ValueError`` unless these are states ``[B, n]`` of one dtype."""
        check_tensor(current, (None, self.config.state_dim), "current_state")
        check_tensor(target, (len(current), self.config.state_dim), "target_state")
        if target.dtype != current.dtype:
            raise ValueError(
                f"current_state is {current.dtype} but target_state {target.dtype}; convert one with .to()."
            )

    def scaled_inputs(self, current: Tensor, target: Tensor, time_remaining: Tensor | float | None) -> Tensor:
        """Scaled current state, target state and time ``[B, 2n + 1]``; the whole horizon where no time is given."""
        time = self.config.time_scale if time_remaining is None else time_remaining
        time = torch.as_tensor(time, dtype=current.dtype, device=current.device).reshape(-1, 1)
        if len(time) not in (1, len(current)):
            raise ValueError(f"time_remaining needs one value or one an instance ({len(current)}), got {len(time)}.")
        check_tensor(time, (None, 1), "time_remaining")
        time = time.expand(len(current), 1) / self.config.time_scale
        return torch.cat((current / self.state_scale, target / self.state_scale, time), -1)

    def within_bounds(self, decoded: Tensor) -> Tensor:
        """Controls ``[B, T, m]`` from what was decoded ``[B, T·m]``, inside their bounds by a tanh."""
        unit = torch.tanh(decoded).unflatten(-1, (self.config.control_horizon, -1))
        return self.control_low + (unit + 1) / 2 * (self.control_high - self.control_low)

    def start_small(self, *decoders: nn.Linear) -> None:
        """Begin near zero controls and with small refinements, by these last layers of decoders.

        Otherwise the first steps run into the bounds, where clipping passes no gradient, and training stays there.
        """
        for decoder in decoders:
            with torch.no_grad():
                decoder.weight.mul_(self.config.initial_scale)
                decoder.bias.mul_(self.config.initial_scale)
