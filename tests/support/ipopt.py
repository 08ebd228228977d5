"""An oracle: the same optimal-control problems, written down once more in CasADi and solved by IPOPT.

It shares no code with ``trc``: the dynamics are the formulas of the text again, the derivatives are CasADi's, and
the method is an interior-point method on states and controls together.

Sources: Andersson et al. (2019); Wächter and Biegler (2006).
"""

import casadi
import numpy as np
import torch
from made_up import Cart
from plain import projected_gradient, step_by_step

import trc


def double_integrator(x, u, parameters, dt):
    """The exact solution for a constant acceleration."""
    return casadi.vertcat(x[0] + dt * x[1] + dt**2 * u[0] / 2, x[1] + dt * u[0])


def van_der_pol(x, u, parameters, dt):
    """The classical Runge-Kutta step."""

    def rate(x):
        return casadi.vertcat(x[1], parameters["mu"] * (1 - x[0] ** 2) * x[1] - x[0] + u[0])

    slopes = [rate(x)]
    for fraction in (0.5, 0.5, 1.0):
        slopes.append(rate(x + fraction * dt * slopes[-1]))
    return x + dt * (slopes[0] / 6 + slopes[1] / 3 + slopes[2] / 3 + slopes[3] / 6)


def cart(x, u, parameters, dt):
    """The made-up problem of ``made_up.py``."""
    rates = casadi.vertcat(
        x[2] * casadi.cos(x[1]),
        u[1] + 0.3 * casadi.sin(x[0]),
        u[0] - parameters["drag"] * x[2] * casadi.sqrt(x[2] ** 2 + 0.01),
    )
    return x + dt * rates


DYNAMICS = {"double_integrator": double_integrator, "van_der_pol": van_der_pol, "cart": cart}
PROBLEMS = {name: Cart() if name == "cart" else trc.make_problem(name) for name in DYNAMICS}


class Ipopt:
    """Solves instances of one problem, which gives the numbers; the program is built once."""

    def __init__(self, problem: trc.Problem, tolerance: float = 1e-9) -> None:
        n, m, T = problem.state_dim, problem.control_dim, problem.horizon
        x, u = casadi.SX.sym("x", n, T + 1), casadi.SX.sym("u", m, T)
        initial, target = casadi.SX.sym("initial", n), casadi.SX.sym("target", n)
        Q, R, Q_final = (casadi.DM(np.array(getattr(problem.cost, name))) for name in ("Q", "R", "Q_final"))
        cost, defects = 0, [x[:, 0] - initial]
        for t in range(T):
            cost += casadi.bilin(Q, x[:, t] - target) + casadi.bilin(R, u[:, t])
            defects.append(DYNAMICS[problem.name](x[:, t], u[:, t], problem.parameters, problem.dt) - x[:, t + 1])
        cost += casadi.bilin(Q_final, x[:, T] - target)
        unknowns = casadi.vertcat(casadi.vec(x), casadi.vec(u))
        program = {"x": unknowns, "f": cost, "g": casadi.vertcat(*defects), "p": casadi.vertcat(initial, target)}
        quiet = {"print_time": False, "ipopt.print_level": 0, "ipopt.sb": "yes"}
        exact = {"ipopt.tol": tolerance, "ipopt.bound_relax_factor": 0.0}
        self.solver = casadi.nlpsol("solver", "ipopt", program, quiet | exact)
        free = np.full(n * (T + 1), np.inf)
        self.low = np.concatenate([-free, np.tile(problem.control_low, T)])
        self.high = np.concatenate([free, np.tile(problem.control_high, T)])

    def __call__(self, initial: np.ndarray, target: np.ndarray, states: np.ndarray, controls: np.ndarray):
        """Controls ``[T, m]``, their cost, and whether IPOPT calls it solved, from a given start."""
        start = np.concatenate([states.ravel(), controls.ravel()])
        found = self.solver(x0=start, p=np.concatenate([initial, target]), lbx=self.low, ubx=self.high, lbg=0, ubg=0)
        solved = self.solver.stats()["success"]
        return np.array(found["x"])[states.size :, 0].reshape(controls.shape), float(found["f"]), solved


#: What is compared, for every problem: settings that differ from its own, the width of bounds and of the initial box.
VARIATIONS = {
    "as it is": ({}, 1.0, 1.0),
    "odd horizon": ({"horizon": 7}, 1.0, 1.0),
    "tight bounds": ({}, 0.25, 1.0),
    "larger start": ({}, 1.0, 1.5),
}

#: Costs that differ by more than this share belong to different local minima.
SAME = 1e-6


def compare(problem: trc.Problem, variation: str, count: int, start: str) -> dict[str, float]:
    """:func:`trc.ilqr` against IPOPT on random instances, both from the same controls."""
    settings, width, scale = VARIATIONS[variation]
    bounds = {name: tuple(width * b for b in getattr(problem, name)) for name in ("control_low", "control_high")}
    varied = problem.replace(**settings, **bounds)
    generator = torch.Generator().manual_seed(7)
    initial, target = varied.sample(count, generator=generator, scale=scale, dtype=torch.float64)
    begin = trc.ilqr(varied, initial, target, start=start, max_iterations=0)
    ours, ipopt = trc.ilqr(varied, initial, target, start=begin.controls), Ipopt(varied)
    rows = zip(*(t.numpy() for t in (initial, target, begin.states, begin.controls)), strict=True)
    found, costs, solved = zip(*(ipopt(*row) for row in rows), strict=True)
    theirs, cost = varied.clip(torch.tensor(np.stack(found))), torch.tensor(costs, dtype=torch.float64)
    by_our_cost = varied.cost(step_by_step(varied, initial, theirs), theirs, target)
    residual = projected_gradient(varied, initial, target, theirs)
    excess = ours.cost / cost - 1
    return {
        "instances": count,
        "ilqr_converged": int(ours.converged.sum()),
        "ilqr_iterations": int(ours.iterations.max()),
        "ipopt_solved": sum(solved),
        "ilqr_residual": ours.residual.max().item(),
        "ipopt_residual": residual.max().item(),
        "cost_disagreement": (by_our_cost / cost - 1).abs().max().item(),
        "largest_excess": excess.max().item(),
        "largest_saving": -excess.min().item(),
        "ilqr_in_worse_minimum": int((excess > SAME).sum()),
        "ilqr_in_better_minimum": int((excess < -SAME).sum()),
    }
