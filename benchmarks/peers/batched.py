"""The batched solver in PyTorch that people know, with our Jacobians."""

from collections.abc import Callable

import torch
from mpc import mpc
from torch import Tensor

import trc


def mpc_solver(problem: trc.Problem, initial: Tensor, target: Tensor, controls: Tensor) -> Callable[[], Tensor]:
    """Controls ``[B, T, m]`` that the package ``mpc`` (Amos et al., 2018) finds from given ones."""
    size, T, n, m = len(initial), problem.horizon, problem.state_dim, problem.control_dim
    Q, R, Q_final = problem.cost.matrices(initial)
    # its horizon includes the final state, whose control costs next to nothing
    weights = [torch.block_diag(Q, R)] * T + [torch.block_diag(Q_final, 1e-8 * R)]
    C = 2 * torch.stack(weights).unsqueeze(1).repeat(1, size, 1, 1)
    c = -(C[..., :n] @ target[:, :, None]).squeeze(-1)
    first = torch.nn.functional.pad(controls, (0, 0, 0, 1)).transpose(0, 1).contiguous()

    class Dynamics(torch.nn.Module):
        def forward(self, x: Tensor, u: Tensor) -> Tensor:
            return problem.step(x, u, problem.parameters)

        def grad_input(self, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
            return trc.step_jacobians(problem, x, u)

    def solve() -> Tensor:
        bounds = {"u_lower": problem.control_low[0], "u_upper": problem.control_high[0]}
        effort = {"lqr_iter": 30, "eps": 1e-6, "grad_method": mpc.GradMethods.ANALYTIC}
        whole = {"exit_unconverged": False, "detach_unconverged": False, "backprop": False, "verbose": -1}
        solver = mpc.MPC(n, m, T + 1, u_init=first, n_batch=size, **bounds, **effort, **whole)
        return solver(initial, mpc.QuadCost(C, c), Dynamics())[1][:T].transpose(0, 1)

    return solve
