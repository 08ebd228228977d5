"""Refinement under guard: no iterate is worse than the one before, and nobody thinks longer than it helps.

What the network proposes is tried at a few sizes, beside a few steps down the gradient, and the cheapest plan is taken;
where none is cheaper, the plan stays. An instance whose plan is good enough leaves the batch. One whose simulation
overflows stays as it last was, and is marked; the others go on.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..common.checks import check_real
from .feedback import Observation, Simulator

#: Sizes at which the proposed step is tried; and by which shares of its range the control of steepest slope is pushed.
STEP_SIZES, PUSHES = (1.0, 0.3, 0.1), (0.5, 0.1, 0.02, 0.004)

#: What an observation takes, by what it has: simulations, and passes backwards through one.
SPENT = {"told": (1, 0), "gradient": (1, 1), "step": (3, 2)}


class Guard(NamedTuple):
    """What refinements are held to."""

    safeguard: bool  #: whether no plan may become worse
    tolerance: float | None  #: what the residual of a plan that is good enough may be, or its last change


def check_tolerance(tolerance: float | None) -> float | None:
    """The tolerance; a ``ValueError`` unless it is a positive number, or none."""
    return None if tolerance is None else check_real(tolerance, "tolerance", positive=True)


class Instances:
    """The instances of a batch while they are refined, and what is spent on each."""

    def __init__(self, simulator: Simulator, initial: Tensor, target: Tensor) -> None:
        self.simulator, self.initial, self.target = simulator, initial, target
        size = len(initial)
        self.rows = torch.arange(size, device=initial.device)  #: that are still being refined
        self.costs = initial.new_full((size,), torch.inf, dtype=torch.float64)
        self.residual = initial.new_full((size,), torch.nan)
        self.counts = {name: torch.zeros_like(self.rows) for name in ("iterations", "rollouts", "adjoints")}
        self.overflowed = torch.zeros_like(self.rows, dtype=torch.bool)

    def spend(self, rows: Tensor, **amounts: int) -> None:
        """Note what some of them have cost."""
        for name, amount in amounts.items():
            self.counts[name][rows] += amount

    def judge(self, candidates: Tensor, rows: Tensor) -> Tensor:
        """Costs ``[c, b]`` of candidates ``[c, b, T, m]``."""
        count = len(candidates)
        states = (tensor[rows].repeat(count, 1) for tensor in (self.initial, self.target))
        initial, target = states
        self.spend(rows, rollouts=count)
        return self.simulator.costs(initial, candidates.flatten(0, 1), target).unflatten(0, (count, -1)).double()

    def begin(self, controls: Tensor, *, judged: bool) -> None:
        """Start with these controls ``[B, T, m]``; where they are `judged`, what overflows is not refined."""
        self.controls = self.before = controls
        if not judged:
            return
        self.costs = self.judge(self.controls.unsqueeze(0), self.rows)[0]
        self.leave(self.costs == torch.inf, overflowed=True)

    def leave(self, which: Tensor, seen: Observation | None = None, *, overflowed: bool = False) -> Observation | None:
        """Refine some of the rest ``[b]`` no more; what is seen of the others."""
        self.overflowed[self.rows[which]] = overflowed
        self.rows = self.rows[~which]
        return seen and Observation(*(part if part is None else part[~which] for part in seen))

    def replace(self, proposal: Tensor) -> Tensor:
        """Take what is proposed for the rest."""
        self.before = self.controls
        self.controls = self.controls.index_copy(0, self.rows, proposal)
        return proposal

    def filled(self, some: Tensor, before: Tensor | None) -> Tensor:
        """A value ``[B, n]`` of all, from those of the rest and what it was before."""
        whole = some.new_full((len(self.initial), *some.shape[1:]), torch.nan) if before is None else before
        return whole.index_copy(0, self.rows, some)

    def observe(self, observe: Callable[..., Observation]) -> Observation | None:
        """What the simulator tells of the rest; those whose simulation overflows go back by one iterate, and leave."""
        try:
            seen = self._told(observe)
        except ValueError:
            overflowing = self.judge(self.controls[self.rows].unsqueeze(0), self.rows)[0] == torch.inf
            if not overflowing.any():
                raise
            back = self.rows[overflowing]
            self.controls = self.controls.index_copy(0, back, self.before[back])
            self.leave(overflowing, overflowed=True)
            if not len(self.rows):
                return None
            seen = self._told(observe)
        if seen.residual is not None:
            self.residual[self.rows] = seen.residual
        kind = next(kind for kind in ("step", "gradient", "told") if kind == "told" or getattr(seen, kind) is not None)
        rollouts, adjoints = SPENT[kind]
        self.spend(self.rows, rollouts=rollouts, adjoints=adjoints)
        return seen

    def finish(self) -> dict[str, Tensor]:
        """What was spent, how far the plans are from stationary (NaN where nobody can say), and what overflowed."""
        if self.simulator.problem is not None:
            rows = (self.residual.isnan() & ~self.overflowed).nonzero().squeeze(-1)
            if len(rows):
                given = (tensor[rows] for tensor in (self.initial, self.controls, self.target))
                self.residual[rows] = self.simulator.stationarity(*given)
                self.spend(rows, rollouts=1, adjoints=1)
        return {**self.counts, "residual": self.residual, "overflowed": self.overflowed}

    def _told(self, observe: Callable[..., Observation]) -> Observation:
        return observe(self.simulator, *(tensor[self.rows] for tensor in (self.initial, self.target, self.controls)))

    def cheapest(self, proposal: Tensor, seen: Observation | None) -> Tensor:
        """For each of the rest the cheapest plan that is found: the proposal, part of the way to it, down the slope."""
        now = self.controls[self.rows]
        candidates = [now + size * (proposal - now) for size in STEP_SIZES]
        if seen is not None and seen.step is not None:
            candidates.append(now + seen.step)
        if seen is not None and seen.gradient is not None:
            candidates += self.pushed(now, seen.gradient)
        self.take(torch.stack(candidates), self.rows)
        stuck = self.rows[(self.controls[self.rows] == now).flatten(1).all(1)]
        if len(stuck) and (seen is None or seen.gradient is None):
            states = (tensor[stuck] for tensor in (self.initial, self.controls, self.target))
            _, _, gradient = self.simulator.gradient(*states)
            self.spend(stuck, rollouts=1, adjoints=1)
            self.take(torch.stack(self.pushed(self.controls[stuck], gradient)), stuck)
        return self.controls[self.rows]

    def pushed(self, controls: Tensor, gradient: Tensor) -> list[Tensor]:
        """Controls down the slope, by shares of their range."""
        low, high = self.simulator.problem.bounds(controls)
        slope = gradient * (high - low)
        steepest = slope.abs().amax((1, 2), keepdim=True).clamp_min(torch.finfo(slope.dtype).tiny)
        return [controls - share * slope / steepest * (high - low) for share in PUSHES]

    def take(self, candidates: Tensor, rows: Tensor) -> None:
        """Put the cheapest of the candidates ``[c, b, T, m]`` into each of some instances, if it is cheaper."""
        candidates = self.simulator.problem.clip(candidates)
        costs, which = self.judge(candidates, rows).min(0)
        won = costs < self.costs[rows]
        best = candidates[which, torch.arange(len(rows), device=rows.device)]
        self.controls = self.controls.index_copy(0, rows[won], best[won])
        self.costs[rows[won]] = costs[won]
