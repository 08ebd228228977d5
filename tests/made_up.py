"""A problem of one's own, as a reader would write it: three states, two controls, a physical parameter."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from trc.problems import Problem, QuadraticCost


@dataclass(frozen=True, kw_only=True)
class Cart(Problem):
    """Driven by a push and a turn, slowed by drag."""

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
