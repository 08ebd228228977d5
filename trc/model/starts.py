"""Where refinement begins: at the network's own guess, or at controls from elsewhere."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from ..experts import lqr
from ..experts.ilqr import start_controls
from .feedback import Simulator

#: One place to begin at: "guess", the name of one of the problem's starts, or controls [B, T, m].
Start = str | Tensor


def begin_at(
    start: Start | Sequence[Start],
    guess: Tensor,
    initial: Tensor,
    target: Tensor,
    simulator: Simulator,
    spend: Callable[[int], None] = lambda rollouts: None,
) -> Tensor:
    """Controls ``[B, T, m]`` to begin with; of several starts the cheapest, an instance at a time.

    Those without a plan (all overflow) begin at the guess. `spend` is told how many rollouts that takes an instance.
    """
    starts = [start] if isinstance(start, str | Tensor) or not isinstance(start, Iterable) else list(start)
    if not starts:
        raise ValueError('start must name at least one: "guess", one of the problem\'s starts, or controls [B, T, m].')
    found = [_controls(one, guess, initial, target, simulator) for one in starts]
    spend(sum(isinstance(one, str) and one == "lqr" for one in starts))
    if len(found) == 1:
        return found[0]
    costs = torch.stack([simulator.costs(initial, controls, target) for controls in found])
    spend(len(found))
    best = torch.stack(found)[costs.argmin(0), torch.arange(len(guess), device=guess.device)]
    return torch.where((costs < torch.inf).any(0)[:, None, None], best, guess)


def _controls(start: Start, guess: Tensor, initial: Tensor, target: Tensor, simulator: Simulator) -> Tensor:
    if isinstance(start, str) and start == "guess":
        return guess
    problem = simulator.problem
    if problem is None:
        raise ValueError("a start elsewhere is the problem's: make the model with problem=, or set model.problem.")
    if isinstance(start, str) and start == "random":
        raise ValueError("random controls are drawn by trc.random_controls(problem, count, generator): give them.")
    usual = ("guess", "lqr", "zero")
    if isinstance(start, str) and start not in usual and start not in (own := problem.start_controls(initial, target)):
        raise ValueError(f"unknown start {start!r}; known are {', '.join((*usual, *own))}, or controls [B, T, m].")
    if isinstance(start, str) and start == "lqr":
        controls = lqr(problem, initial.double(), target.double()).controls
    else:
        controls = start_controls(problem, initial, target, start, None)
    return torch.where(controls.isfinite(), controls, guess).to(guess)
