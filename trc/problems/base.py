"""What a control problem is: dynamics, one cost, bounds, the sampling of instances, and when one succeeds."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from ..common.checks import (
    as_json,
    check_bounds,
    check_box,
    check_count,
    check_dims,
    check_kind,
    check_names,
    check_real,
    check_same_dtype,
    check_tensor,
    settle,
)
from ..common.memory import check_memory
from ..common.modes import is_watched
from .cost import Cost
from .integrators import Parameters

Interval = tuple[float, float]

#: Fields of a problem that are no settings: what it is, and what has settings of its own.
FIXED = {"name", "state_names", "control_names", "position_dims", "velocity_dims", "linear", "cost", "parameters"}


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A finite-horizon optimal-control problem with box-bounded controls.

    It is a frozen dataclass with one method to write, :meth:`step`; linearisation, adjoint, experts, datasets and
    training follow from that step and the cost. Beside its settings a problem may say, in its class, its `title`; its
    `teacher`, the cheapest expert that is optimal on its instances; the `starts` from which :func:`trc.optimum` looks
    for the optimum; and other spellings of its name (`aliases`).

    Parameters
    ----------
    state_names, control_names : tuple of str
        One name a dimension; their lengths are the state dimension ``n`` and control dimension ``m``.
    position_dims, velocity_dims : tuple of int
        Which state dimensions count as position and as velocity in the metrics.
    horizon, dt : int, float
        Number of control steps ``T``, and seconds a step.
    cost : Cost
    control_low, control_high : tuple of float, one a control dimension
    initial_range, target_range : tuple of (low, high), one a state dimension
        Boxes from which instances are drawn uniformly; a problem that draws otherwise leaves them out and defines
        :meth:`sample` and :attr:`state_scale`.
    parameters : mapping of str to float
        Physical parameters, handed to :meth:`step`.
    success_threshold : float
        An instance succeeds when its terminal error is below this.
    linear : bool
        True if ``step`` is linear in state and control, for every value of the parameters.
    cache : dict
        Not a setting: what was derived from the problem and is worth keeping.
    """

    title: ClassVar[str] = ""
    teacher: ClassVar[str] = "ilqr"
    starts: ClassVar[tuple[str, ...]] = ("lqr", "zero", "random")
    aliases: ClassVar[tuple[str, ...]] = ()

    name: str
    state_names: tuple[str, ...]
    control_names: tuple[str, ...]
    position_dims: tuple[int, ...] = ()
    velocity_dims: tuple[int, ...] = ()
    horizon: int
    dt: float
    cost: Cost
    control_low: tuple[float, ...]
    control_high: tuple[float, ...]
    initial_range: tuple[Interval, ...] = ()
    target_range: tuple[Interval, ...] = ()
    parameters: Mapping[str, float] = field(default_factory=dict)
    success_threshold: float = 0.1
    linear: bool = False
    cache: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__hash__" not in vars(cls):  # the one that ``@dataclass`` would write can't take a mapping
            cls.__hash__ = Problem.__hash__

    def __post_init__(self) -> None:
        settle(self, learned=True)
        names = {name: check_names(getattr(self, name), name) for name in ("state_names", "control_names")}
        n, m = map(len, names.values())
        low, high = check_bounds(self.control_low, self.control_high, m)
        check_kind(self.parameters, Mapping, "parameters", "give them by name, for example {'mu': 1.0}")
        check_kind(self.linear, bool, "linear", "say True or False")
        settled = names | {
            "position_dims": check_dims(self.position_dims, "position_dims", n),
            "velocity_dims": check_dims(self.velocity_dims, "velocity_dims", n),
            "horizon": check_count(self.horizon, "horizon"),
            "dt": check_real(self.dt, "dt", positive=True),
            "success_threshold": check_real(self.success_threshold, "success_threshold", positive=True),
            "control_low": low,
            "control_high": high,
            "initial_range": check_box(self.initial_range, "initial_range", n),
            "target_range": check_box(self.target_range, "target_range", n),
            "parameters": {name: check_real(value, name) for name, value in self.parameters.items()},
        }
        for name, value in settled.items():
            object.__setattr__(self, name, value)
        check_kind(self.cost, Cost, "cost", "give a trc.QuadraticCost, or one of your own")
        self.cost.check_dimensions(self.name, n, m)
        settle(self.cost, learned=True)
        names = [*(f.name for f in (*fields(self), *fields(self.cost))), *self.parameters]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(
                f"{self.name!r} has two things called {', '.join(twice)}; settings, cost weights and parameters are "
                "changed by name, so rename one of them."
            )

    @property
    def learned(self) -> list[Tensor]:
        """Fields of it, or of its cost, that are tensors and being learned: torch takes every step then."""
        return [tensor for tensor in self._tensors if tensor.requires_grad]

    @cached_property
    def _tensors(self) -> list[Tensor]:
        return [value for one in (self, self.cost) for value in vars(one).values() if isinstance(value, Tensor)]

    def __hash__(self) -> int:
        """Alike for equal problems."""
        about = self.horizon, self.dt, self.control_low, self.control_high, *sorted(self.parameters.items())
        return hash((type(self), self.name, *about))

    def __getstate__(self) -> dict[str, Any]:
        kept = {name: value for name, value in self.__dict__.items() if name != "_tensors"}
        return kept | {"cache": {}}  # derived again where it is needed: messages to other processes stay small

    def step(self, x: Tensor, u: Tensor, parameters: Parameters) -> Tensor:
        """One step of the dynamics, ``x_{t+1} = f(x_t, u_t)``, from nothing but its arguments and the settings.

        From states ``[..., n]`` and controls ``[..., m]`` to states ``[..., n]``. A parameter is a number, or a tensor
        that broadcasts against the leading shape of `x` (``[B]`` for one value an instance). It is called with many
        steps at once, so it must neither keep state nor change its arguments.
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
        self._check_boxes("state_scale")
        boxes = zip(self.initial_range, self.target_range, strict=True)
        return tuple(max(map(abs, (*initial, *target))) or 1.0 for initial, target in boxes)

    def bounds(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Lower and upper control bound, each ``[m]``, with the dtype and on the device of `like`."""
        return like.new_tensor(self.control_low), like.new_tensor(self.control_high)

    def clip(self, controls: Tensor) -> Tensor:
        """Controls ``[..., m]`` clipped into their bounds."""
        return controls.clamp(*self.bounds(controls))

    def sample(
        self, num_samples: int, *, generator: torch.Generator, scale: float = 1.0, dtype: torch.dtype = torch.float32
    ) -> tuple[Tensor, Tensor]:
        """Draw initial and target states, each ``[num_samples, n]``, uniformly from their boxes.

        The `generator` is the only source of randomness and says the device; `scale` widens the box of the initial
        states about its centre (1.5 and 2 are the out-of-distribution sets).
        """
        num_samples, scale = check_count(num_samples, "num_samples"), check_real(scale, "scale", positive=True)
        check_kind(generator, torch.Generator, "generator", "make one with torch.Generator().manual_seed(seed)")
        self._check_boxes("sample(num_samples, generator=…, scale=…, dtype=…)")
        needed = num_samples * self.state_dim * (3 * 8 + dtype.itemsize)
        check_memory(needed, f"{num_samples:,} instances", "ask for fewer", generator.device)

        def uniform(intervals: tuple[Interval, ...], widen: float) -> Tensor:
            low, high = torch.tensor(intervals, dtype=torch.float64, device=generator.device).T
            centre, half = (low + high) / 2, (high - low) / 2 * widen
            unit = torch.rand(num_samples, len(low), generator=generator, dtype=low.dtype, device=low.device)
            return (centre + half * (2 * unit - 1)).to(dtype)

        return uniform(self.initial_range, scale), uniform(self.target_range, 1.0)

    def success(self, states: Tensor, target: Tensor) -> Tensor:
        """Whether trajectories ``[..., T+1, n]`` succeed ``[...]``: they end near their targets ``[..., n]``."""
        return (states[..., -1, :] - target).norm(dim=-1) < self.success_threshold

    def start_controls(self, initial: Tensor, target: Tensor) -> Mapping[str, Tensor]:
        """Controls ``[B, T, m]`` to begin a search from, by name, beside those that every problem has: none here."""
        return {}

    def check_states(self, initial: Tensor, target: Tensor) -> None:
        """Raise ``ValueError`` unless both are finite ``[B, n]`` tensors of this problem."""
        check_tensor(initial, (None, self.state_dim), f"initial states of {self.name}")
        check_tensor(target, (initial.shape[0], self.state_dim), f"target states of {self.name}")
        check_same_dtype(initial, "initial states are", target, "targets are")

    def to_dict(self) -> dict[str, Any]:
        """Name and all settings as plain JSON values; ``make_problem(name, **settings)`` makes the problem again."""
        settings = {name: getattr(self, name) for name in self._settings()} | asdict(self.cost) | self.parameters
        return {"name": self.name, "settings": json.loads(json.dumps(settings, default=as_json))}

    def replace(self, **overrides: Any) -> Self:
        """The same problem with other settings, physical parameters or cost weights; unknown ones are refused."""
        groups = self._settings(), [f.name for f in fields(self.cost)], self.parameters
        known = sorted(name for group in groups for name in group)
        if unknown := [name for name in overrides if name not in known]:
            raise ValueError(f"problem {self.name!r} has no setting {unknown[0]!r}; it has {', '.join(known)}.")
        settings, weights, given = ({name: overrides[name] for name in group if name in overrides} for group in groups)
        cost, parameters = replace(self.cost, **weights), {**self.parameters, **given}
        return replace(self, **settings, cost=cost, parameters=parameters)

    def _settings(self) -> list[str]:
        """Fields that an override may set directly."""
        return sorted({f.name for f in fields(self) if f.init} - FIXED)

    def _check_boxes(self, instead: str) -> None:
        if not (self.initial_range and self.target_range):
            kind = type(self).__name__
            raise ValueError(f"{kind} has no initial_range and target_range, so it must define {instead}.")


def check_instances(problem: Any, initial: Tensor, target: Tensor) -> None:
    """Raise ``ValueError`` unless these are a problem and instances of it, each ``[B, n]``."""
    check_problem(problem)
    problem.check_states(initial, target)
    check_trajectories(problem, initial.shape[0], device=initial.device)


def check_trajectories(
    problem: Problem, count: int, times: int = 1, horizon: int | None = None, device: str | torch.device = "cpu"
) -> None:
    """Raise ``ValueError`` if so many trajectories, held so many `times` at once in float64, don't fit into memory.

    The horizon is the problem's own by default.
    """
    if is_watched():  # it may count in symbols
        return
    T, n, m = horizon or problem.horizon, problem.state_dim, problem.control_dim
    needed = 8 * times * count * ((T + 1) * n + T * m)
    what = f"{count:,} trajectories of {T:,} steps"
    check_memory(needed, what, "ask for fewer instances or a shorter horizon", device)


def check_problem(problem: Any) -> None:
    """Raise ``ValueError`` unless it is a problem."""
    check_kind(problem, Problem, "problem", "make it with trc.make_problem(name)")
