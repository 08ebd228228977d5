"""Box-constrained iterative LQR, batched: a stationary point of the true problem, with its residual.

Each iteration linearises the dynamics along the current trajectory (Gauss-Newton), runs one backward pass in which
every step solves a small box-constrained quadratic program for its control, and then rolls the new policy out on the
true dynamics with a line search. Instances are independent: each has its own step, regularisation and end.
Sources: Li and Todorov (2004); Tassa, Mansard and Todorov (2014) for the bounds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..checks import check_count, check_kind, check_real, check_tensor
from ..problems import Problem
from ..simulation import check_overflow, cost_gradient
from ..steps import fast_step, step_jacobians
from .lqr import lqr
from .trajectory import Trajectory

STARTS = ("lqr", "zero", "random")
ROUNDING = 1e-14
STEP_SIZES = (1.0, 0.5, 0.25, 0.1, 0.03, 0.01)


@dataclass
class _Iterate:
    """The current trajectory of the instances that are still being improved."""

    states: Tensor  # (T+1, b, n)
    controls: Tensor  # (T, b, m)
    cost: Tensor  # (b,)

    def __getitem__(self, which: Tensor) -> _Iterate:
        return _Iterate(self.states[:, which], self.controls[:, which], self.cost[which])


@torch.no_grad()
def ilqr(
    problem: Problem,
    initial: Tensor,
    target: Tensor,
    *,
    start: str | Tensor | Sequence[str | Tensor] = "lqr",
    generator: torch.Generator | None = None,
    max_iterations: int = 500,
    tolerance: float = 1e-6,
) -> Trajectory:
    """Improve controls to a stationary point of the cost within the bounds.

    Parameters
    ----------
    problem : Problem
    initial, target : Tensor ``[B, n]``
    start : {"lqr", "zero", "random"} or Tensor ``[B, T, m]``, or several
        Where to begin; of several starts the best result is kept, an instance at a time.
    generator : torch.Generator, optional
        Needed for the random start.
    max_iterations : int
    tolerance : float
        An instance is done when the infinity norm of its projected gradient is below this.

    Returns
    -------
    Trajectory
        In the dtype of `initial`, computed in float64, with ``residual``, ``iterations`` and ``converged``.

    Raises
    ------
    ValueError
        On wrong shapes, an unknown start, or a random start without a generator.
    """
    check_kind(problem, Problem, "problem", "make it with trc.make_problem(name)")
    problem.check_states(initial, target)
    check_count(max_iterations, "max_iterations", minimum=0)
    check_real(tolerance, "tolerance", positive=True)
    starts = [start] if isinstance(start, str | Tensor) or not isinstance(start, Iterable) else list(start)
    if not starts:
        raise ValueError(f"start must name at least one of {', '.join(STARTS)}, or give controls.")
    x0, goal = initial.double(), target.double()
    best: Trajectory | None = None
    for one in starts:
        controls = _start(problem, x0, goal, one, generator)
        found = _improve(problem, x0, goal, controls, max_iterations, tolerance)
        best = found if best is None else _better(best, found)
    return best.to(initial.dtype)


def optimum(problem: Problem, initial: Tensor, target: Tensor) -> Trajectory:
    """The best stationary point known: :func:`ilqr` from LQR, zero and random controls, the cheapest kept.

    Stationary is what it certifies; that no other local minimum is lower, it does not.

    Parameters
    ----------
    problem : Problem
    initial, target : Tensor ``[B, n]``
    """
    generator = torch.Generator().manual_seed(0)
    return ilqr(problem, initial, target, start=STARTS, generator=generator)


def _start(
    problem: Problem, initial: Tensor, target: Tensor, start: str | Tensor, generator: torch.Generator | None
) -> Tensor:
    shape = (len(initial), problem.horizon, problem.control_dim)
    if isinstance(start, Tensor):
        check_tensor(start, shape, "start controls")
        return problem.clip(start.to(initial))
    if start == "lqr":
        return lqr(problem, initial, target).controls
    if start == "zero":
        return problem.clip(initial.new_zeros(shape))
    if start == "random":
        if not isinstance(generator, torch.Generator):
            raise ValueError("a random start needs generator=torch.Generator().")
        low, high = problem.bounds(initial)
        return low + torch.rand(shape, generator=generator, dtype=initial.dtype).to(initial) * (high - low)
    raise ValueError(f"unknown start {start!r}; known are {', '.join(STARTS)}, or controls [B, T, m].")


def _improve(
    problem: Problem, initial: Tensor, target: Tensor, controls: Tensor, max_iterations: int, tolerance: float
) -> Trajectory:
    now = _follow(problem, initial, target, controls.transpose(0, 1))
    check_overflow(now.states)
    size = len(initial)
    residual = initial.new_full((size,), torch.inf)
    iterations = torch.zeros(size, dtype=torch.int64, device=initial.device)
    damping = initial.new_zeros(size)
    active = torch.arange(size, device=initial.device)
    for iteration in range(max_iterations + 1):
        current, goal = now[active], target[active]
        A, B = step_jacobians(problem, current.states[:-1], current.controls)
        residual[active] = projected_gradient(problem, current.states, current.controls, goal, A, B)
        going = residual[active] > tolerance
        active, current, goal = active[going], current[going], goal[going]
        if not len(active) or iteration == max_iterations:
            break
        policy = _backward(problem, current, goal, A[:, going], B[:, going], damping[active])
        improved = _search(problem, now, active, current, goal, policy)
        iterations[active] += 1
        more = torch.where(damping[active] > 0, damping[active] * 10, torch.full_like(damping[active], 1e-3))
        damping[active] = torch.where(improved, torch.where(damping[active] > 1e-6, damping[active] / 10, 0.0), more)
        # without progress even at the largest damping, nothing more is to be had in this precision
        active = active[improved | (damping[active] < 1e10)]
    return Trajectory(
        now.states.transpose(0, 1), now.controls.transpose(0, 1), now.cost, residual, iterations, residual <= tolerance
    )


def projected_gradient(
    problem: Problem, states: Tensor, controls: Tensor, target: Tensor, A: Tensor, B: Tensor
) -> Tensor:
    """``‖u - clip(u - ∂J/∂u)‖∞`` of each instance ``[b]``; states ``[T+1, b, n]`` and controls ``[T, b, m]``."""
    _, gradient = cost_gradient(problem, states, controls, target, A, B)
    return (controls - problem.clip(controls - gradient)).abs().amax((0, 2))


def _backward(
    problem: Problem, current: _Iterate, target: Tensor, A: Tensor, B: Tensor, damping: Tensor
) -> tuple[Tensor, Tensor]:
    """Steps ``[T, b, m]`` and gains ``[T, b, m, n]`` of the new policy ``u + step - gain (x_new - x)``.

    The cost of what follows a step is ``δxᵀ P δx + 2 pᵀ δx``, as in the Riccati recursion of :func:`trc.riccati`.
    """
    n, T = problem.state_dim, len(A)
    Q, R, Q_final = problem.cost.matrices(current.states)
    of_control = torch.cat((Q.new_zeros(n), Q.new_ones(len(R))))
    local = torch.block_diag(Q, R) + damping[:, None, None] * of_control.diag()
    deviation = current.states - target
    slope = torch.cat((deviation[:-1] @ Q, current.controls @ R), -1).unsqueeze(-1)  # (T, b, n+m, 1)
    low, high = ((bound - current.controls).unsqueeze(-1) for bound in problem.bounds(current.states))
    F = torch.cat((A, B), -1)
    P, p = Q_final.expand(len(target), -1, -1), (deviation[-1] @ Q_final).unsqueeze(-1)
    steps, gains = [], []
    for t in range(T - 1, -1, -1):
        hessian = torch.baddbmm(local, F[t].mT, P @ F[t])
        gradient = torch.baddbmm(slope[t], F[t].mT, p)
        H, G = hessian[:, n:, n:], hessian[:, n:, :n]
        step, free = box_minimum(H, gradient[:, n:], low[t], high[t])
        gain = _solve_free(H, G, free)
        # where a control is free the gradient vanishes at the new policy, where it is not the gain does
        p = torch.baddbmm(gradient[:, :n], G.mT, step)
        P = torch.baddbmm(hessian[:, :n, :n], G.mT, gain, alpha=-1)
        P = (P + P.mT) / 2
        steps.append(step.squeeze(-1))
        gains.append(gain)
    return torch.stack(steps[::-1]), torch.stack(gains[::-1])


def box_minimum(H: Tensor, g: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Minimise ``½ dᵀ H d + gᵀ d`` for ``low ≤ d ≤ high``, batched, by projected Newton steps.

    Parameters
    ----------
    H : Tensor ``[b, m, m]``, positive definite
    g, low, high : Tensor ``[b, m, 1]``

    Returns
    -------
    minimum, free : Tensor ``[b, m, 1]``
        `free` is 1.0 where the bound is not active.
    """
    if H.shape[-1] == 1:
        unbounded = -g / H
        d = unbounded.clamp(low, high)
        return d, (d == unbounded).to(g)
    d = -_solve_free(H, g, torch.ones_like(g)).clamp(low, high)
    for _ in range(4 * g.shape[-2]):  # until the active set is found
        slope = g + H @ d
        free = 1 - (((d <= low) & (slope > 0)) | ((d >= high) & (slope < 0))).to(g)
        d = (d - _solve_free(H, slope, free)).clamp(low, high)
    slope = g + H @ d
    free = 1 - (((d <= low) & (slope > 0)) | ((d >= high) & (slope < 0))).to(g)
    return d, free


