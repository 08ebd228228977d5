"""Problems of one's own, as a reader would write them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch

from trc.problems import Cost, Problem, QuadraticCost
from trc.problems.van_der_pol import VanDerPol


@dataclass(frozen=True, kw_only=True)
class Cart(Problem):
    """Driven by a push and a turn, slowed by drag: three states, two controls, a physical parameter."""

    name: str = "cart"
    state_names: tuple[str, ...] = ("x", "y", "speed")
    control_names: tuple[str, ...] = ("push", "turn")
    horizon: int = 12
    dt: float = 0.1
    cost: QuadraticCost = QuadraticCost(
        Q=((2, 0, 0), (0, 1, 0), (0, 0, 0.5)), R=((0.1, 0), (0, 0.2)), Q_final=((20, 0, 0), (0, 10, 0), (0, 0, 5))
    )
    control_low: tuple[float, ...] = (-1.0, -0.5)
    control_high: tuple[float, ...] = (2.0, 0.5)
    initial_range: tuple[tuple[float, float], ...] = ((-1, 1),) * 3
    target_range: tuple[tuple[float, float], ...] = ((0, 0),) * 3
    parameters: Mapping[str, float] = field(default_factory=lambda: {"drag": 0.4})

    def step(self, x, u, parameters):
        p, q, v = x.unbind(-1)
        push, turn = u.unbind(-1)
        drag = parameters["drag"] * v * torch.sqrt(v * v + 0.01)
        rates = torch.stack((v * torch.cos(q), turn + 0.3 * torch.sin(p), push - drag), -1)
        return x + self.dt * rates


@dataclass(frozen=True)
class WayCost(Cost):
    """Distances that grow in a straight line far from the target, effort, and a hill that is better driven around."""

    effort: float = 0.1
    hill: float = 2.0
    arrival: float = 20.0

    def running(self, x, u, target):
        hill = self.hill * torch.exp(-4 * x[..., :2].square().sum(-1))
        return self._distance(x, target) + hill + self.effort * u.square().sum(-1)

    def final(self, x, target):
        return self.arrival * self._distance(x, target)

    def _distance(self, x, target):
        return (1 + (x - target)[..., :2].square().sum(-1)).sqrt() - 1


@dataclass(frozen=True, kw_only=True)
class Rover(Problem):
    """A cost that is not quadratic, instances from no box, and success of the position alone."""

    starts: ClassVar[tuple[str, ...]] = ("zero", "left", "right")
    aliases: ClassVar[tuple[str, ...]] = ("moon_car",)

    name: str = "rover"
    state_names: tuple[str, ...] = ("x", "y", "heading")
    control_names: tuple[str, ...] = ("speed", "turn")
    position_dims: tuple[int, ...] = (0, 1)
    horizon: int = 10
    dt: float = 0.3
    cost: Cost = WayCost()
    control_low: tuple[float, ...] = (-0.5, -1.0)
    control_high: tuple[float, ...] = (1.5, 1.0)
    success_threshold: float = 0.3
    state_scale: ClassVar[tuple[float, ...]] = (2.0, 2.0, math.pi)

    def step(self, x, u, parameters):
        heading, (speed, turn) = x[..., 2], u.unbind(-1)
        rates = torch.stack((speed * torch.cos(heading), speed * torch.sin(heading), turn), -1)
        return x + self.dt * rates

    def sample(self, num_samples, *, generator, scale=1.0, dtype=torch.float32):
        angle = 2 * math.pi * torch.rand(num_samples, generator=generator, dtype=torch.float64)
        initial = torch.stack((scale * angle.cos(), scale * angle.sin(), angle + math.pi), -1)
        target = torch.tensor([0.5, 0.0, 0.0], dtype=torch.float64).expand(num_samples, 3)
        return initial.to(dtype), target.to(dtype)

    def success(self, states, target):
        return (states[..., -1, :2] - target[..., :2]).norm(dim=-1) < self.success_threshold

    def start_controls(self, initial, target):
        turns = initial.new_tensor([[0.5, 0.5], [0.5, -0.5]])
        return {
            name: turn.expand(len(initial), self.horizon, 2)
            for name, turn in zip(("left", "right"), turns, strict=True)
        }


def with_step(step, **settings):
    """Van der Pol's problem with another step, a function of problem, states, controls and parameters."""
    return dataclass(frozen=True, kw_only=True)(type("Odd", (VanDerPol,), {"step": step}))(**settings)
