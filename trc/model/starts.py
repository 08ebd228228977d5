"""Where refinement begins: at the network's own guess, or at controls from elsewhere."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from ..experts import lqr
from ..experts.ilqr import start_controls
from .feedback import Simulator

#: One place to begin at: "guess", the name of one of the problem's starts, or controls [B, T, m].
Start = str | Tensor


def begin_at(
    start: Start | Sequence[Start], guess: Tensor, initial: Tensor, target: Tensor, simulator: Simulator
) -> Tensor:
    """Controls ``[B, T, m]`` to begin with; of several starts the cheapest, an instance at a time.

    Those without a plan (all overflow) begin at the guess.
    """
    starts = [start] if isinstance(start, str | Tensor) or not isinstance(start, Iterable) else list(start)
    if not starts:
        raise ValueError('start must name at least one: "guess", one of the problem\'s starts, or controls [B, T, m].')
    found = [_controls(one, guess, initial, target, simulator) for one in starts]
    if len(found) == 1:
        return found[0]
    costs = torch.stack([simulator.costs(initial, controls, target) for controls in found])
    return torch.stack(found)[costs.argmin(0), torch.arange(len(guess), device=guess.device)]


def _controls(start: Start, guess: Tensor, initial: Tensor, target: Tensor, simulator: Simulator) -> Tensor:
    if isinstance(start, str) and start == "guess":
        return guess
    problem = simulator.problem
    if problem is None:
        raise ValueError("a start elsewhere is the problem's: make the model with problem=, or set model.problem.")
    if isinstance(start, str) and start == "lqr":
        controls = lqr(problem, initial.double(), target.double()).controls
    else:
        controls = start_controls(problem, initial, target, start, None)
    return torch.where(controls.isfinite(), controls, guess).to(guess)