def _solve_free(H: Tensor, rhs: Tensor, free: Tensor) -> Tensor:
    """``H⁻¹ rhs`` restricted to the free dimensions; zero in the others."""
    if H.shape[-1] == 1:
        return free * rhs / H
    masked = free * H * free.mT + torch.diag_embed(1 - free.squeeze(-1))
    return free * torch.linalg.solve(masked, free * rhs)


def _search(
    problem: Problem, now: _Iterate, active: Tensor, current: _Iterate, target: Tensor, policy: tuple[Tensor, Tensor]
) -> Tensor:
    """Line search: put the first improvement of each instance into `now`; which improved ``[b]``."""
    steps, gains = policy
    improved = torch.zeros(len(active), dtype=torch.bool, device=active.device)
    for size in STEP_SIZES:
        rest = (~improved).nonzero().squeeze(-1)
        if not len(rest):
            break
        tried = _follow(
            problem,
            current.states[0, rest],
            target[rest],
            current.controls[:, rest] + size * steps[:, rest],
            (current.states[:, rest], gains[:, rest]),
        )
        # near the end an improvement is smaller than the rounding of the cost; the residual judges such a step
        won = tried.cost < current.cost[rest] * (1 + ROUNDING)
        where = active[rest[won]]
        now.states[:, where], now.controls[:, where], now.cost[where] = (
            tried.states[:, won],
            tried.controls[:, won],
            tried.cost[won],
        )
        improved[rest[won]] = True
    return improved


