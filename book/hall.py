"""A robot that crosses a hall with a post in the middle: the cost of the page *Your own cost*."""

from dataclasses import dataclass
from typing import ClassVar

import torch

import trc
from trc.experts import EXPERTS
from trc.problems import Cost, Problem, QuadraticCost, register


@dataclass(frozen=True)
class Around(Cost):
    """Effort and arrival in squares, and a hill where the post stands, at the origin."""

    effort: float = 0.1
    arrival: float = 20.0
    post: float = 0.5
    radius: float = 0.25

    def hill(self, place):
        return self.post * torch.exp(-place.square().sum(-1) / (2 * self.radius**2))

    def running(self, x, u, target):
        return self.hill(x) + self.effort * u.square().sum(-1)

    def final(self, x, target):
        return self.arrival * (x - target).square().sum(-1)


@register
@dataclass(frozen=True, kw_only=True)
class Hall(Problem):
    """An empty hall, and a robot that drives as it is told: places in metres, speeds in metres a second."""

    name: str = "hall"
    state_names: tuple[str, ...] = ("x", "y")
    control_names: tuple[str, ...] = ("speed_x", "speed_y")
    horizon: int = 20
    dt: float = 0.1
    cost: Cost = QuadraticCost(Q=((0, 0), (0, 0)), R=((0.1, 0), (0, 0.1)), Q_final=((20, 0), (0, 20)))
    control_low: tuple[float, ...] = (-2.0, -2.0)
    control_high: tuple[float, ...] = (2.0, 2.0)
    initial_range: tuple[tuple[float, float], ...] = ((-1.2, -0.8), (-0.5, 0.5))
    target_range: tuple[tuple[float, float], ...] = ((0.8, 1.2), (-0.5, 0.5))

    def step(self, x, u, parameters):
        return x + self.dt * u


@register
@dataclass(frozen=True, kw_only=True)
class HallWithPost(Hall):
    """The same hall with a post in it."""

    starts: ClassVar[tuple[str, ...]] = ("left", "right")

    name: str = "hall_with_post"
    cost: Cost = Around()

    def start_controls(self, initial, target):
        ahead = (target - initial) / self.duration
        aside = torch.stack((-ahead[:, 1], ahead[:, 0]), -1) / ahead.norm(dim=-1, keepdim=True)
        bow = torch.linspace(1, -1, self.horizon).to(initial).reshape(1, -1, 1) * aside.unsqueeze(1)
        return {"left": ahead.unsqueeze(1) + bow, "right": ahead.unsqueeze(1) - bow}

    def success(self, states, target):
        return super().success(states, target) & (states.norm(dim=-1).amin(-1) > self.cost.radius)


@EXPERTS.register("keep_left")
def keep_left(problem, initial, target):
    """Pass the post on the left, always."""
    return trc.ilqr(problem, initial, target, start="left")
