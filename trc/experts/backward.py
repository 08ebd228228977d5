"""One step of the backward pass of iterative LQR: the best change of a control within its bounds, and its feedback."""

import torch
from torch import Tensor

#: Rounds for each control in which a recording looks for the minimum in a box, and at most without a recording.
ROUNDS, LONGEST = 3, 60

#: A slope that is smaller than this share of the terms that it is the sum of is rounding.
SLOPE_ROUNDING = 1e-12


def one_step_back(
    P: Tensor,
    p: Tensor,
    F: Tensor,
    local: Tensor,
    slope: Tensor,
    low: Tensor,
    high: Tensor,
    damping: Tensor,
    rounds: int | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Step ``[b, m, 1]`` and gain ``[b, m, n]`` of the policy at one time, and ``P`` and ``p`` ``[b, n, 1]`` before it.

    ``F`` is ``[b, n, n+m]``; `local` and `slope` are the second and first derivatives of what the step costs, by state
    and control together. The second derivatives by the controls grow by the share `damping` ``[b, 1, 1]``, which is
    the same in any units. `rounds` are those of :func:`box_minimum`.
    """
    n = P.shape[-1]
    hessian = torch.baddbmm(local, F.mT, P @ F)
    gradient = torch.baddbmm(slope, F.mT, p)
    H, G = hessian[:, n:, n:], hessian[:, n:, :n]
    H = H + damping * torch.diag_embed(_diagonal(H).squeeze(-1))
    H = _bent(H, gradient[:, n:], low, high)
    step, free = box_minimum(H, gradient[:, n:], low, high, rounds)
    gain = _solve_free(H, G, free)
    # where a control is free the gradient vanishes at the new policy, where it is not the gain does
    p = torch.baddbmm(gradient[:, :n], G.mT, step)
    P = torch.baddbmm(hessian[:, :n, :n], G.mT, gain, alpha=-1)
    return step, gain, (P + P.mT) / 2, p


def box_minimum(H: Tensor, g: Tensor, low: Tensor, high: Tensor, rounds: int | None = None) -> tuple[Tensor, Tensor]:
    """Minimise ``½ dᵀ H d + gᵀ d`` for ``low ≤ d ≤ high``, batched, by an active-set method.

    H is positive definite ``[b, m, m]``, the others are ``[b, m, 1]``. Gives the minimum, and 1.0 where it is free of
    its bounds, both ``[b, m, 1]``.

    In each round the free controls go towards their minimum until the first of them meets a bound, which holds it. At
    that minimum the control that gains most by leaving its bound is set free (all of them, if several gain as much).
    The objective falls from one such minimum to the next, so that no set of free controls comes twice, and the method
    ends with the exact minimum; where H is not positive definite it ends after `LONGEST` rounds with what it has. A
    recording can't wait either and takes a number of `rounds`. What it has then is feasible and no worse than what it
    began with. Source: Nocedal and Wright (2006), section 16.5.
    """
    if H.shape[-1] == 1:
        unbounded = -g / H
        d = unbounded.clamp(low, high)
        return d, (d == unbounded).to(g)
    d = (-_solve_free(H, g, torch.ones_like(g))).clamp(low, high)
    pull = _pull(H, g, d)
    held = ((d <= low) & (pull < 0)) | ((d >= high) & (pull > 0)) | (low == high)
    for _ in range(rounds or LONGEST):
        move = -_solve_free(H, g + H @ d, (~held).to(g))
        bound = torch.where(move > 0, high, low)
        share = torch.where(move.abs() > (bound - d).abs(), (bound - d) / move, 1.0)
        shortest = share.amin(-2, keepdim=True)
        stopped = (share <= shortest) & (shortest < 1)
        d = torch.where(stopped, bound, (d + shortest * move).clamp(low, high))
        held = held | stopped
        pull = _pull(H, g, d)
        inwards = held & (low < high) & (((d <= low) & (pull > 0)) | ((d >= high) & (pull < 0)))
        gain = torch.where(inwards, pull * pull / _diagonal(H), 0.0)
        leaving = (shortest >= 1) & (gain > 0) & (gain >= gain.amax(-2, keepdim=True))
        held = held & ~leaving
        if rounds is None and not bool((leaving | stopped).any()):
            break
    return d, (~held).to(g)


def _bent(H: Tensor, g: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """H with something on its diagonal where a control has no curvature: it goes to its bound then, or stays."""
    slope = g.abs() / (high - low)
    instead = torch.where(slope > 0, slope, 1.0)
    own = _diagonal(H)
    return H + torch.diag_embed(torch.where(own == 0, instead, 0.0).squeeze(-1))


def _pull(H: Tensor, g: Tensor, d: Tensor) -> Tensor:
    """Where the objective falls, ``-(g + H d)``; zero where that is rounding."""
    pull, terms = -(g + H @ d), g.abs() + H.abs() @ d.abs()
    return torch.where(pull.abs() > SLOPE_ROUNDING * terms, pull, 0.0)


def _diagonal(H: Tensor) -> Tensor:
    """``[b, m, 1]``."""
    return H.diagonal(dim1=-2, dim2=-1).unsqueeze(-1)


def _solve_free(H: Tensor, rhs: Tensor, free: Tensor) -> Tensor:
    """``H⁻¹ rhs`` restricted to the free dimensions, in units in which the diagonal is one; zero in the others."""
    if H.shape[-1] == 1:
        return free * rhs / H
    unit = _diagonal(H).rsqrt()
    masked = free * (unit * H * unit.mT) * free.mT + torch.diag_embed(1 - free.squeeze(-1))
    return free * unit * torch.linalg.solve_ex(masked, free * unit * rhs).result