def _follow(
    problem: Problem, initial: Tensor, target: Tensor, controls: Tensor, feedback: tuple[Tensor, Tensor] | None = None
) -> _Iterate:
    """Roll clipped controls ``[T, b, m]`` out, with feedback about a nominal trajectory where given."""
    low, high = problem.bounds(initial)
    states, applied = [initial], []
    step = fast_step(problem, initial, controls[0], problem.parameters)
    for t, u in enumerate(controls):
        if feedback is not None:
            nominal, gains = feedback
            deviation = (states[-1] - nominal[t]).unsqueeze(-1)
            u = torch.baddbmm(u.unsqueeze(-1), gains[t], deviation, alpha=-1).squeeze(-1)
        applied.append(u.clamp(low, high))
        states.append(step(states[-1], applied[-1]))
    x, u = torch.stack(states), torch.stack(applied)
    cost = problem.cost(x.transpose(0, 1), u.transpose(0, 1), target)
    return _Iterate(x, u, torch.where(torch.isfinite(cost), cost, torch.inf))


def _better(a: Trajectory, b: Trajectory) -> Trajectory:
    """Of two results the cheaper one, an instance at a time; the iterations add up."""
    take = b.cost < a.cost

    def choose(name: str) -> Tensor:
        x, y = getattr(a, name), getattr(b, name)
        return torch.where(take.reshape(-1, *[1] * (x.ndim - 1)), y, x)

    names = ("states", "controls", "cost", "residual")
    return Trajectory(*map(choose, names), iterations=a.iterations + b.iterations, converged=choose("converged"))
