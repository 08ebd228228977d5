"""The kernels of the regulator and of iterative LQR: steps in torch, compiled, and the loop around them."""

from collections.abc import Mapping

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


# The regulator


@kernel("regulate", _trial)
def regulate(problem: Problem, dtype: torch.dtype) -> Operation:
    """Kernel of :func:`trc.lqr`: states ``[T+1, B, n]`` and controls ``[T, B, m]``."""
    n, m, k = problem.state_dim, problem.control_dim, len(problem.parameters)
    matrices = {"A": (n, n), "B": (n, m), "drift": (n,), "Q": (n, n), "R": (m, m), "Q_final": (n, n)}

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

    policy = {"gain": (m, n), "offset": (m,)}
    at_target = Scanned(Scan(step=linearise, fixed={"p": (k,), "target": (n,)}, carried={}, outputs=matrices), dtype)
    recursion = Scanned(
        Scan(
            step=back,
            begin=lambda Q_final, P, p, **_: {"P": Q_final, "p": torch.zeros_like(p)},
            fixed=matrices,
            carried={"P": (n, n), "p": (n,)},
            outputs=policy,
            backwards=True,
        ),
        dtype,
    )
    feedback = Scanned(
        Scan(
            step=follow,
            fixed={"q": (k,), "target": (n,)},
            carried={"x": (n,)},
            streams=(policy,),
            outputs={"now": (n,), "applied": (m,)},
        ),
        dtype,
    )

    def kernel_of(problem: Problem, initial: Tensor, target: Tensor, parameters: Parameters) -> tuple[Tensor, Tensor]:
        batch, T = Lanes(len(target), dtype), problem.horizon
        own, given = (packed(problem, one, target) for one in (problem.parameters, parameters))
        own, given, last = (
            batch.pack(one.numpy()) for one in (torch.cat((own, target), -1), torch.cat((given, target), -1), initial)
        )
        nothing = np.empty((batch.blocks, n * n + n, batch.lanes))
        policy = recursion.on(batch, T, at_target.on(batch, 1, own, nothing), nothing)
        both = torch.from_numpy(batch.unpack(feedback.on(batch, T, given, last, policy))).transpose(0, 1)
        states, controls = both.split((n, m), -1)
        return torch.cat((states, torch.from_numpy(batch.unpack(last)).unsqueeze(0))), controls.contiguous()

    return kernel_of


# Iterative LQR


def _trial_of_search(problem: Problem, dtype: torch.dtype) -> tuple[Tensor, ...]:
    _, controls = random_inputs(problem, 7, TRIED, dtype=dtype)
    return *_trial(problem, dtype), controls


@kernel("improve", _trial_of_search, judged=3, max_iterations=3)
def improve(problem: Problem, dtype: torch.dtype) -> Operation:
    """Kernel of :func:`trc.ilqr` from one start."""
    search, n, m = Search(problem), problem.state_dim, problem.control_dim
    take_turns = Compiled(turns(*search.scans(), "done", dtype))
    rows = dict(
        zip(search.state, np.split(np.arange(count(search.state)), np.cumsum(sizes(search.state))), strict=False)
    )

    def kernel_of(
        problem: Problem,
        initial: Tensor,
        target: Tensor,
        start: Tensor,
        parameters: Parameters,
        max_iterations: int = 500,
        tolerance: float = 1e-6,
    ) -> tuple[Tensor, ...]:
        (T, B), limits = start.shape[:2], initial.new_tensor([max_iterations, tolerance])
        given = packed(problem, parameters, initial), initial, target, limits.expand(B, 2)
        fixed = torch.cat(given, -1).numpy()
        state = np.zeros((B, count(search.state)), fixed.dtype)
        state[:, rows["cost"]], state[:, rows["size"]], state[:, rows["iterations"]] = np.inf, 1.0, -1.0
        plan = np.zeros((B, T, count(search.plan)), state.dtype)
        plan[..., -m:] = start.transpose(0, 1).numpy()
        left, ended, most = np.arange(B), (state.copy(), plan.copy()), np.array([TURNS])
        while len(left):
            batch = Lanes(len(left), dtype)
            most[0] = most[0] * 2 if batch.blocks > 1 else np.iinfo(np.int64).max
            arrays = [batch.pack(array) for array in (fixed, state, plan)]
            tried = np.empty((batch.blocks, T, n + m, batch.lanes), state.dtype)
            take_turns(T, batch.blocks, *arrays, tried, np.empty_like(arrays[2]), most)
            state, plan = batch.unpack(arrays[1]), batch.unpack(arrays[2])
            done = state[:, rows["done"][0]] > 0
            for whole, part in zip(ended, (state, plan), strict=True):
                whole[left[done]] = part[done]
            left, fixed, state, plan = left[~done], fixed[~done], state[~done], plan[~done]
        found = {name: torch.from_numpy(ended[0][:, one]) for name, one in rows.items()}
        states, controls = torch.from_numpy(ended[1][..., -n - m :]).transpose(0, 1).split((n, m), -1)
        numbers = (found[name].squeeze(-1) for name in ("cost", "residual", "iterations"))
        cost, residual, iterations = numbers
        return torch.cat((states, found["last"].unsqueeze(0))), controls, cost, residual, iterations.long()

    return kernel_of
