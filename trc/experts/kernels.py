"""The kernels of the regulator and of iterative LQR: their steps in torch, compiled, and the loop around them."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ..compiled import Scan
from ..problems import Parameters, Problem
from ..simulation.accelerate import Operation, kernel
from ..simulation.kernels import by_name, compiled, differentiated, packed
from ..simulation.step import random_inputs
from .ilqr import DAMPING, ROUNDING, STEP_SIZES, one_step_back
from .lqr import at_the_target, riccati_step

#: Instances that the kernels are tried on.
TRIED = 5

#: Finished instances are put aside when they are this share of all.
FINISHED = 0.25


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
    at_target = compiled(Scan(step=linearise, fixed={"p": (k,), "target": (n,)}, carried={}, outputs=matrices), dtype)
    recursion = compiled(
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
    feedback = compiled(
        Scan(
            step=follow,
            fixed={"q": (k,), "target": (n,)},
            carried={"x": (n,)},
            streams=(policy,),
            outputs={"now": (n,), "applied": (m,)},
        ),
        dtype,
    )

    def run(problem: Problem, initial: Tensor, target: Tensor, parameters: Parameters) -> tuple[Tensor, Tensor]:
        own = packed(problem, problem.parameters, target)
        _, at = at_target(torch.cat((own, target), -1), target[:, :0], steps=1)
        _, found = recursion(at[0], at.new_zeros(len(target), n * n + n), steps=problem.horizon)
        fixed = torch.cat((packed(problem, parameters, target), target), -1)
        last, both = feedback(fixed, initial, found)
        states, controls = both.split((n, m), -1)
        return torch.cat((states, last.unsqueeze(0))), controls.contiguous()

    return run


# Iterative LQR


def _trial_of_search(problem: Problem, dtype: torch.dtype) -> tuple[Tensor, ...]:
    _, controls = random_inputs(problem, 7, TRIED, dtype=dtype)
    return *_trial(problem, dtype), controls


class _Search:
    """The two scans of iterative LQR: one tries a policy with a step size, the other finds the next policy.

    A lane has its own place in the line search, its own damping and its own end. What both hand to each other is the
    `state` of the search and the `plan`: a nominal trajectory, and the policy about it.
    """

    def __init__(self, problem: Problem) -> None:
        n, m, k = problem.state_dim, problem.control_dim, len(problem.parameters)
        one = (1,)
        self.problem = problem
        self.fixed = {"p": (k,), "initial": (n,), "target": (n,), "most": one, "tolerance": one}
        self.state = {"x": (n,), "trial": one, "cost": one, "size": one, "won": one, "turned": one, "damping": one}
        self.state |= {"iterations": one, "residual": one, "done": one, "last": (n,)}
        self.state |= {"P": (n, n), "slope": (n,), "costate": (n,)}
        self.plan = {"step": (m,), "gain": (m, n), "nominal_x": (n,), "nominal_u": (m,)}
        self.tried = {"tried_x": (n,), "tried_u": (m,)}

    def scans(self) -> tuple[Scan, Scan]:
        """What follows the plan, and what makes the next one."""
        both = {"fixed": self.fixed, "carried": self.state}
        return (
            Scan(begin=self.set_out, step=self.follow, end=self.judge, streams=(self.plan,), outputs=self.tried, **both),
            Scan(
                begin=self.turn,
                step=self.back,
                end=self.finish,
                streams=(self.plan, self.tried),
                outputs=self.plan,
                backwards=True,
                **both,
            ),
        )

    def set_out(self, initial: Tensor, trial: Tensor, **_: Tensor) -> Mapping[str, Tensor]:
        """Start from the initial state."""
        return {"x": initial, "trial": torch.zeros_like(trial)}

    @torch.no_grad()
    def follow(
        self, p: Tensor, target: Tensor, size: Tensor, x: Tensor, trial: Tensor, step: Tensor, gain: Tensor,
        nominal_x: Tensor, nominal_u: Tensor, **_: Tensor
    ) -> Mapping[str, Tensor]:
        """Apply the policy, with a share of its step, and add up the cost."""
        problem = self.problem
        u = problem.clip(nominal_u + size * step - (gain @ (x - nominal_x).unsqueeze(-1)).squeeze(-1))
        trial = trial + problem.cost.running(x, u, target).unsqueeze(-1)
        return {"x": problem.step(x, u, by_name(problem, p)), "trial": trial, "tried_x": x, "tried_u": u}

    @torch.no_grad()
    def judge(
        self, target: Tensor, x: Tensor, trial: Tensor, cost: Tensor, size: Tensor, damping: Tensor, iterations: Tensor,
        done: Tensor, last: Tensor, **_: Tensor,
    ) -> Mapping[str, Tensor]:
        """Take the trajectory if it is cheaper; otherwise a smaller step is next, and after the smallest more damping."""
        trial = trial + self.problem.cost.final(x, target).unsqueeze(-1)
        trial = torch.where(trial.abs() < torch.inf, trial, torch.inf)
        fresh, active = iterations < 0, done == 0
        # near the end an improvement is smaller than the rounding of the cost; the residual judges such a step
        won = active & (fresh | (trial < cost * (1 + ROUNDING)))
        turned = active & (won | (size == STEP_SIZES[-1]))
        more = torch.where(damping > 0, damping * 10, DAMPING["first"])
        less = torch.where(damping > DAMPING["least"], damping / 10, 0.0)
        smaller = torch.ones_like(size)
        for larger, next_one in zip(STEP_SIZES, STEP_SIZES[1:], strict=False):
            smaller = torch.where(size == larger, next_one, smaller)
        return {
            "trial": trial,
            "cost": torch.where(won, trial, cost),
            "last": torch.where(won, x, last),
            "won": won.to(x.dtype),
            "turned": turned.to(x.dtype),
            "damping": torch.where(turned & ~fresh, torch.where(won, less, more), damping),
            "iterations": iterations + turned.to(x.dtype),
            "size": torch.where(turned | ~active, 1.0, smaller),
        }

    @torch.no_grad()
    def turn(self, target: Tensor, last: Tensor, residual: Tensor, **_: Tensor) -> Mapping[str, Tensor]:
        """Begin backwards with what the final state costs."""
        states, controls = torch.stack((last, last)), last.new_zeros(1, len(last), self.problem.control_dim)
        slope, _ = self.problem.cost.gradient(states, controls, target)
        _, curvature = self.problem.cost.hessian(states, controls, target)
        return {"P": curvature, "slope": slope[-1], "costate": slope[-1], "residual": torch.zeros_like(residual)}

    @torch.no_grad()
    def back(
        self, p: Tensor, target: Tensor, won: Tensor, damping: Tensor, P: Tensor, slope: Tensor, costate: Tensor,
        residual: Tensor, nominal_x: Tensor, nominal_u: Tensor, tried_x: Tensor, tried_u: Tensor, **_: Tensor,
    ) -> Mapping[str, Tensor]:
        """One step of the costate and of the backward pass, on the trajectory that won."""
        problem, n, m = self.problem, self.problem.state_dim, self.problem.control_dim
        x, u = torch.where(won > 0, tried_x, nominal_x), torch.where(won > 0, tried_u, nominal_u)
        A, B = differentiated(problem, x, u, by_name(problem, p))
        states, controls = torch.stack((x, x)), u.unsqueeze(0)
        (by_state, _), (by_control,) = problem.cost.gradient(states, controls, target)
        local, _ = problem.cost.hessian(states, controls, target)
        local = local[0] if local.ndim == 4 else local.expand(len(x), -1, -1)
        local = local + damping.unsqueeze(-1) * torch.cat((x.new_zeros(n), x.new_ones(m))).diag()
        gradient = by_control + (B.mT @ costate.unsqueeze(-1)).squeeze(-1)
        change = (u - problem.clip(u - gradient)).abs().amax(-1, keepdim=True)
        low, high = ((bound - u).unsqueeze(-1) for bound in problem.bounds(x))
        by_both = torch.cat((by_state, by_control), -1).unsqueeze(-1)
        step, gain, P, slope = one_step_back(P, slope.unsqueeze(-1), torch.cat((A, B), -1), local, by_both, low, high)
        return {
            "P": P,
            "slope": slope.squeeze(-1),
            "costate": by_state + (A.mT @ costate.unsqueeze(-1)).squeeze(-1),
            "residual": torch.maximum(residual, change),
            "step": step.squeeze(-1),
            "gain": gain,
            "nominal_x": x,
            "nominal_u": u,
        }

    @torch.no_grad()
    def finish(
        self, most: Tensor, tolerance: Tensor, residual: Tensor, damping: Tensor, iterations: Tensor, turned: Tensor,
        done: Tensor, **_: Tensor,
    ) -> Mapping[str, Tensor]:
        """Whether the instance is stationary, or nothing more is to be had."""
        going = (residual > tolerance) & (damping < DAMPING["most"]) & (iterations < most)
        return {"done": torch.where((turned > 0) & ~going, 1.0, done)}


@kernel("improve", _trial_of_search, max_iterations=3)
def improve(problem: Problem, dtype: torch.dtype) -> Operation:
    """Kernel of :func:`trc.ilqr` from one start."""
    search = _Search(problem)
    follow, back = (compiled(scan, dtype).args[0] for scan in search.scans())
    n, m, lanes = problem.state_dim, problem.control_dim, follow.lanes
    rows, end = {}, 0
    for name, shape in (search.state | {}).items():
        rows[name] = slice(end, end := end + int(np.prod(shape)))

    def run(
        problem: Problem,
        initial: Tensor,
        target: Tensor,
        start: Tensor,
        parameters: Parameters,
        max_iterations: int = 500,
        tolerance: float = 1e-6,
    ) -> tuple[Tensor, ...]:
        T, B = start.shape[:2]
        limits = initial.new_tensor([max_iterations, tolerance]).expand(B, 2)
        fixed = torch.cat((packed(problem, parameters, initial), initial, target, limits), -1).numpy()
        state = np.zeros((B, end))
        state[:, rows["cost"]], state[:, rows["size"]], state[:, rows["iterations"]] = np.inf, 1.0, -1.0
        plan = np.zeros((B, T, m + m * n + n + m))
        plan[..., -m:] = start.transpose(0, 1).numpy()
        result = np.empty((B, end)), np.empty((B, T, n + m))
        which = np.arange(B)
        while True:
            state, plan, done = _rounds(follow, back, fixed, state, plan, rows["done"], lanes)
            result[0][which[done]], result[1][which[done]] = state[done], plan[done, :, -n - m :]
            if done.all():
                break
            which, fixed, state, plan = which[~done], fixed[~done], state[~done], plan[~done]
        found = {name: torch.from_numpy(result[0][:, part]) for name, part in rows.items()}
        trajectory = torch.from_numpy(result[1]).transpose(0, 1)
        states = torch.cat((trajectory[..., :n], found["last"].unsqueeze(0)))
        numbers = (found[name].squeeze(-1) for name in ("cost", "residual"))
        return states, trajectory[..., n:].contiguous(), *numbers, found["iterations"].squeeze(-1).long()

    return run


def _rounds(follow, back, fixed, state, plan, done_rows, lanes):
    """Rounds for all instances side by side, until enough of them are done; also which ones."""
    B, T = plan.shape[:2]
    blocks = -(-B // lanes)
    fill = np.minimum(np.arange(blocks * lanes), B - 1)  # the last instance again, where there are no more

    def block(array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(np.moveaxis(array[fill].reshape(blocks, lanes, *array.shape[1:]), 1, -1))

    def unblock(array: np.ndarray) -> np.ndarray:
        return np.moveaxis(array, -1, 1).reshape(blocks * lanes, *array.shape[1:-1])[:B]

    fixed, state, old = block(fixed), block(state), block(plan)
    new, tried = np.empty_like(old), np.empty((blocks, T, fixed.shape[1] * 0 + 0 + _width(follow), lanes))
    done = state[:, done_rows]
    forward = [follow.prepare(T, blocks, fixed, state, plan, tried) for plan in (old, new)]
    backward = [back.prepare(T, blocks, fixed, state, *pair) for pair in ((old, tried, new), (new, tried, old))]
    enough = 1.0 if blocks == 1 else FINISHED
    now = 0
    while True:
        forward[now]()
        backward[now]()
        now = 1 - now
        if done.mean() >= enough:
            break
    return unblock(state), unblock((old, new)[now]), unblock(done)[:, 0] > 0


def _width(compiled) -> int:
    from ..compiled.scan import count

    return count(compiled.scan.outputs)
