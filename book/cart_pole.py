"""A pole that is to be balanced on a cart: the problem of the page *Your own dynamics*."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from trc.problems import Cost, Problem, QuadraticCost, register, rk4


@register
@dataclass(frozen=True, kw_only=True)
class CartPole(Problem):
    """A force drives a cart on a rail; the pole has its mass at the tip and is upright at angle 0."""

    name: str = "cart_pole"
    state_names: tuple[str, ...] = ("position", "speed", "angle", "rate")  # m, m/s, rad, rad/s
    control_names: tuple[str, ...] = ("force",)  # N
    horizon: int = 25
    dt: float = 0.08
    cost: Cost = QuadraticCost(
        Q=((1, 0, 0, 0), (0, 0.1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 0.1)),
        R=((0.01,),),
        Q_final=((200, 0, 0, 0), (0, 200, 0, 0), (0, 0, 200, 0), (0, 0, 0, 200)),
    )
    control_low: tuple[float, ...] = (-10.0,)
    control_high: tuple[float, ...] = (10.0,)
    initial_range: tuple[tuple[float, float], ...] = ((-0.5, 0.5), (-0.5, 0.5), (-0.2, 0.2), (-0.2, 0.2))
    target_range: tuple[tuple[float, float], ...] = ((0, 0), (0, 0), (0, 0), (0, 0))
    success_threshold: float = 0.25
    parameters: Mapping[str, float] = field(
        default_factory=lambda: {"cart": 1.0, "tip": 0.2, "length": 3.0, "gravity": 9.81}
    )

    def rates(self, x, u, parameters):
        M, m, length, g = (parameters[name] for name in ("cart", "tip", "length", "gravity"))
        _, speed, angle, rate = x.unbind(-1)
        sin, cos = angle.sin(), angle.cos()
        push = u[..., 0] + m * sin * (length * rate**2 - g * cos)
        acceleration = push / (M + m * sin**2)
        return torch.stack((speed, acceleration, rate, (g * sin - acceleration * cos) / length), -1)

    def step(self, x, u, parameters):
        return rk4(self.rates, x, u, parameters, self.dt)
