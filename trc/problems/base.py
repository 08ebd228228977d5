"""What a control problem is: dynamics, one cost, bounds and the sampling of instances.

A problem is a frozen dataclass with one method to write, :meth:`Problem.step`. Linearisation, adjoint,
teachers, datasets and training all follow from that step and the cost.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Self

import torch
from torch import Tensor

from ..checks import check_count, check_real, check_reals, check_tensor
from .cost import QuadraticCost
from .integrators import Parameters

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A finite-horizon optimal-control problem with box-bounded controls.

    Parameters
    ----------
    name : str
    state_names, control_names : tuple of str
        One name a dimension; their lengths are the state dimension ``n`` and control dimension ``m``.
    position_dims, velocity_dims : tuple of int
        Which state dimensions count as position and as velocity in the metrics.
    horizon : int
        Number of control steps ``T``.
    dt : float
        Seconds a step.
    cost : QuadraticCost
    control_low, control_high : tuple of float, one a control dimension
    initial_range, target_range : tuple of (low, high), one a state dimension
        Boxes from which instances are drawn uniformly.
    parameters : mapping of str to float
        Physical parameters, handed to :meth:`step`.
    success_threshold : float
        An instance succeeds when its terminal error is below this.
    linear : bool
        True if ``step`` is linear in state and control, for every value of the parameters.
    cache : dict
        Not a setting: what was derived from the problem and is worth keeping (see ``trc.plans``).
    """

    name: str
    state_names: tuple[str, ...]
    control_names: tuple[str, ...]
    position_dims: tuple[int, ...] = ()
    velocity_dims: tuple[int, ...] = ()
    horizon: int
    dt: float
    cost: QuadraticCost
    control_low: tuple[float, ...]
    control_high: tuple[float, ...]
    initial_range: tuple[Interval, ...]
    target_range: tuple[Interval, ...]
    parameters: Mapping[str, float] = field(default_factory=dict)
    success_threshold: float = 0.1
    linear: bool = False
    cache: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        n, m = self.state_dim, self.control_dim
        settled = {
            "horizon": check_count(self.horizon, "horizon"),
            "dt": check_real(self.dt, "dt", positive=True),
            "success_threshold": check_real(self.success_threshold, "success_threshold", positive=True),
            "control_low": check_reals(self.control_low, "control_low", m),
            "control_high": check_reals(self.control_high, "control_high", m),
            "initial_range": _check_box(self.initial_range, "initial_range", n),
            "target_range": _check_box(self.target_range, "target_range", n),
            "parameters": {name: check_real(value, name) for name, value in self.parameters.items()},
        }
        for name, value in settled.items():
            object.__setattr__(self, name, value)
        if not all(low < high for low, high in zip(self.control_low, self.control_high, strict=True)):
            raise ValueError(f"control_low must be below control_high, got {self.control_low} and {self.control_high}.")
        if len(self.cost.Q) != n or len(self.cost.R) != m:
            raise ValueError(
                f"the cost is for {len(self.cost.Q)} states and {len(self.cost.R)} controls, "
                f"the problem {self.name!r} has {n} and {m}."
            )

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"cache": {}}  # derived again where it is needed: messages to other processes stay small

    def step(self, x: Tensor, u: Tensor, parameters: Parameters) -> Tensor:
        """One step of the dynamics, ``x_{t+1} = f(x_t, u_t)``, from nothing but its arguments and the settings.

        It is called with numbers written out and with many steps at once (see ``trc.plans``), so it must neither keep
        state nor change its arguments.

        Parameters
        ----------
        x : Tensor ``[..., n]``
        u : Tensor ``[..., m]``
        parameters : mapping of str to scalar or Tensor
            A tensor broadcasts against the leading shape of `x` (``[B]`` for one value an instance).

        Returns
        -------
        Tensor ``[..., n]``
        """
        raise TypeError(f"{type(self).__name__} must define step(x, u, parameters).")

    @property
    def state_dim(self) -> int:
        """Number of states ``n``."""
        return len(self.state_names)

    @property
    def control_dim(self) -> int:
        """Number of controls ``m``."""
        return len(self.control_names)

    @property
    def duration(self) -> float:
        """Length of the horizon in seconds."""
        return self.horizon * self.dt

    @property
    def state_scale(self) -> tuple[float, ...]:
        """Largest magnitude of each state over the sampling boxes: what the model's inputs are divided by."""
        return tuple(
            max(map(abs, (*initial, *target))) or 1.0
            for initial, target in zip(self.initial_range, self.target_range, strict=True)
        )

    def bounds(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Lower and upper control bound, each ``[m]``, with the dtype and on the device of `like`."""
        return like.new_tensor(self.control_low), like.new_tensor(self.control_high)

    def clip(self, controls: Tensor) -> Tensor:
        """Controls ``[..., m]`` clipped into their bounds."""
        low, high = self.bounds(controls)
        return controls.clamp(low, high)

    def sample(
        self,
        num_samples: int,
        *,
        generator: torch.Generator,
        scale: float = 1.0,
        dtype: torch.dtype = torch.float32,
    ) -> tuple[Tensor, Tensor]:
        """Draw initial and target states, each ``[B, n]``, uniformly from their boxes.

        Parameters
        ----------
        num_samples : int
        generator : torch.Generator
            The only source of randomness; it also says the device.
        scale : float
            Widens the box of the initial states about its centre (1.5 and 2 are the out-of-distribution sets).
        dtype : torch.dtype
        """
        check_count(num_samples, "num_samples")
        check_real(scale, "scale", positive=True)

        def uniform(intervals: tuple[Interval, ...], widen: float) -> Tensor:
            low, high = torch.tensor(intervals, dtype=torch.float64, device=generator.device).T
            centre, half = (low + high) / 2, (high - low) / 2 * widen
            unit = torch.rand(
                num_samples, len(intervals), generator=generator, dtype=torch.float64, device=generator.device
            )
            return (centre + half * (2 * unit - 1)).to(dtype)

        return uniform(self.initial_range, scale), uniform(self.target_range, 1.0)

    def check_states(self, initial: Tensor, target: Tensor) -> None:
        """Raise ``ValueError`` unless both are finite ``[B, n]`` tensors of this problem."""
        for name, tensor in (("initial states", initial), ("target states", target)):
            check_tensor(tensor, (None, self.state_dim), f"{name} of {self.name}")
        if initial.shape != target.shape:
            raise ValueError(
                f"initial and target states must have the same shape, got {tuple(initial.shape)} "
                f"and {tuple(target.shape)}."
            )
        if initial.dtype != target.dtype:
            raise ValueError(f"initial states are {initial.dtype} but targets are {target.dtype}; convert one of them.")

    def recipe(self) -> dict[str, Any]:
        """Name and all settings as plain JSON values; ``make_problem(name, **settings)`` makes the problem again."""
        settings = {name: getattr(self, name) for name in self._settings()} | asdict(self.cost) | self.parameters
        return {"name": self.name, "settings": json.loads(json.dumps(settings))}

    @classmethod
    def _settings(cls) -> list[str]:
        """Fields that an override may set directly."""
        fixed = {"name", "state_names", "control_names", "position_dims", "velocity_dims", "linear"}
        fixed |= {"cost", "parameters", "cache"}
        return sorted({f.name for f in fields(cls)} - fixed)

    def replace(self, **overrides: Any) -> Self:
        """The same problem with some settings changed; physical parameters and cost weights go by name too.

        Raises
        ------
        ValueError
            If a name is unknown (all valid names are listed).
        """
        settings, weights = self._settings(), [f.name for f in fields(self.cost)]
        changed: dict[str, Any] = {}
        for name, value in overrides.items():
            if name in self.parameters:
                changed.setdefault("parameters", dict(self.parameters))[name] = value
            elif name in weights:
                changed["cost"] = replace(changed.get("cost", self.cost), **{name: value})
            elif name in settings:
                changed[name] = value
            else:
                known = ", ".join(sorted([*settings, *weights, *self.parameters]))
                raise ValueError(f"problem {self.name!r} has no setting {name!r}; it has {known}.")
        return replace(self, **changed)


def _check_box(box: Any, name: str, size: int) -> tuple[Interval, ...]:
    """`box` as one ``(low, high)`` a dimension."""
    if not isinstance(box, Iterable) or isinstance(box, str) or len(list(box)) != size:
        raise ValueError(f"{name} needs {size} pairs (low, high), one a dimension, got {box!r}.")
    pairs = tuple(check_reals(pair, f"each pair of {name}", 2) for pair in box)
    if not all(low <= high for low, high in pairs):
        raise ValueError(f"{name} must be finite with low below high, got {pairs}.")
    return pairs
