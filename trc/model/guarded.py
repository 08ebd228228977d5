"""Refinement under guard: no iterate is worse than the one before, and nobody thinks longer than it helps.

What the network proposes is tried at a few sizes, beside a few steps down the gradient, and the cheapest plan is taken;
where none is cheaper, the plan stays. An instance whose plan is good enough leaves the batch. One whose simulation
overflows stays as it last was, and is marked; the others go on.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from ..common.checks import NotFinite, check_real
from ..experts.stationarity import held
from .feedback import Observation, Simulator

#: Sizes at which the proposed step is tried.
STEP_SIZES = (1.0, 0.3, 0.1)

#: How far controls are pushed down the slope, in units of an instance's own length: at first that at which the steepest
#: of those that are free moves by half its range, then what the last change of the slope suggests. Where nothing is of
#: use it is cut, until the push is so small a share of the range that there is none.
PUSHES, FIRST_PUSH, CUT, LEAST_PUSH = (4.0, 1.0, 4**-1, 4**-2), 0.5, 4**-4, 1e-10

#: What an observation takes, by what it has: simulations, and passes backwards through one. A Newton step adds an
#: iteration of iterative LQR to what the gradient takes: two simulations, one of them its line search, and two passes.
SPENT = {"told": (1, 0), "gradient": (1, 1), "step": (3, 3)}


class Guard(NamedTuple):
    """What refinements are held to."""

    safeguard: bool  #: whether no plan may become worse
    tolerance: float | None  #: what the residual of a plan that is good enough may be, or its last change


def check_tolerance(tolerance: float | None) -> float | None:
    """The tolerance; a ``ValueError`` unless it is a positive number, or none."""
    return None if tolerance is None else check_real(tolerance, "tolerance", positive=True)


class Slope(NamedTuple):
    """Where the cost of some instances goes down."""

    downhill: Tensor  #: [b, T, m], how controls change by a push of length one
    steepest: Tensor  #: [b], by how much of its range that control does which moves furthest, of those that are free

    def of(self, which: Tensor) -> Self:
        """Of some of them."""
        return type(self)(*(part[which] for part in self))


class Instances:
    """The instances of a batch while they are refined, and what is spent on each."""

    def __init__(self, simulator: Simulator, initial: Tensor, target: Tensor) -> None:
        self.simulator, self.initial, self.target = simulator, initial, target
        size = len(initial)
        self.rows = torch.arange(size, device=initial.device)  #: that are still being refined
        self.costs = initial.new_full((size,), torch.inf, dtype=torch.float64)
        self.length = initial.new_full((size,), torch.nan)  #: of a push down the slope; not known before the first
        self.was: tuple[Tensor, Tensor] | None = None  #: controls and slope when it was last looked at, without units
        self.residual = initial.new_full((size,), torch.nan)
        self.counts = {name: torch.zeros_like(self.rows) for name in ("iterations", "rollouts", "adjoints")}
        self.overflowed = torch.zeros_like(self.rows, dtype=torch.bool)
        self.seen = torch.zeros_like(self.overflowed)  #: whether somebody has simulated the present controls
        self.knows_gradient = simulator.problem is not None and simulator.dynamics_fn is None

    def spend(self, rows: Tensor, **amounts: int) -> None:
        """Note what some of them have cost."""
        for name, amount in amounts.items():
            self.counts[name][rows] += amount

    def spend_on_all(self, rollouts: int) -> None:
        """Note what the start of all has cost."""
        self.spend(self.rows, rollouts=rollouts)

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
        if self.simulator.dynamics_fn is not None:  # the last resort needs its gradient: better to know now
            self.ask(lambda initial, target, u: self.simulator.gradient(initial, u, target), self.rows[:1])

    def leave(self, which: Tensor, seen: Observation | None = None, *, overflowed: bool = False) -> Observation | None:
        """Refine some of the rest ``[b]`` no more; what is seen of the others."""
        self.overflowed[self.rows[which]] = overflowed
        self.rows = self.rows[~which]
        return seen and Observation(*(part if part is None else part[~which] for part in seen))

    def change(self, rows: Tensor, controls: Tensor) -> None:
        """Other controls for some of them."""
        self.controls = self.controls.index_copy(0, rows, controls)
        self.seen[rows], self.residual[rows] = False, torch.nan

    def replace(self, proposal: Tensor) -> Tensor:
        """Take what is proposed for the rest."""
        self.before = self.controls
        self.change(self.rows, proposal)
        return proposal

    def filled(self, some: Tensor, before: Tensor | None) -> Tensor:
        """A value ``[B, n]`` of all, from those of the rest and what it was before."""
        whole = some.new_full((len(self.initial), *some.shape[1:]), torch.nan) if before is None else before
        return whole.index_copy(0, self.rows, some)

    def given(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Initial states, targets and controls of some of them."""
        return self.initial[rows], self.target[rows], self.controls[rows]

    def observe(self, observe: Callable[..., Observation]) -> Observation | None:
        """What the simulator tells of the rest; those whose simulation overflows go back by one iterate, and leave."""
        told = self.simulate(partial(observe, self.simulator), self.rows)
        if told is None:
            return None
        rollouts, adjoints = SPENT["told" if told.gradient is None else "gradient" if told.step is None else "step"]
        self.spend(self.rows, rollouts=rollouts, adjoints=adjoints)
        if told.residual is not None:
            self.residual[self.rows], self.knows_gradient = told.residual, True
        return told

    def simulate(self, ask: Callable[..., Any], rows: Tensor) -> Any | None:
        """What is told of initial states, targets and controls of some of them; None where all overflow.

        An instance that overflows goes back by one iterate, is marked, and is refined no more.
        """
        told, bad = self.ask(ask, rows)
        back = rows[bad]
        self.controls = self.controls.index_copy(0, back, self.before[back])
        self.overflowed[back] = True
        self.rows = self.rows[~torch.isin(self.rows, back)]
        self.seen[rows[~bad]] = True
        return told

    def ask(self, ask: Callable[..., Any], rows: Tensor) -> tuple[Any | None, Tensor]:
        """The same, and which of them ``[b]`` overflow, with no further consequence."""
        bad = torch.zeros_like(rows, dtype=torch.bool)
        try:
            return (ask(*self.given(rows)) if len(rows) else None), bad
        except NotFinite:
            bad = self.overflowing(ask, rows)
        rows = rows[~bad]
        return (ask(*self.given(rows)) if len(rows) else None), bad

    def overflowing(self, ask: Callable[..., object], rows: Tensor) -> Tensor:
        """Which of some instances ``[b]`` nothing can be told of: by halves, since all but a few are well."""
        try:
            ask(*self.given(rows))
        except NotFinite:
            if len(rows) > 1:
                return torch.cat([self.overflowing(ask, half) for half in rows.tensor_split(2)])
            return torch.ones_like(rows, dtype=torch.bool)
        return torch.zeros_like(rows, dtype=torch.bool)

    def finish(self) -> dict[str, Tensor]:
        """What was spent, how far the plans are from stationary (NaN where nobody can say), and what overflowed.

        To look at plans that nobody has simulated yet is no part of what was spent.
        """
        rows = (~self.seen & ~self.overflowed).nonzero().squeeze(-1)
        if self.knows_gradient:
            rows = (self.residual.isnan() & ~self.overflowed).nonzero().squeeze(-1)
            found = self.simulate(lambda initial, target, u: self.simulator.stationarity(initial, u, target), rows)
            if found is not None:
                self.residual[rows[~self.overflowed[rows]]] = found
        elif self.simulator.is_known:
            self.simulate(lambda initial, _, controls: self.simulator(initial, controls), rows)
        return {**self.counts, "residual": self.residual, "overflowed": self.overflowed}

    def cheapest(self, proposal: Tensor, seen: Observation | None) -> Tensor:
        """For each of the rest the cheapest plan that is found: the proposal, part of the way to it, down the slope.

        Where none is cheaper than what one has, ever smaller steps down the slope are the last resort.
        """
        self.before, rows, gradient = self.controls, self.rows, None if seen is None else seen.gradient
        now = self.controls[rows]
        candidates = [now + size * (proposal - now) for size in STEP_SIZES]
        if seen is not None and seen.step is not None:
            candidates.append(now + seen.step)
        slope = None if gradient is None else self.slope(rows, gradient)
        self.take(rows, candidates, slope)
        stuck = (self.controls[rows] == now).flatten(1).all(1)
        rows = rows[stuck]
        if not len(rows):
            return self.controls[self.rows]
        if slope is None:
            self.spend(rows, rollouts=1, adjoints=1)
            gradient, bad = self.ask(lambda initial, target, u: self.simulator.gradient(initial, u, target)[2], rows)
            rows = rows[~bad]
            slope = None if gradient is None else self.slope(rows, gradient)
        else:
            slope = slope.of(stuck)
        while len(rows):
            now = self.controls[rows]
            self.take(rows, [], slope)
            going = (self.controls[rows] == now).flatten(1).all(1) & (self.length[rows] > 0)
            rows, slope = rows[going], slope.of(going)
        return self.controls[self.rows]

    def slope(self, rows: Tensor, gradient: Tensor) -> Slope:
        """Where it goes down from the controls of some instances, by their gradient ``[b, T, m]``, and how far.

        As far as the slope's last change suggests. Source: Barzilai and Borwein (1988).
        """
        controls = self.controls[rows]
        low, high = self.simulator.problem.bounds(controls)
        now = controls / (high - low), gradient * (high - low)
        if self.was is None:
            self.was = tuple(torch.full_like(self.controls, torch.nan) for _ in now)
        move, change = (one - before[rows] for one, before in zip(now, self.was, strict=True))
        length = move.square().sum((1, 2)) / (move * change).sum((1, 2))
        self.length[rows] = torch.where((length > 0) & (length < torch.inf), length, self.length[rows])
        for before, one in zip(self.was, now, strict=True):
            before[rows] = one
        steepest = torch.where(held(gradient, controls, low, high), 0.0, now[1]).abs().amax((1, 2))
        return Slope(-now[1] * (high - low), steepest.clamp_min(torch.finfo(gradient.dtype).tiny))

    def take(self, rows: Tensor, candidates: list[Tensor], slope: Slope | None) -> None:
        """Put the cheapest of candidates ``[b, T, m]`` into each of some instances, if it is cheaper.

        Among them are pushes down a slope, where one is known. An instance that nothing helps pushes less far the next
        time, and in the end not at all.
        """
        now, sizes = self.controls[rows], [1.0] * len(candidates)
        if slope is not None:
            known = self.length[rows]
            length = torch.where(known > 0, known, FIRST_PUSH / slope.steepest)
            candidates = [*candidates, *(now + (size * length)[:, None, None] * slope.downhill for size in PUSHES)]
            sizes += PUSHES
        tried = self.simulator.problem.clip(torch.stack(candidates))
        costs, which = self.judge(tried, rows).min(0)
        won = costs < self.costs[rows]
        best = tried[which, torch.arange(len(rows), device=rows.device)]
        self.change(rows[won], best[won])
        self.costs[rows[won]] = costs[won]
        if slope is not None:
            length = length * torch.where(won, length.new_tensor(sizes)[which], CUT)
            self.length[rows] = torch.where(length * slope.steepest >= LEAST_PUSH, length, 0.0)
