"""Whether controls are a local minimum: how far from stationary, and how the cost curves where they are free."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..common.checks import check_real, check_tensor
from ..common.memory import check_memory
from ..common.modes import values_only
from ..problems import Problem, check_instances
from ..simulation import costate_and_gradient, rollout, step_jacobians
from .stationarity import residual_at

#: So many steps of columns of second derivatives are computed at a time, so that memory grows neither with the
#: instances nor with the horizon; and of so many columns at a time the eigenvalues.
STEPS, COLUMNS = 2**17, 2**11

#: A curvature that is no larger than this for each free control is the rounding of an eigenvalue.
FLAT = 1e-14


@dataclass(frozen=True, eq=False)
class Certificate:
    """What the first and the second derivatives say of controls of a batch of instances, in no unit."""

    residual: Tensor  #: [B], see ``trc.experts.stationarity``; zero at a stationary point
    rounding: Tensor  #: [B], what of it the rounding of the controls to their type may have made
    #: [B], the smallest eigenvalue of the cost's second derivatives by the controls that are free to move, each in a
    #: unit in which its own is one: positive at a strict local minimum, at most 1, infinite where none is free, and
    #: not a number where a second derivative is none
    curvature: Tensor
    free: Tensor  #: [B], how many of the ``T m`` controls are free to move; the others are held by a bound

    def stationary(self, tolerance: float = 1e-7) -> Tensor:
        """Which instances ``[B]`` can't be improved to first order, to the tolerance and the rounding."""
        return self.residual <= check_real(tolerance, "tolerance", positive=True) + self.rounding

    def minimum(self, tolerance: float = 1e-7) -> Tensor:
        """Which of these are strict local minima, since the cost curves upwards in all that is free."""
        return self.stationary(tolerance) & (self.curvature > FLAT * self.free)

    def __str__(self) -> str:
        stationary, minima = (int(which.sum()) for which in (self.stationary(), self.minimum()))
        first = f"{stationary} of {len(self.residual)} are stationary (residual at most {self.residual.max():.1e})"
        return f"{first}, {minima} of these strict local minima (smallest curvature {self.curvature.min():.1e})"


@values_only
def certify(problem: Problem, initial: Tensor, target: Tensor, controls: Tensor) -> Certificate:
    """Check controls ``[B, T, m]`` from initial to target states ``[B, n]``, whoever found them.

    The second derivatives are exact, by automatic differentiation through the problem's step. What it can't say is that
    no other local minimum is lower. It is computed in float64; what is lost where the controls are of another type is
    allowed for. Wrong shapes, and controls that overflow, are a ``ValueError``.
    """
    check_instances(problem, initial, target)
    check_tensor(controls, (len(initial), problem.horizon, problem.control_dim), "controls")
    x0, goal, u = initial.double(), target.double(), controls.double()
    precision = torch.finfo(controls.dtype).eps
    for bound in problem.bounds(u):  # which the type may not hold
        u = torch.where((u - bound).abs() <= precision * bound.abs(), bound, u)
    u = problem.clip(u)
    states, first = rollout(problem, x0, u).transpose(0, 1), u.transpose(0, 1)
    _, gradient = costate_and_gradient(problem, states, first, goal, *step_jacobians(problem, states[:-1], first))
    residual, terms, held = residual_at(problem, states, first, goal, gradient)
    free = ~held.transpose(0, 1).flatten(1)
    needed = 4 * u.element_size() * free.shape[1] ** 2
    check_memory(needed, f"second derivatives by {free.shape[1]:,} controls", "certify a shorter horizon", u.device)
    some = max(1, COLUMNS // free.shape[1])
    chunks = zip(*(tensor.split(some) for tensor in (x0, goal, u, free)), strict=True)
    curvature, change = (
        torch.cat(parts) for parts in zip(*(_second_order(problem, *one) for one in chunks), strict=True)
    )
    rounding = precision / 2 * change.view_as(u).amax(1) / terms
    return Certificate(residual, torch.where(terms > 0, rounding, 0.0).amax(-1), curvature, free.sum(1))


def second_derivatives(problem: Problem, initial: Tensor, target: Tensor, controls: Tensor) -> Tensor:
    """``∂²J/∂u∂u`` ``[B, T m, T m]``: one column a simulation, many of them side by side."""
    size = controls[0].numel()
    every = torch.arange(len(initial) * size, device=controls.device).split(max(1, STEPS // problem.horizon))
    found = [_columns(problem, initial, target, controls, some // size, some % size) for some in every]
    return torch.cat(found).reshape(len(initial), size, size)


def _columns(
    problem: Problem, initial: Tensor, target: Tensor, controls: Tensor, which: Tensor, column: Tensor
) -> Tensor:
    """Columns ``[c, T, m]`` of the second derivatives of the instances that are named, one of each."""
    with torch.inference_mode(False), torch.enable_grad():
        x0, goal, u = (tensor[which] for tensor in (initial, target, controls))
        columns = torch.zeros_like(u).flatten(1).scatter_(1, column.unsqueeze(1), 1.0).view_as(u)
        u = u.requires_grad_()
        states = [x0]
        for now in u.unbind(1):
            states.append(problem.step(states[-1], now, problem.parameters))
        total = problem.cost(torch.stack(states, 1), u, goal).sum() + 0 * u.sum()  # a cost may not depend on controls
        (gradient,) = torch.autograd.grad(total, u, create_graph=True)
        return torch.autograd.grad((gradient * columns + 0 * u).sum(), u)[0]


def _second_order(
    problem: Problem, initial: Tensor, target: Tensor, controls: Tensor, free: Tensor
) -> tuple[Tensor, Tensor]:
    """The curvature ``[b]``, and how much each entry of the gradient ``[b, T m]`` changes with the size of controls."""
    H = second_derivatives(problem, initial, target, controls)
    own = H.diagonal(dim1=1, dim2=2).abs()
    unit = torch.where(own > 0, own, 1.0).rsqrt() * free
    scaled = unit.unsqueeze(2) * (H + H.mT) / 2 * unit.unsqueeze(1)
    # what is held has no part: in its place an eigenvalue that is larger than all others
    scaled = scaled + torch.diag_embed((~free) * (1.0 + free.shape[1]))
    numbers = scaled.isfinite().all(2).all(1)
    smallest = torch.linalg.eigvalsh(torch.where(numbers[:, None, None], scaled, 0.0))[:, 0]
    smallest = torch.where(free.any(1), torch.where(numbers, smallest, torch.nan), torch.inf)
    return smallest, (H.abs() @ controls.flatten(1).abs().unsqueeze(-1)).squeeze(-1)
