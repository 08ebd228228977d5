"""The control of least energy that ends exactly at the target: a closed form for linear problems."""

from __future__ import annotations

import torch
from torch import Tensor

from ..problems import Problem
from ..simulation import rollout
from ..steps import linear_response
from .trajectory import Trajectory


def minimum_energy(problem: Problem, initial: Tensor, target: Tensor) -> Trajectory:
    """Minimise ``Σ u²`` subject to ``x_T = x_g``, without bounds.

    The final state is ``x_T = x_0 Φ_T + u Γ_T``; of all controls that reach the target the shortest one lies in the
    range of ``Γ_T``: ``u = (x_g - x_0 Φ_T) (Γ_Tᵀ Γ_T)⁻¹ Γ_Tᵀ``.

    Parameters
    ----------
    problem : Problem
        Linear, and controllable within its horizon.
    initial, target : Tensor ``[B, n]``

    Returns
    -------
    Trajectory
        In the dtype of `initial`, computed in float64; `cost` is the problem's own, not the energy.

    Raises
    ------
    ValueError
        If the problem is not linear, or can't reach every state within its horizon.
    """
    problem.check_states(initial, target)
    if not problem.linear:
        raise ValueError(f"minimum_energy needs a linear problem, {problem.name!r} is not; use ilqr.")
    x0, goal = initial.double(), target.double()
    Phi, Gamma = (matrix[:, -problem.state_dim :] for matrix in linear_response(problem, problem.horizon, x0))
    gramian = Gamma.mT @ Gamma
    factor, failed = torch.linalg.cholesky_ex(gramian)
    if failed:
        raise ValueError(f"{problem.name!r} can't reach every state in {problem.horizon} steps; use a longer horizon.")
    weights = torch.cholesky_solve((goal - x0 @ Phi).mT, factor)
    controls = (Gamma @ weights).mT.unflatten(1, (problem.horizon, problem.control_dim)).contiguous()
    states = rollout(problem, x0, controls)
    cost = problem.cost(states, controls, goal)
    return Trajectory(*(tensor.to(initial.dtype) for tensor in (states, controls, cost)))
