"""One step of the backward pass of iterative LQR: the best change of a control within its bounds, and its feedback."""

import torch
from torch import Tensor


def one_step_back(
    P: Tensor, p: Tensor, F: Tensor, local: Tensor, slope: Tensor, low: Tensor, high: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Step ``[b, m, 1]`` and gain ``[b, m, n]`` of the policy at one time, and ``P`` and ``p`` ``[b, n, 1]`` before it.

    ``F`` is ``[b, n, n+m]``; `local` and `slope` are the second and first derivatives of what the step costs, by state
    and control together.
    """
    n = P.shape[-1]
    hessian = torch.baddbmm(local, F.mT, P @ F)
    gradient = torch.baddbmm(slope, F.mT, p)
    H, G = hessian[:, n:, n:], hessian[:, n:, :n]
    step, free = box_minimum(H, gradient[:, n:], low, high)
    gain = _solve_free(H, G, free)
    # where a control is free the gradient vanishes at the new policy, where it is not the gain does
    p = torch.baddbmm(gradient[:, :n], G.mT, step)
    P = torch.baddbmm(hessian[:, :n, :n], G.mT, gain, alpha=-1)
    return step, gain, (P + P.mT) / 2, p


def box_minimum(H: Tensor, g: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Minimise ``½ dᵀ H d + gᵀ d`` for ``low ≤ d ≤ high``, batched, by projected Newton steps.

    H is positive definite ``[b, m, m]``, the others are ``[b, m, 1]``. Gives the minimum, and 1.0 where it is free of
    its bounds, both ``[b, m, 1]``.
    """
    if H.shape[-1] == 1:
        unbounded = -g / H
        d = unbounded.clamp(low, high)
        return d, (d == unbounded).to(g)

    def slope_and_free(d: Tensor) -> tuple[Tensor, Tensor]:
        slope = g + H @ d
        return slope, 1 - (((d <= low) & (slope > 0)) | ((d >= high) & (slope < 0))).to(g)

    d = -_solve_free(H, g, torch.ones_like(g)).clamp(low, high)
    for _ in range(4 * g.shape[-2]):  # a fixed number, so that the loop can be recorded; two are mostly enough
        d = (d - _solve_free(H, *slope_and_free(d))).clamp(low, high)
    return d, slope_and_free(d)[1]


def _solve_free(H: Tensor, rhs: Tensor, free: Tensor) -> Tensor:
    """``H⁻¹ rhs`` restricted to the free dimensions; zero in the others."""
    if H.shape[-1] == 1:
        return free * rhs / H
    masked = free * H * free.mT + torch.diag_embed(1 - free.squeeze(-1))
    return free * torch.linalg.solve_ex(masked, free * rhs).result
