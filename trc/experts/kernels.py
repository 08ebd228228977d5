"""The kernels of the regulator and of iterative LQR: steps in torch, compiled, and the loop around them."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from ..compiled import Compiled, Lanes, Scan, Scanned, count, sizes, turns
from ..problems import Parameters, Problem
from ..simulation.accelerate import Operation, kernel
from ..simulation.kernels import by_name, differentiated, packed
from ..simulation.step import random_inputs
from .lqr import at_the_target, riccati_step
from .search import Search

#: Instances that the kernels are tried on.
TRIED = 5

#: Half the turns after which the instances that are not done yet are brought together again.
TURNS = 3


def _trial(problem: Problem, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return problem.sample(TRIED, generator=torch.Generator().manual_seed(0), dtype=dtype)


def _trial_of_search(problem: Problem, dtype: torch.dtype) -> tuple[Tensor, ...]:
    _, controls = random_inputs(problem, 7, TRIED, dtype=dtype)
    return *_trial(problem, dtype), controls


# The regulator


def _regulator(problem: Problem, dtype: torch.dtype) -> Callable[..., np.ndarray]:
    """A function of lanes that gives states and controls ``[blocks, T, n+m, lanes]`` under the clipped feedback."""
    n, m, k = problem.state_dim, problem.control_dim, len(problem.parameters)
    matrices = {"A": (n, n), "B": (n, m), "drift": (n,), "Q": (n, n), "R": (m, m), "Q_final": (n, n)}
    policy = {"gain": (m, n), "offset": (m,)}

    def linearise(p: Tensor, target: Tensor) -> Mapping[str, Tensor]:
        given = by_name(problem, p)
        A, B = differentiated(problem, target, target.new_zeros(len(target), m), given)
        with torch.no_grad():
            return dict(zip(matrices, (A, B, *at_the_target(problem, target, given)), strict=True))

    @torch.no_grad()
    def back(Q_final: Tensor, P: Tensor, p: Tensor, **others: Tensor) -> Mapping[str, Tensor]:
        gain, offset, P, p = riccati_step(**others, P=P, p=p)
        return {"gain": gain, "offset": offset, "P": P, "p": p}

    @torch.no_grad()
    def follow(q: Tensor, target: Tensor, x: Tensor, gain: Tensor, offset: Tensor) -> Mapping[str, Tensor]:
        u = problem.clip(-(gain @ (x - target).unsqueeze(-1)).squeeze(-1) - offset)
        return {"x": problem.step(x, u, by_name(problem, q)), "now": x, "applied": u}

    at_target = Scan(step=linearise, fixed={"p": (k,), "target": (n,)}, carried={}, outputs=matrices)
    recursion = Scan(
        step=back,
        begin=lambda Q_final, P, p, **_: {"P": Q_final, "p": torch.zeros_like(p)},
        fixed=matrices,
        carried={"P": (n, n), "p": (n,)},
        outputs=policy,
        backwards=True,
    )
    feedback = Scan(
        step=follow,
        fixed={"q": (k,), "target": (n,)},
        carried={"x": (n,)},
        streams=(policy,),
        outputs={"now": (n,), "applied": (m,)},
    )
    at_target, recursion, feedback = (Scanned(scan, dtype) for scan in (at_target, recursion, feedback))

    def regulate(
        batch: Lanes, T: int, own: np.ndarray, given: np.ndarray, target: np.ndarray, x: np.ndarray
    ) -> np.ndarray:
        value = np.empty((batch.blocks, n * n + n, batch.lanes))
        at = at_target.on(batch, 1, np.concatenate((own, target), 1), value)
        policy = recursion.on(batch, T, at, value)
        return feedback.on(batch, T, np.concatenate((given, target), 1), x, policy)

    return regulate


@kernel("regulate", _trial)
def regulate(problem: Problem, dtype: torch.dtype) -> Operation:
    """Kernel of :func:`trc.lqr`: states ``[T+1, B, n]`` and controls ``[T, B, m]``."""
    regulator, n = _regulator(problem, dtype), problem.state_dim

    def kernel_of(problem: Problem, initial: Tensor, target: Tensor, parameters: Parameters) -> tuple[Tensor, Tensor]:
        batch = Lanes(len(target), dtype)
        own, given = (packed(problem, one, target) for one in (problem.parameters, parameters))
        own, given, goal, last = (batch.pack(one.numpy()) for one in (own, given, target, initial))
        found = regulator(batch, problem.horizon, own, given, goal, last)
        found, last = (torch.from_numpy(batch.unpack(one)) for one in (found, last))
        states, controls = found.transpose(0, 1).tensor_split((n,), -1)
        return torch.cat((states, last.unsqueeze(0))), controls.contiguous()

    return kernel_of


# Iterative LQR


def _searcher(problem: Problem, dtype: torch.dtype) -> Callable[..., tuple[Tensor, ...]]:
    """A function of lanes that improves controls ``[blocks, T, m, lanes]``, and gives what the plain way gives."""
    search, n, m = Search(problem), problem.state_dim, problem.control_dim
    take_turns = Compiled(turns(*search.scans(), "done", dtype))
    ends = np.cumsum([0, *sizes(search.state)])
    rows = {name: slice(*ends[i : i + 2]) for i, name in enumerate(search.state)}
    begin = np.zeros((1, ends[-1], 1))
    begin[:, rows["cost"]], begin[:, rows["size"]], begin[:, rows["iterations"]] = np.inf, 1.0, -1.0

    def improve(
        batch: Lanes,
        parameters: np.ndarray,
        x: np.ndarray,
        target: np.ndarray,
        controls: np.ndarray,
        most: int,
        tolerance: float,
    ) -> tuple[Tensor, ...]:
        blocks, T, _, lanes = controls.shape
        limits = np.empty((blocks, 2, lanes))
        limits[:, 0], limits[:, 1] = most, tolerance
        fixed = np.concatenate((parameters, x, target, limits), 1)
        state = np.broadcast_to(begin, (blocks, ends[-1], lanes)).copy()
        plan = np.zeros((blocks, T, count(search.plan), lanes))
        plan[:, :, -m:] = controls
        state, plan = _until_done(take_turns, batch, fixed, state, plan, rows["done"].start, n + m)
        states, controls = torch.from_numpy(plan[:, :, -n - m :]).transpose(0, 1).tensor_split((n,), -1)
        found = {name: torch.from_numpy(state[:, rows[name]]) for name in ("last", "cost", "residual", "iterations")}
        cost, residual, iterations = (found[name][:, 0] for name in ("cost", "residual", "iterations"))
        return torch.cat((states, found["last"].unsqueeze(0))), controls, cost, residual, iterations.long()

    return improve


def _until_done(
    take_turns: Compiled, batch: Lanes, fixed: np.ndarray, state: np.ndarray, plan: np.ndarray, done: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """State ``[B, ·]`` and plan ``[B, T, ·]`` of lanes, in the end."""
    T, dtype, left, whole, most = (
        plan.shape[1],
        torch.from_numpy(plan).dtype,
        np.arange(batch.batch),
        None,
        np.array([TURNS]),
    )
    while True:
        most[0] = 2 * most[0] if batch.blocks > 1 else np.iinfo(np.int64).max
        tried = np.empty((batch.blocks, T, width, batch.lanes))
        take_turns(T, batch.blocks, fixed, state, plan, tried, np.empty_like(plan), most)
        found = batch.unpack(state), batch.unpack(plan)
        if whole is None:
            whole = found
        else:
            whole[0][left], whole[1][left] = found
        going = found[0][:, done] == 0
        if not going.any():
            return whole
        inputs, left = batch.unpack(fixed)[going], left[going]
        batch = Lanes(len(left), dtype)
        fixed, state, plan = (batch.pack(one) for one in (inputs, found[0][going], found[1][going]))


@kernel("improve", _trial_of_search, judged=3, max_iterations=3)
def improve(problem: Problem, dtype: torch.dtype) -> Operation:
    """Kernel of :func:`trc.ilqr` from controls ``[T, B, m]``."""
    searcher = _searcher(problem, dtype)

    def kernel_of(
        problem: Problem,
        initial: Tensor,
        target: Tensor,
        start: Tensor,
        parameters: Parameters,
        max_iterations: int = 500,
        tolerance: float = 1e-6,
    ) -> tuple[Tensor, ...]:
        batch = Lanes(len(initial), dtype)
        given = packed(problem, parameters, initial), initial, target, start.transpose(0, 1)
        return searcher(batch, *(batch.pack(one.numpy()) for one in given), max_iterations, tolerance)

    return kernel_of


@kernel("solve", _trial, judged=3, max_iterations=3)
def solve(problem: Problem, dtype: torch.dtype) -> Operation:
    """Kernel of :func:`trc.ilqr` from the regulator's controls."""
    regulator, searcher, n = _regulator(problem, dtype), _searcher(problem, dtype), problem.state_dim

    def kernel_of(
        problem: Problem,
        initial: Tensor,
        target: Tensor,
        parameters: Parameters,
        max_iterations: int = 500,
        tolerance: float = 1e-6,
    ) -> tuple[Tensor, ...]:
        batch = Lanes(len(initial), dtype)
        given = (packed(problem, one, target) for one in (problem.parameters, parameters))
        own, given, goal, x = (batch.pack(one.numpy()) for one in (*given, target, initial))
        found = regulator(batch, problem.horizon, own, given, goal, x.copy())
        return searcher(batch, given, x, goal, found[:, :, n:], max_iterations, tolerance)

    return kernel_of
