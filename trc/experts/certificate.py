"""Whether controls are a local minimum: how far from stationary, and how the cost curves where they are free."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..common.checks import check_real, check_tensor
from ..common.modes import values_only
from ..problems import Problem, check_instances
from ..simulation import rollout, step_jacobians
from .stationarity import residual

#: So many columns of second derivatives are computed at a time, so that memory does not grow with the instances.
COLUMNS = 2048


@dataclass(frozen=True, eq=False)
class Certificate:
    """What the first and the second derivatives say of controls of a batch of instances, both without a unit."""

    residual: Tensor  #: [B], see ``trc.experts.stationarity``; zero at a stationary point
    #: [B], the smallest eigenvalue of the cost's second derivatives by the controls that are free to move, each in a
    #: unit in which its own is one: positive at a strict local minimum, at most 1, and infinite where none is free
    curvature: Tensor
    free: Tensor  #: [B], how many of the ``T m`` controls are free to move; the others are held by a bound

    def minimum(self, tolerance: float = 1e-7) -> Tensor:
        """Which instances ``[B]`` are strict local minima: stationary to the tolerance, and curved upwards."""
        return (self.residual <= check_real(tolerance, "tolerance", positive=True)) & (self.curvature > 0)

    def __str__(self) -> str:
        found = self.minimum()
        return (
            f"{int(found.sum())} of {len(found)} are strict local minima: residual at most {self.residual.max():.1e}, "
            f"smallest curvature {self.curvature.min():.1e}"
        )


@values_only
def certify(problem: Problem, initial: Tensor, target: Tensor, controls: Tensor) -> Certificate:
    """Check controls ``[B, T, m]`` from initial to target states ``[B, n]``, whoever found them.

    The second derivatives are exact, by automatic differentiation through the problem's step. What it can't say is that
    no other local minimum is lower. It is computed in float64, and rounding the controls to float32 leaves a residual
    that counts as none. Wrong shapes, and controls that overflow, are a ``ValueError``.
    """
    check_instances(problem, initial, target)
    check_tensor(controls, (len(initial), problem.horizon, problem.control_dim), "controls")
    x0, goal, u = initial.double(), target.double(), problem.clip(controls.double())
    states, first = rollout(problem, x0, u).transpose(0, 1), u.transpose(0, 1)
    left, held = residual(problem, states, first, goal, *step_jacobians(problem, states[:-1], first))
    free = ~held.transpose(0, 1).flatten(1)
    some = max(1, COLUMNS // free.shape[1])
    chunks = zip(*(tensor.split(some) for tensor in (x0, goal, u, free)), strict=True)
    return Certificate(left, torch.cat([_curvature(problem, *chunk) for chunk in chunks]), free.sum(1))


def second_derivatives(problem: Problem, initial: Tensor, target: Tensor, controls: Tensor) -> Tensor:
    """``∂²J/∂u∂u`` ``[B, T m, T m]``: one column an instance, all of them side by side."""
    size = controls[0].numel()
    with torch.inference_mode(False), torch.enable_grad():
        x0, goal, u = (tensor.repeat_interleave(size, 0) for tensor in (initial, target, controls))
        columns = torch.eye(size, dtype=u.dtype, device=u.device).repeat(len(initial), 1).view_as(u)
        u = u.requires_grad_()
        states = [x0]
        for now in u.unbind(1):
            states.append(problem.step(states[-1], now, problem.parameters))
        total = problem.cost(torch.stack(states, 1), u, goal).sum() + 0 * u.sum()  # a cost may not depend on controls
        (gradient,) = torch.autograd.grad(total, u, create_graph=True)
        (found,) = torch.autograd.grad((gradient * columns + 0 * u).sum(), u)
    return found.reshape(len(initial), size, size)


def _curvature(problem: Problem, initial: Tensor, target: Tensor, controls: Tensor, free: Tensor) -> Tensor:
    H = second_derivatives(problem, initial, target, controls)
    own = H.diagonal(dim1=1, dim2=2).abs()
    unit = torch.where(own > 0, own, 1.0).rsqrt() * free
    scaled = unit.unsqueeze(2) * (H + H.mT) / 2 * unit.unsqueeze(1)
    # what is held has no part: in its place an eigenvalue that is larger than all others
    scaled = scaled + torch.diag_embed((~free) * (1.0 + free.shape[1]))
    smallest = torch.linalg.eigvalsh(scaled)[:, 0]
    return torch.where(free.any(1), smallest, torch.inf)
