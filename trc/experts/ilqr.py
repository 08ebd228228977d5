"""Box-constrained iterative LQR, batched: a stationary point of the true problem, with its residual.

Each iteration linearises the dynamics along the current trajectory (Gauss-Newton), runs one backward pass in which
every step solves a small box-constrained quadratic program for its control, and then rolls the new policy out on the
true dynamics with a line search. Instances are independent: each has its own step, regularisation and end.
Sources: Li and Todorov (2004); Tassa, Mansard and Todorov (2014) for the bounds.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ..common.checks import check_count, check_real, check_tensor
from ..common.modes import values_only
from ..problems import Parameters, Problem, check_instances, check_problem
from ..simulation import costate_and_gradient, step_jacobians
from ..simulation.accelerate import run
from ..simulation.step import change_each
from .backward import one_step_back
from .base import EXPERTS, Trajectory
from .lqr import lqr_gains, plain_regulate
from .stationarity import residual_at

#: A cost that is larger by no more than this share may be as large: near the end it is rounding.
COST_ROUNDING = 1e-14

#: By which share the controls' second derivatives are raised where the last step brought no progress: at first, until
#: it counts as none again, and until there is nothing more to be had.
DAMPING = {"first": 1e-2, "least": 1e-5, "most": 1e10}

#: A residual below which no single step is worth taking, in float64.
STATIONARY = 1e-14

STEP_SIZES = (1.0, 0.5, 0.25, 0.1, 0.03, 0.01)


def next_damping(damping: Tensor, improved: Tensor) -> Tensor:
    """A tenth of it after an improvement, ten times as much without one."""
    more = torch.where(damping > 0, damping * 10, DAMPING["first"])
    less = torch.where(damping > DAMPING["least"], damping / 10, 0.0)
    return torch.where(improved, less, more)


@dataclass
class _Iterate:
    """The current trajectory of the instances that are still being improved."""

    states: Tensor  # (T+1, b, n)
    controls: Tensor  # (T, b, m)
    cost: Tensor  # (b,)

    def __getitem__(self, which: Tensor) -> Self:
        return _Iterate(self.states[:, which], self.controls[:, which], self.cost[which])

    def __setitem__(self, which: Tensor, new: Self) -> None:
        self.states[:, which], self.controls[:, which], self.cost[which] = new.states, new.controls, new.cost


@EXPERTS.register("ilqr")
@values_only
def ilqr(
    problem: Problem,
    initial: Tensor,
    target: Tensor,
    *,
    start: str | Tensor | Sequence[str | Tensor] = "lqr",
    generator: torch.Generator | None = None,
    max_iterations: int = 500,
    tolerance: float = 1e-7,
) -> Trajectory:
    """Improve controls to a stationary point of the cost within the bounds.

    The trajectories have the dtype of `initial`, are computed in float64, and say their ``residual``, ``iterations``
    and whether they ``converged``; an instance that overflows from every start is marked, see
    :class:`~trc.Trajectory`. Wrong shapes and unknown starts are a ``ValueError``.

    Parameters
    ----------
    initial, target : Tensor ``[B, n]``
    start : {"lqr", "zero", "random"}, another of the problem's own, or Tensor ``[B, T, m]``; or several
        Where to begin; of several starts the best result is kept, an instance at a time.
    generator : torch.Generator, optional
        Needed for the random start.
    max_iterations, tolerance : int, float
        An instance is done when its residual, see ``trc.experts.stationarity``, is at most the tolerance. It is a pure
        number, so that an instance ends at the same controls in whatever units it is written.
    """
    check_instances(problem, initial, target)
    starts = [start] if isinstance(start, str | Tensor) or not isinstance(start, Iterable) else list(start)
    if not starts:
        raise ValueError(f"start must name at least one of {', '.join(problem.starts)}, or give controls.")
    x0, goal = initial.double(), target.double()
    limits = {
        "max_iterations": check_count(max_iterations, "max_iterations", minimum=0),
        "tolerance": check_real(tolerance, "tolerance", positive=True),
    }
    best, *others = (_improve(problem, x0, goal, one, generator, limits) for one in starts)
    for other in others:
        cheaper = other.cost < best.cost
        for name in ("states", "controls", "cost", "residual", "converged"):
            getattr(best, name)[cheaper] = getattr(other, name)[cheaper]
        best.iterations.add_(other.iterations)
    if "lqr" in starts and not best.cost.isfinite().any():
        lqr_gains(problem, goal)  # which says so if it is they that are missing
    return best.to(initial.dtype)


@EXPERTS.register("optimum")
@values_only
def optimum(problem: Problem, initial: Tensor, target: Tensor) -> Trajectory:
    """The best stationary point known: :func:`ilqr` from all starts that the problem names, the cheapest kept.

    Stationary is what it certifies; that no other local minimum is lower, it does not.
    """
    check_problem(problem)
    generator = torch.Generator().manual_seed(0)
    return ilqr(problem, initial, target, start=problem.starts, generator=generator)


@values_only
def newton_step(problem: Problem, initial: Tensor, target: Tensor, controls: Tensor) -> tuple[Tensor, Tensor]:
    """Controls ``[B, T, m]`` after one iteration of :func:`ilqr` from such controls, and what they cost ``[B]``.

    All in float64. Where no step is an improvement, they are as they were.
    """
    inputs = initial, target, problem.clip(controls).transpose(0, 1).contiguous()
    given = {"parameters": problem.parameters, "max_iterations": 1, "tolerance": STATIONARY}
    _, improved, cost, _, _ = run("improve", plain_improve, problem, *inputs, **given)
    return improved.transpose(0, 1), cost


def start_controls(
    problem: Problem, initial: Tensor, target: Tensor, start: str | Tensor, generator: torch.Generator | None
) -> Tensor:
    """Controls ``[B, T, m]`` to begin with, within their bounds."""
    shape = (len(initial), problem.horizon, problem.control_dim)
    if isinstance(start, Tensor):
        controls = start
    elif start == "zero":
        controls = initial.new_zeros(shape)
    elif start == "random":
        if not isinstance(generator, torch.Generator):
            raise ValueError("a random start needs generator=torch.Generator().")
        low, high = problem.bounds(initial)
        unit = torch.rand(shape, generator=generator, dtype=initial.dtype, device=generator.device)
        controls = low + unit.to(initial) * (high - low)
    else:
        own = problem.start_controls(initial, target)
        if start not in own:
            known = ", ".join((*Problem.starts, *own))
            raise ValueError(f"unknown start {start!r}; known are {known}, or controls [B, T, m].")
        controls = own[start]
    check_tensor(controls, shape, "start controls")
    return problem.clip(controls.to(initial))


def _improve(
    problem: Problem,
    initial: Tensor,
    target: Tensor,
    start: str | Tensor,
    generator: torch.Generator | None,
    limits: Mapping[str, float],
) -> Trajectory:
    """Iterate from a start, each instance until it is stationary or nothing helps."""
    if isinstance(start, str) and start == "lqr":
        given = {"parameters": problem.parameters, "horizon": problem.horizon, **limits}
        found = run("solve", plain_solve, problem, initial, target, **given)
    else:
        controls = start_controls(problem, initial, target, start, generator).transpose(0, 1).contiguous()
        inputs = initial, target, controls
        found = run("improve", plain_improve, problem, *inputs, parameters=problem.parameters, **limits)
    states, controls, cost, residual, iterations = found
    residual = torch.where(cost.isfinite(), residual, torch.inf).nan_to_num(torch.inf, torch.inf)
    states, controls = states.transpose(0, 1), controls.transpose(0, 1)
    return Trajectory(states, controls, cost, residual, iterations, residual <= limits["tolerance"])


def plain_solve(
    problem: Problem, initial: Tensor, target: Tensor, parameters: Parameters, horizon: int, **limits: float
) -> tuple[Tensor, ...]:
    """The same as :func:`plain_improve`, from the controls of saturated LQR."""
    _, controls = plain_regulate(problem, initial, target, parameters, horizon)
    return plain_improve(problem, initial, target, controls, parameters, **limits)


def plain_improve(
    problem: Problem,
    initial: Tensor,
    target: Tensor,
    controls: Tensor,
    parameters: Parameters,
    max_iterations: int,
    tolerance: float,
) -> tuple[Tensor, ...]:
    """States ``[T+1, B, n]``, controls ``[T, B, m]``, cost, residual and iterations, from such controls."""
    now = _follow(problem, initial, target, controls, parameters)
    size = len(initial)
    residual = initial.new_full((size,), torch.inf)
    iterations = torch.zeros(size, dtype=torch.int64, device=initial.device)
    damping = initial.new_zeros(size)
    active = now.cost.isfinite().nonzero().squeeze(-1)
    for iteration in range(max_iterations + 1 if len(active) else 0):
        current, goal, given = (
            now[active],
            target[active],
            change_each(parameters, lambda value, some=active: value[some]),
        )
        A, B = step_jacobians(problem, current.states[:-1], current.controls, given)
        _, gradient = costate_and_gradient(problem, current.states, current.controls, goal, A, B)
        residual[active], *_ = residual_at(problem, current.states, current.controls, goal, gradient)
        # without progress even at the largest damping, nothing more is to be had in this precision
        going = (residual[active] > tolerance) & (damping[active] < DAMPING["most"])
        active, current, goal = active[going], current[going], goal[going]
        if not len(active) or iteration == max_iterations:
            break
        policy = _backward(problem, current, goal, A[:, going], B[:, going], damping[active, None, None])
        improved = _search(
            problem, now, active, current, goal, policy, change_each(given, lambda value, some=going: value[some])
        )
        iterations[active] += 1
        damping[active] = next_damping(damping[active], improved)
    return now.states, now.controls, now.cost, residual, iterations


def _backward(
    problem: Problem, current: _Iterate, target: Tensor, A: Tensor, B: Tensor, damping: Tensor
) -> tuple[Tensor, Tensor]:
    """Steps ``[T, b, m]`` and gains ``[T, b, m, n]`` of the new policy ``u + step - gain (x_new - x)``.

    The cost of what follows a step is ``½ δxᵀ P δx + pᵀ δx``, to second order.
    """
    n, m, T = problem.state_dim, problem.control_dim, len(A)
    running, final = problem.cost.hessian(current.states, current.controls, target)
    local = running.expand(T, len(target), n + m, n + m)
    by_state, by_control = problem.cost.gradient(current.states, current.controls, target)
    slope = torch.cat((by_state[:-1], by_control), -1).unsqueeze(-1)  # (T, b, n+m, 1)
    low, high = ((bound - current.controls).unsqueeze(-1) for bound in problem.bounds(current.states))
    F = torch.cat((A, B), -1)
    P, p = final.expand(len(target), -1, -1), by_state[-1].unsqueeze(-1)
    steps, gains = [], []
    for t in range(T - 1, -1, -1):
        step, gain, P, p = one_step_back(P, p, F[t], local[t], slope[t], low[t], high[t], damping)
        steps.append(step.squeeze(-1))
        gains.append(gain)
    return torch.stack(steps[::-1]), torch.stack(gains[::-1])


def _search(
    problem: Problem,
    now: _Iterate,
    active: Tensor,
    current: _Iterate,
    target: Tensor,
    policy: tuple[Tensor, Tensor],
    parameters: Parameters,
) -> Tensor:
    """Line search: put the first improvement of each instance into `now`; which improved ``[b]``."""
    steps, gains = policy
    improved = torch.zeros(len(active), dtype=torch.bool, device=active.device)
    for size in STEP_SIZES:
        rest = (~improved).nonzero().squeeze(-1)
        if not len(rest):
            break
        old, controls = current[rest], current.controls[:, rest] + size * steps[:, rest]
        given = change_each(parameters, lambda value, rest=rest: value[rest])
        new = _follow(problem, old.states[0], target[rest], controls, given, (old.states, gains[:, rest]))
        # near the end an improvement is smaller than the rounding of the cost; the residual judges such a step
        won = new.cost < old.cost * (1 + COST_ROUNDING)
        now[active[rest[won]]] = new[won]
        improved[rest[won]] = True
    return improved


def _follow(
    problem: Problem,
    initial: Tensor,
    target: Tensor,
    controls: Tensor,
    parameters: Parameters,
    feedback: tuple[Tensor, Tensor] | None = None,
) -> _Iterate:
    """Roll clipped controls ``[T, b, m]`` out, with feedback about a nominal trajectory where given."""
    low, high = problem.bounds(initial)
    states, applied = [initial], []
    for t, u in enumerate(controls):
        if feedback is not None:
            nominal, gains = feedback
            deviation = (states[-1] - nominal[t]).unsqueeze(-1)
            u = torch.baddbmm(u.unsqueeze(-1), gains[t], deviation, alpha=-1).squeeze(-1)
        applied.append(u.clamp(low, high))
        states.append(problem.step(states[-1], applied[-1], parameters))
    x, u = torch.stack(states), torch.stack(applied)
    cost = problem.cost(x.transpose(0, 1), u.transpose(0, 1), target)
    return _Iterate(x, u, torch.where(torch.isfinite(cost), cost, torch.inf))
