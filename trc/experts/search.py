"""The two loops of iterative LQR, each one step of time in torch: one tries a policy, the other finds the next one.

A lane has its own place in the line search, its own damping and its own end. What both loops hand to each other is the
`state` of the search, and the `plan`: a nominal trajectory, and the policy about it.
"""

import itertools
import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ..compiled import Scan
from ..problems import Problem
from ..simulation.kernels import at_the_end, by_name, differentiated
from .backward import ROUNDS, one_step_back
from .ilqr import COST_ROUNDING, DAMPING, STEP_SIZES, next_damping
from .stationarity import least_terms, push_and_terms, residual_of


class Search:
    """What the loops are about, by name and shape, and their steps."""

    def __init__(self, problem: Problem) -> None:
        n, m, k = problem.state_dim, problem.control_dim, len(problem.parameters)
        one = (1,)
        self.problem = problem
        #: The limits are the most iterations, the tolerance, and what is an ordinary cost.
        self.fixed = {"p": (k,), "initial": (n,), "target": (n,), "limits": (3,)}
        self.state = {"x": (n,), "trial": one, "cost": one, "size": one, "won": one, "turned": one, "damping": one}
        self.state |= {"iterations": one, "residual": one, "done": one, "last": (n,)}
        self.state |= {"P": (n, n), "slope": (n,), "costate": (n,), "push": (m,), "terms": (m,)}
        #: What a search begins with; all else that is carried follows from it.
        self.initially = {"cost": math.inf, "size": 1.0, "damping": 0.0, "iterations": -1.0, "done": 0.0}
        self.plan = {"step": (m,), "gain": (m, n), "nominal_x": (n,), "nominal_u": (m,)}
        self.tried = {"tried_x": (n,), "tried_u": (m,)}

    def scans(self) -> tuple[Scan, Scan]:
        """What follows the plan, and what makes the next one."""
        both = {"fixed": self.fixed, "carried": self.state}
        return (
            Scan(
                begin=self.set_out, step=self.follow, end=self.judge, streams=(self.plan,), outputs=self.tried, **both
            ),
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
        self,
        p: Tensor,
        target: Tensor,
        size: Tensor,
        x: Tensor,
        trial: Tensor,
        step: Tensor,
        gain: Tensor,
        nominal_x: Tensor,
        nominal_u: Tensor,
        **_: Tensor,
    ) -> Mapping[str, Tensor]:
        """Apply the policy, with a share of its step, and add up the cost."""
        problem = self.problem
        u = problem.clip(nominal_u + size * step - (gain @ (x - nominal_x).unsqueeze(-1)).squeeze(-1))
        trial = trial + problem.cost.running(x, u, target).unsqueeze(-1)
        return {"x": problem.step(x, u, by_name(problem, p)), "trial": trial, "tried_x": x, "tried_u": u}

    @torch.no_grad()
    def judge(
        self,
        target: Tensor,
        x: Tensor,
        trial: Tensor,
        cost: Tensor,
        size: Tensor,
        damping: Tensor,
        iterations: Tensor,
        done: Tensor,
        last: Tensor,
        **_: Tensor,
    ) -> Mapping[str, Tensor]:
        """Take the trajectory if it is cheaper; if not a smaller step is next, and after the smallest more damping."""
        trial = trial + self.problem.cost.final(x, target).unsqueeze(-1)
        trial = torch.where(trial.abs() < torch.inf, trial, torch.inf)
        fresh, active = iterations < 0, done == 0
        # near the end an improvement is smaller than the rounding of the cost; the residual judges such a step
        won = active & (fresh | (trial < cost * (1 + COST_ROUNDING)))
        turned = active & (won | (size == STEP_SIZES[-1]))
        smaller = torch.ones_like(size)
        for larger, next_one in itertools.pairwise(STEP_SIZES):
            smaller = torch.where(size == larger, next_one, smaller)
        return {
            "trial": trial,
            "cost": torch.where(won, trial, cost),
            "last": torch.where(won, x, last),
            "won": won.to(x.dtype),
            "turned": turned.to(x.dtype),
            "damping": torch.where(turned & ~fresh, next_damping(damping, won), damping),
            "iterations": iterations + turned.to(x.dtype),
            "size": torch.where(turned | ~active, 1.0, smaller),
        }

    @torch.no_grad()
    def turn(self, target: Tensor, last: Tensor, push: Tensor, **_: Tensor) -> Mapping[str, Tensor]:
        """Begin backwards with what the final state costs."""
        states, controls = at_the_end(self.problem, last)
        slope, _ = self.problem.cost.gradient(states, controls, target)
        _, curvature = self.problem.cost.hessian(states, controls, target)
        none = torch.zeros_like(push)
        return {"P": curvature, "slope": slope[-1], "costate": slope[-1], "push": none, "terms": none}

    @torch.no_grad()
    def back(
        self,
        p: Tensor,
        target: Tensor,
        limits: Tensor,
        won: Tensor,
        damping: Tensor,
        P: Tensor,
        slope: Tensor,
        costate: Tensor,
        push: Tensor,
        terms: Tensor,
        nominal_x: Tensor,
        nominal_u: Tensor,
        tried_x: Tensor,
        tried_u: Tensor,
        **_: Tensor,
    ) -> Mapping[str, Tensor]:
        """One step of the costate and of the backward pass, on the trajectory that won."""
        problem = self.problem
        x, u = torch.where(won > 0, tried_x, nominal_x), torch.where(won > 0, tried_u, nominal_u)
        A, B = differentiated(problem, x, u, by_name(problem, p))
        states, controls = torch.stack((x, x)), u.unsqueeze(0)
        (by_state, _), (by_control,) = problem.cost.gradient(states, controls, target)
        local, _ = problem.cost.hessian(states, controls, target)
        local = local[0] if local.ndim == 4 else local.expand(len(x), -1, -1)
        gradient = by_control + (B.mT @ costate.unsqueeze(-1)).squeeze(-1)
        bounds = problem.bounds(x)
        now = push_and_terms(gradient, by_control, least_terms(local, limits[..., 2:], u, *bounds), u, *bounds)
        low, high = ((bound - u).unsqueeze(-1) for bound in bounds)
        by_both, F = torch.cat((by_state, by_control), -1).unsqueeze(-1), torch.cat((A, B), -1)
        after = P, slope.unsqueeze(-1), F, local, by_both, low, high
        step, gain, P, slope = one_step_back(*after, damping.unsqueeze(-1), ROUNDS * len(u[0]))
        return {
            "P": P,
            "slope": slope.squeeze(-1),
            "costate": by_state + (A.mT @ costate.unsqueeze(-1)).squeeze(-1),
            "push": torch.maximum(push, now[0]),
            "terms": torch.maximum(terms, now[1]),
            "step": step.squeeze(-1),
            "gain": gain,
            "nominal_x": x,
            "nominal_u": u,
        }

    @torch.no_grad()
    def finish(
        self,
        limits: Tensor,
        push: Tensor,
        terms: Tensor,
        damping: Tensor,
        iterations: Tensor,
        turned: Tensor,
        done: Tensor,
        **_: Tensor,
    ) -> Mapping[str, Tensor]:
        """Whether the instance is stationary, or nothing more is to be had."""
        most, tolerance, _ = limits.split(1, -1)
        residual = residual_of(push, terms).unsqueeze(-1)
        going = (residual > tolerance) & (damping < DAMPING["most"]) & (iterations < most)
        return {"done": torch.where((turned > 0) & ~going, 1.0, done), "residual": residual}
