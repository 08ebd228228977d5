"""The finite-horizon linear quadratic regulator, its feedback clipped to the control bounds.

On a linear problem whose bounds are not active this is the optimum. With active bounds, or nonlinear dynamics
(linearised at the target), it is a good teacher and not the optimum. Source: Anderson and Moore (1990).
"""

import torch
from torch import Tensor

from ..problems import Problem, check_instances
from ..simulation import check_overflow, step_jacobians
from .base import EXPERTS, Trajectory


def riccati(
    A: Tensor, B: Tensor, drift: Tensor, Q: Tensor, R: Tensor, Q_final: Tensor, horizon: int
) -> tuple[Tensor, Tensor]:
    """Backward Riccati recursion for ``e_{t+1} = A e_t + B u_t + drift``.

    Writes the cost to go as ``eᵀ P e + 2 pᵀ e + const`` and minimises over ``u`` at each step of the horizon.

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
        BtP = B.mT @ P
        pushed = (P @ drift.unsqueeze(-1)).squeeze(-1) + p  # gradient of the cost to go at e = 0, u = 0, halved
        factor, failed = torch.linalg.cholesky_ex(R + BtP @ B)
        if failed.any():
            raise ValueError(
                "the Riccati recursion overflows, or the cost does not curve upwards in every control; use a shorter "
                "horizon, a smaller dt, smaller weights, or the expert ilqr from another start."
            )
        gain = torch.cholesky_solve(BtP @ A, factor)
        offset = torch.cholesky_solve(B.mT @ pushed.unsqueeze(-1), factor).squeeze(-1)
        closed = A - B @ gain
        p = (closed.mT @ pushed.unsqueeze(-1)).squeeze(-1)
        P = Q + A.mT @ P @ closed
        P = (P + P.mT) / 2
        gains.append(gain)
        offsets.append(offset)
    return torch.stack(gains[::-1], -3), torch.stack(offsets[::-1], -2)


@torch.no_grad()
def lqr_gains(problem: Problem, target: Tensor) -> tuple[Tensor, Tensor]:
    """Gains ``[B, T, m, n]`` and offsets ``[B, T, m]`` for step and cost as they are at each target, controls zero."""
    n, zero = problem.state_dim, target.new_zeros(len(target), problem.control_dim)
    A, B = step_jacobians(problem, target, zero)
    drift = problem.step(target, zero, problem.parameters) - target
    running, final = problem.cost.hessian(target.expand(2, -1, -1), zero.unsqueeze(0), target)
    running = running[0] if running.ndim == 4 else running
    Q, R = running[..., :n, :n] / 2, running[..., n:, n:] / 2
    return riccati(A, B, drift, Q, R, final / 2, problem.horizon)


@EXPERTS.register("lqr")
@torch.no_grad()
def lqr(problem: Problem, initial: Tensor, target: Tensor) -> Trajectory:
    """Saturated LQR: time-varying feedback towards the target, clipped to the bounds, on the true dynamics.

    From and to states ``[B, n]``; in the dtype of `initial`, computed in float64.
    """
    check_instances(problem, initial, target)
    x, goal = initial.double(), target.double()
    distinct, which = goal.unique(dim=0, return_inverse=True)  # one Riccati recursion a distinct target
    gains, offsets = lqr_gains(problem, distinct)
    states, controls = [x], []
    for t in range(problem.horizon):
        deviation = (x - goal).unsqueeze(-1)
        u = problem.clip(-(gains[which, t] @ deviation).squeeze(-1) - offsets[which, t])
        x = problem.step(x, u, problem.parameters)
        states.append(x)
        controls.append(u)
    check_overflow(torch.stack(states))
    both = torch.stack(states, 1), torch.stack(controls, 1)
    return Trajectory(*both, problem.cost(*both, goal)).to(initial.dtype)
