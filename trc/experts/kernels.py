"""The kernels of the regulator and of iterative LQR, from steps in torch."""

import functools
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ..compiled import Scan, scanned, turns
from ..problems import Parameters, Problem
from ..simulation.accelerate import TRIED, Operation, kernel
from ..simulation.kernels import by_name, differentiated, packed, row, together
from ..simulation.step import random_inputs
from .lqr import at_the_target, riccati_step
from .search import Search
from .stationarity import ordinary_cost

#: Steps that the kernels are tried on, and how long a search goes on then.
STEPS = 7
LIMITS = {"max_iterations": 3, "tolerance": 1e-7}

#: A policy ``u = nominal_u - gain (x - nominal_x)`` at each time.
Policy = Mapping[str, Tensor]


def _trial(problem: Problem, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return problem.sample(TRIED, generator=torch.Generator().manual_seed(0), dtype=dtype)


def _trial_of_search(problem: Problem, dtype: torch.dtype) -> tuple[Tensor, ...]:
    _, controls = random_inputs(problem, STEPS, TRIED, dtype=dtype)
    return *_trial(problem, dtype), controls


def _regulator(problem: Problem, dtype: torch.dtype) -> Callable[[Tensor, Tensor, int], Policy]:
    """A function from parameters ``[B, k]`` that are believed in, targets and a horizon to the regulator's policy."""
    n, m, k = problem.state_dim, problem.control_dim, len(problem.parameters)

    def linearise(q: Tensor, target: Tensor, p: Tensor, **_: Tensor) -> Mapping[str, Tensor]:
        given = by_name(problem, q)
        A, B = differentiated(problem, target, target.new_zeros(len(target), m), given)
        with torch.no_grad():
            drift, Q, R, P = at_the_target(problem, target, given)
        return {"A": A, "B": B, "drift": drift, "Q": Q, "R": R, "P": P, "p": torch.zeros_like(p)}

    @torch.no_grad()
    def back(q: Tensor, target: Tensor, **matrices: Tensor) -> Mapping[str, Tensor]:
        gain, offset, P, p = riccati_step(**matrices)
        return {"gain": gain, "nominal_u": -offset, "P": P, "p": p}

    matrices = {"A": (n, n), "B": (n, m), "drift": (n,), "Q": (n, n), "R": (m, m), "P": (n, n), "p": (n,)}
    given, policy = {"q": (k,), "target": (n,)}, {"gain": (m, n), "nominal_u": (m,)}
    scan = Scan(begin=linearise, step=back, fixed=given, carried=matrices, outputs=policy, backwards=True)
    program = scanned(scan, dtype, list(given))

    def policies(believed: Tensor, target: Tensor, T: int) -> dict[str, Tensor]:
        found = {name: target.new_empty(T, len(target), *shape) for name, shape in policy.items()}
        program.run(len(target), T, {"q": believed, "target": together(target)}, found)
        return found

    @functools.lru_cache(8)  # a control loop asks for one target again and again
    def policy_for_all(believed: tuple[float, ...], target: tuple[float, ...], T: int) -> dict[str, Tensor]:
        return policies(row(believed, dtype).unsqueeze(0), row(target, dtype).unsqueeze(0), T)

    def policy_to(believed: Tensor, target: Tensor, T: int) -> Policy:
        size = len(target)
        if size == 1 or (believed.stride(0) == 0 and bool((target == target[0]).all())):
            found = policy_for_all(tuple(believed[0].tolist()), tuple(target[0].tolist()), T)
            found = {name: tensor.expand(-1, size, *tensor.shape[2:]) for name, tensor in found.items()}
        else:
            found = policies(believed, target, T)
        return found | {"nominal_x": target.expand(T, -1, -1)}

    return policy_to


def both(problem: Problem, parameters: Parameters, like: Tensor) -> tuple[Tensor, Tensor]:
    """The parameters ``[B, k]`` that are true, and the problem's own, which the regulator believes in."""
    true = packed(problem, parameters, like)
    return true, true if parameters is problem.parameters else packed(problem, problem.parameters, like)


@kernel("regulate", _trial, horizon=STEPS)
def regulate(problem: Problem, dtype: torch.dtype) -> Operation:
    """Kernel of :func:`trc.lqr`: states ``[T+1, B, n]`` and controls ``[T, B, m]``."""
    n, m, k = problem.state_dim, problem.control_dim, len(problem.parameters)
    policy_to = _regulator(problem, dtype)

    @torch.no_grad()
    def follow(p: Tensor, x: Tensor, gain: Tensor, nominal_x: Tensor, nominal_u: Tensor) -> Mapping[str, Tensor]:
        u = problem.clip(nominal_u - (gain @ (x - nominal_x).unsqueeze(-1)).squeeze(-1))
        following = problem.step(x, u, by_name(problem, p))
        return {"x": following, "following": following, "applied": u}

    policy = {"gain": (m, n), "nominal_x": (n,), "nominal_u": (m,)}
    outputs = {"following": (n,), "applied": (m,)}
    scan = Scan(step=follow, fixed={"p": (k,)}, carried={"x": (n,)}, streams=(policy,), outputs=outputs)
    program = scanned(scan, dtype)

    def kernel_of(
        problem: Problem, initial: Tensor, target: Tensor, parameters: Parameters, horizon: int
    ) -> tuple[Tensor, Tensor]:
        T, size = horizon, len(target)
        states, controls = initial.new_empty(T + 1, size, n), initial.new_empty(T, size, m)
        states[0] = initial
        true, own = both(problem, parameters, initial)
        given = {"p": true, "x": together(initial), **policy_to(own, target, T)}
        program.run(size, T, given, {"following": states[1:], "applied": controls})
        return states, controls

    return kernel_of


def _searcher(problem: Problem, dtype: torch.dtype) -> Callable[..., tuple[Tensor, ...]]:
    """A function that improves a policy, and gives what the plain way gives."""
    search, n, m, ordinary = Search(problem), problem.state_dim, problem.control_dim, ordinary_cost(problem)
    alike = {name: torch.tensor([value], dtype=dtype) for name, value in search.initially.items()}
    alike["step"] = torch.zeros(m, dtype=dtype)
    program = turns(
        *search.scans(),
        done="done",
        begin=[*search.initially, *search.plan],
        wanted=["cost", "residual", "iterations", "last", "nominal_x", "nominal_u"],
        alike=alike,
        dtype=dtype,
    )

    def improve(
        parameters: Tensor, initial: Tensor, target: Tensor, policy: Policy, max_iterations: int, tolerance: float
    ) -> tuple[Tensor, ...]:
        T, size = len(policy["gain"]), len(initial)
        states, controls = initial.new_empty(T + 1, size, n), initial.new_empty(T, size, m)
        cost, residual, iterations = initial.new_empty(3, size).unbind()
        limits = row((max_iterations, tolerance, ordinary), dtype).expand(size, -1)
        given = {"p": parameters, "initial": together(initial), "target": together(target), "limits": limits, **policy}
        wanted = {"cost": cost, "residual": residual, "iterations": iterations, "last": states[T]}
        program.run(size, T, given, wanted | {"nominal_x": states, "nominal_u": controls})
        return states, controls, cost, residual, iterations.long()

    return improve


@kernel("improve", _trial_of_search, judged=3, **LIMITS)
def improve(problem: Problem, dtype: torch.dtype) -> Operation:
    """Kernel of :func:`trc.ilqr` from controls ``[T, B, m]``."""
    searcher, n, m = _searcher(problem, dtype), problem.state_dim, problem.control_dim
    nothing = torch.zeros(m, n, dtype=dtype)

    def kernel_of(
        problem: Problem,
        initial: Tensor,
        target: Tensor,
        start: Tensor,
        parameters: Parameters,
        **limits: float,
    ) -> tuple[Tensor, ...]:
        still = {"gain": nothing.expand(*start.shape[:2], m, n), "nominal_x": nothing[0].expand(*start.shape[:2], n)}
        policy = still | {"nominal_u": together(start)}
        return searcher(packed(problem, parameters, initial), initial, target, policy, **limits)

    return kernel_of


@kernel("solve", _trial, judged=3, horizon=STEPS, **LIMITS)
def solve(problem: Problem, dtype: torch.dtype) -> Operation:
    """Kernel of :func:`trc.ilqr` from the regulator's policy."""
    policy_to, searcher = _regulator(problem, dtype), _searcher(problem, dtype)

    def kernel_of(
        problem: Problem,
        initial: Tensor,
        target: Tensor,
        parameters: Parameters,
        horizon: int,
        **limits: float,
    ) -> tuple[Tensor, ...]:
        true, own = both(problem, parameters, initial)
        return searcher(true, initial, target, policy_to(own, target, horizon), **limits)

    return kernel_of
