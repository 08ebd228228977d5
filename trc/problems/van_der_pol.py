"""The Van der Pol oscillator with a bounded force: small, nonlinear, and unstable where it matters."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from .base import Interval, Problem
from .cost import QuadraticCost
from .integrators import Parameters, rk4
from .registry import register


@register
@dataclass(frozen=True, kw_only=True)
class VanDerPol(Problem):
    """``x' = v``, ``v' = μ (1 - x²) v - x + u``, brought to rest at the origin.

    Inside ``|x| < 1`` the damping is negative: without control every state ends on the limit cycle, which is why
    rest at the origin has to be held. Integrated with RK4, the control held over a step. The physical parameter
    is ``mu``. Source: van der Pol (1926).
    """

    title: ClassVar[str] = "Van der Pol"
    aliases: ClassVar[tuple[str, ...]] = ("vdp", "van_der_pol_oscillator")

    name: str = "van_der_pol"
    state_names: tuple[str, ...] = ("position", "velocity")
    control_names: tuple[str, ...] = ("force",)
    position_dims: tuple[int, ...] = (0,)
    velocity_dims: tuple[int, ...] = (1,)
    horizon: int = 100
    dt: float = 0.05
    cost: QuadraticCost = QuadraticCost(Q=((10, 0), (0, 5)), R=((0.1,),), Q_final=((200, 0), (0, 100)))
    control_low: tuple[float, ...] = (-2.0,)
    control_high: tuple[float, ...] = (2.0,)
    initial_range: tuple[Interval, ...] = ((-2.0, 2.0), (-2.0, 2.0))
    target_range: tuple[Interval, ...] = ((0.0, 0.0), (0.0, 0.0))
    parameters: Mapping[str, float] = field(default_factory=lambda: {"mu": 1.0})

    @staticmethod
    def vector_field(x: Tensor, u: Tensor, parameters: Parameters) -> Tensor:
        """Time derivative ``[..., 2]`` of the state."""
        position, velocity, force = x[..., 0], x[..., 1], u[..., 0]
        acceleration = parameters["mu"] * (1 - position**2) * velocity - position + force
        return torch.stack((velocity, acceleration), -1)

    def step(self, x: Tensor, u: Tensor, parameters: Parameters) -> Tensor:
        """One RK4 step of :meth:`vector_field`."""
        return rk4(self.vector_field, x, u, parameters, self.dt)
