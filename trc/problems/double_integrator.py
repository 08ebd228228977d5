"""A mass on a line, pushed: the simplest problem whose optimum is known exactly."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .base import Interval, Problem
from .cost import QuadraticCost
from .integrators import Parameters
from .registry import register


@register
@dataclass(frozen=True, kw_only=True)
class DoubleIntegrator(Problem):
    """Position and velocity under a bounded acceleration: ``p'' = u``.

    The control is held over a step, and the step is its exact solution (zero-order hold), so the discrete
    system *is* the sampled continuous one. There is no physical parameter.
    """

    teacher: ClassVar[str] = "lqr"

    name: str = "double_integrator"
    state_names: tuple[str, ...] = ("position", "velocity")
    control_names: tuple[str, ...] = ("acceleration",)
    position_dims: tuple[int, ...] = (0,)
    velocity_dims: tuple[int, ...] = (1,)
    horizon: int = 15
    dt: float = 1 / 3
    cost: QuadraticCost = QuadraticCost(Q=((10, 0), (0, 5)), R=((0.1,),), Q_final=((200, 0), (0, 100)))
    control_low: tuple[float, ...] = (-4.0,)
    control_high: tuple[float, ...] = (4.0,)
    initial_range: tuple[Interval, ...] = ((-2.0, 2.0), (-2.0, 2.0))
    target_range: tuple[Interval, ...] = ((-1.0, 1.0), (0.0, 0.0))
    linear: bool = True

    def step(self, x: Tensor, u: Tensor, parameters: Parameters) -> Tensor:
        """``p + dt v + dt²/2 u`` and ``v + dt u``: the exact solution for a constant ``u``."""
        position, velocity, acceleration, dt = x[..., 0], x[..., 1], u[..., 0], self.dt
        return torch.stack((position + dt * velocity + dt**2 / 2 * acceleration, velocity + dt * acceleration), -1)
