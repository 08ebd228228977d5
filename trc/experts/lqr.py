"""The finite-horizon linear quadratic regulator, its feedback clipped to the control bounds.

On a linear problem whose bounds are not active this is the optimum. With active bounds, or nonlinear dynamics
(linearised at the target), it is a good teacher and not the optimum. Source: Anderson and Moore (1990).
"""

import torch
from torch import Tensor

from ..common.checks import check_count, check_tensor
from ..common.modes import values_only
from ..problems import Parameters, Problem, check_instances, check_problem, check_trajectories
from ..simulation import step_jacobians
from ..simulation.accelerate import run
from .base import EXPERTS, NoneSolved, Trajectory


def riccati(
    A: Tensor, B: Tensor, drift: Tensor, Q: Tensor, R: Tensor, Q_final: Tensor, horizon: int
) -> tuple[Tensor, Tensor]:
    """Backward Riccati recursion for ``e_{t+1} = A e_t + B u_t + drift``.

    Writes the cost to go as ``eᵀ P e + 2 pᵀ e + const`` and minimises over ``u`` at each step of the horizon. Where it
    overflows, or the cost does not curve upwards in every control, what it gives is not a number.

    Parameters
    ----------
    A, B, Q, R, Q_final : Tensor
        Matrices, of any leading shape.
    drift : Tensor ``[..., n]``
        Zero when the target is an equilibrium.

    Returns
    -------
    gains, offsets : Tensor ``[..., T, m, n]``, ``[..., T, m]``
        The optimal control is ``u_t = -gains_t e_t - offsets_t``.
    """
    P = Q_final.expand(*A.shape[:-2], *Q_final.shape[-2:])
    p = torch.zeros_like(drift)
    gains, offsets = [], []
    for _ in range(horizon):
        gain, offset, P, p = riccati_step(A, B, drift, Q, R, P, p)
        gains.append(gain)
        offsets.append(offset)
    return torch.stack(gains[::-1], -3), torch.stack(offsets[::-1], -2)


def riccati_step(
    A: Tensor, B: Tensor, drift: Tensor, Q: Tensor, R: Tensor, P: Tensor, p: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One step of it: gain, offset, and ``P`` and ``p`` a step earlier."""
    BtP = B.mT @ P
    pushed = (P @ drift.unsqueeze(-1)).squeeze(-1) + p  # gradient of the cost to go at e = 0, u = 0, halved
    factor, failed = torch.linalg.cholesky_ex(R + BtP @ B)
    factor = torch.where(failed[..., None, None] > 0, torch.nan, factor)
    gain = torch.cholesky_solve(BtP @ A, factor)
    offset = torch.cholesky_solve(B.mT @ pushed.unsqueeze(-1), factor).squeeze(-1)
    closed = A - B @ gain
    p = (closed.mT @ pushed.unsqueeze(-1)).squeeze(-1)
    P = Q + A.mT @ P @ closed
    return gain, offset, (P + P.mT) / 2, p


@values_only
def lqr_gains(problem: Problem, target: Tensor, horizon: int | None = None) -> tuple[Tensor, Tensor]:
    """Gains ``[B, T, m, n]`` and offsets ``[B, T, m]`` for step and cost as they are at each target, controls zero.

    In the dtype of the target, computed in float64. The horizon is the problem's own by default. A target for which
    there are none gets what is not a number; it is a ``ValueError`` if that is so for all.
    """
    check_problem(problem)
    check_tensor(target, (None, problem.state_dim), f"target states of {problem.name}")
    steps = problem.horizon if horizon is None else check_count(horizon, "horizon")
    check_trajectories(problem, len(target), problem.state_dim, steps, target.device)
    gains, offsets = _gains(problem, target.double(), steps)
    if not gains.flatten(1).isfinite().all(1).any():
        raise NoneSolved(
            "the Riccati recursion overflows, or the cost does not curve upwards in every control, or has no second "
            "derivatives at the target; use a shorter horizon, a smaller dt, smaller weights, or the expert ilqr from "
            "another start."
        )
    return gains.to(target.dtype), offsets.to(target.dtype)


def _gains(problem: Problem, target: Tensor, horizon: int) -> tuple[Tensor, Tensor]:
    A, B = step_jacobians(problem, target, target.new_zeros(len(target), problem.control_dim))
    return riccati(A, B, *at_the_target(problem, target, problem.parameters), horizon)


def at_the_target(problem: Problem, target: Tensor, parameters: Parameters) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Drift, ``Q``, ``R`` and ``Q_final`` of the regulator to each target, without control."""
    n, zero = problem.state_dim, target.new_zeros(len(target), problem.control_dim)
    drift = problem.step(target, zero, parameters) - target
    running, final = problem.cost.hessian(target.expand(2, -1, -1), zero.unsqueeze(0), target)
    running = running[0] if running.ndim == 4 else running
    return drift, running[..., :n, :n] / 2, running[..., n:, n:] / 2, final / 2


@EXPERTS.register("lqr")
@values_only
def lqr(problem: Problem, initial: Tensor, target: Tensor) -> Trajectory:
    """Saturated LQR: time-varying feedback towards the target, clipped to the bounds, on the true dynamics.

    From and to states ``[B, n]``; in the dtype of `initial`, computed in float64.
    """
    check_instances(problem, initial, target)
    x, goal = initial.double(), target.double()
    given = {"parameters": problem.parameters, "horizon": problem.horizon}
    found = run("regulate", plain_regulate, problem, x, goal, **given)
    states, controls = (part.transpose(0, 1) for part in found)
    cost = problem.cost(states, controls, goal)
    if not cost.isfinite().any():
        lqr_gains(problem, goal)  # which says so if it is they that are missing
    return Trajectory(states, controls, cost).to(initial.dtype)


def plain_regulate(
    problem: Problem, initial: Tensor, target: Tensor, parameters: Parameters, horizon: int
) -> tuple[Tensor, Tensor]:
    """States ``[T+1, B, n]`` and controls ``[T, B, m]`` under the clipped feedback."""
    distinct, which = target.unique(dim=0, return_inverse=True)  # one Riccati recursion a distinct target
    gains, offsets = _gains(problem, distinct, horizon)
    states, controls = [initial], []
    for t in range(horizon):
        deviation = (states[-1] - target).unsqueeze(-1)
        controls.append(problem.clip(-(gains[which, t] @ deviation).squeeze(-1) - offsets[which, t]))
        states.append(problem.step(states[-1], controls[-1], parameters))
    return torch.stack(states), torch.stack(controls)
