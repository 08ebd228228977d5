"""Descent on the controls themselves, without curvature and without learning: what refinements are held against."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..common.checks import check_count, check_real
from ..common.modes import values_only
from ..problems import Problem, check_instances
from ..simulation import costate, rollout_cost
from .ilqr import start_controls

#: By which share of its range the control of steepest slope is first pushed; what a step that is too dear is multiplied
#: by, and how often; and how many of the last costs a step may not be dearer than all of.
FIRST_PUSH, SHORTER, TRIALS, REMEMBERED = 0.1, 0.25, 8, 10

#: Of Adam: how much of the averages of the gradient and of its square a step leaves, and what no root is below.
KEPT, KEPT_SQUARE, LEAST_ROOT = 0.9, 0.999, 1e-8


class Descent(NamedTuple):
    """Where a descent came, step by step, and what that took."""

    controls: Tensor  #: [B, T, m], the cheapest
    costs: Tensor  #: [B, K+1], of the first controls and after each of K steps, the lowest so far
    rollouts: Tensor  #: [B, K+1], simulations up to there, that of the first controls included
    adjoints: Tensor  #: [B, K+1], passes backwards through one up to there


@values_only
def projected_gradient(
    problem: Problem, initial: Tensor, target: Tensor, *, start: str | Tensor = "zero", steps: int = 100
) -> Descent:
    """Down the slope and back within the bounds, each step as long as the last two gradients suggest.

    A step is shortened until it costs less than the dearest of the last few. All in float64; `start` is as for
    :func:`trc.ilqr`. Sources: Barzilai and Borwein (1988); Birgin, Martínez and Raydan (2000).
    """
    initial, target, controls, half = _begin(problem, initial, target, start, steps)
    told = costate(problem, initial, controls, target)
    cost, slope = told.cost, told.gradient * half
    steepest = slope.abs().amax((1, 2)).clamp_min(torch.finfo(slope.dtype).tiny)
    length = 2 * FIRST_PUSH / steepest
    best, costs, rollouts, taken = controls, [cost], [torch.ones_like(cost)], [cost]
    for _ in range(steps):
        limit = torch.stack(taken[-REMEMBERED:]).amax(0)
        spent = torch.zeros_like(cost)  # the gradient at what is taken needs no simulation of its own
        rest = torch.arange(len(cost), device=cost.device)
        new, found = controls.clone(), cost.clone()
        size = length.clone()
        for _ in range(TRIALS):
            tried = problem.clip(controls[rest] - (size[rest, None, None] * slope[rest]) * half)
            trial = rollout_cost(problem, initial[rest], tried, target[rest])
            spent[rest] += 1
            won = trial < limit[rest]
            new[rest[won]], found[rest[won]] = tried[won], trial[won]
            rest = rest[~won]
            size[rest] *= SHORTER
            if not len(rest):
                break
        before, move = slope, (new - controls) / half
        slope = costate(problem, initial, new, target).gradient * half
        bend = (move * (slope - before)).sum((1, 2))
        suggested = move.square().sum((1, 2)) / bend.clamp_min(torch.finfo(bend.dtype).tiny)
        length = torch.where((bend > 0) & (move != 0).flatten(1).any(1), suggested, size)
        controls, cost = new, found
        best = torch.where((cost < costs[-1])[:, None, None], controls, best)
        taken.append(cost)
        costs.append(torch.minimum(cost, costs[-1]))
        rollouts.append(rollouts[-1] + spent)
    adjoints = torch.arange(steps + 1, dtype=cost.dtype, device=cost.device).expand(len(cost), -1)
    return Descent(best, torch.stack(costs, 1), torch.stack(rollouts, 1), adjoints)


@values_only
def adam_descent(
    problem: Problem,
    initial: Tensor,
    target: Tensor,
    *,
    start: str | Tensor = "zero",
    steps: int = 100,
    rate: float = 0.1,
) -> Descent:
    """Adam on the controls, clipped to their bounds; a step moves a control by about `rate` of half its range.

    All in float64; `start` is as for :func:`trc.ilqr`. Source: Kingma and Ba (2015).
    """
    initial, target, controls, half = _begin(problem, initial, target, start, steps)
    rate = check_real(rate, "rate", positive=True)
    best, costs = controls, []
    mean, square = torch.zeros_like(controls), torch.zeros_like(controls)
    for step in range(1, steps + 2):
        told = costate(problem, initial, controls, target)
        slope = told.gradient * half
        better = told.cost < costs[-1] if costs else torch.ones_like(told.cost, dtype=torch.bool)
        best = torch.where(better[:, None, None], controls, best)
        costs.append(torch.where(better, told.cost, costs[-1]) if costs else told.cost)
        mean, square = torch.lerp(slope, mean, KEPT), torch.lerp(slope.square(), square, KEPT_SQUARE)
        root = (square / (1 - KEPT_SQUARE**step)).sqrt() + LEAST_ROOT
        controls = problem.clip(controls - rate * half * mean / (1 - KEPT**step) / root)
    spent = torch.arange(steps + 1, dtype=initial.dtype, device=initial.device).expand(len(initial), -1)
    return Descent(best, torch.stack(costs, 1), spent + 1, spent)


def _begin(
    problem: Problem, initial: Tensor, target: Tensor, start: str | Tensor, steps: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Instances and controls in float64, and half the range of each control."""
    check_instances(problem, initial, target)
    check_count(steps, "steps")
    initial, target = initial.double(), target.double()
    low, high = problem.bounds(initial)
    return initial, target, start_controls(problem, initial, target, start, None).contiguous(), (high - low) / 2
