"""The control of least energy that ends exactly at the target: a closed form for linear problems."""

import torch
from torch import Tensor

from ..common.modes import values_only
from ..problems import Problem, check_instances
from ..simulation import linear_matrices, rollout
from .base import Trajectory

#: Largest distance from the target, as a share of an instance's states, that counts as arrived.
ARRIVED = 1e-8


@values_only
def minimum_energy(problem: Problem, initial: Tensor, target: Tensor) -> Trajectory:
    """Minimise ``Σ u²`` subject to ``x_T = x_g``, without bounds.

    The final state is ``x_T = Φ x_0 + Γ u``; of all controls that reach the target the shortest one lies in the range
    of ``Γᵀ``: ``u = Γᵀ (Γ Γᵀ)⁻¹ (x_g - Φ x_0)``, computed with ``Γᵀ = Z S`` (QR) as ``u = Z S⁻ᵀ (x_g - Φ x_0)``.
    From and to states ``[B, n]``; in the dtype of `initial`, computed in float64, with the problem's own cost. One that
    is not linear, or not controllable within its horizon, is a ``ValueError``.
    """
    check_instances(problem, initial, target)
    if not problem.linear:
        raise ValueError(f"minimum_energy needs a linear problem, {problem.name!r} is not; use ilqr.")
    x0, goal = initial.double(), target.double()
    A, B = (matrix.to(x0) for matrix in linear_matrices(problem))
    free, pushes = x0, [B]
    for _ in range(problem.horizon):
        free = free @ A.mT
        pushes.append(A @ pushes[-1])
    Gamma = torch.cat(pushes[-2::-1], -1)  # the last push acts through B, the first through A^(T-1) B
    Z, S = torch.linalg.qr(Gamma.mT)
    weights = torch.linalg.solve_triangular(S.mT, (goal - free).mT, upper=False) if S.shape[0] == S.shape[1] else None
    if weights is not None and weights.isfinite().all():
        controls = (Z @ weights).mT.unflatten(1, (problem.horizon, problem.control_dim)).contiguous()
        states = rollout(problem, x0, controls)
        size = torch.maximum(x0.abs(), goal.abs()).amax(1)
        if ((states[:, -1] - goal).abs().amax(1) <= ARRIVED * size).all():
            return Trajectory(states, controls, problem.cost(states, controls, goal)).to(initial.dtype)
    raise ValueError(f"{problem.name!r} can't reach every state in {problem.horizon} steps; use a longer horizon.")
