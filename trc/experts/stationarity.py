r"""How far controls are from a stationary point, in no unit: the residual that iterative LQR ends by.

The gradient of the cost by a control is a sum of two terms, what the control costs itself and what it does to all that
follows,

.. math:: \frac{\partial J}{\partial u_t} = \frac{\partial \ell}{\partial u_t} + B_t^\top \lambda_{t+1} ,

which cancel where a control is optimal inside its bounds. At a bound the gradient may push outwards. The residual is
the largest gradient that may still move its control, as a share of the largest sum of the two terms' sizes, of all
times, for each control. It does not change with the units of states, controls and cost.
"""

import torch
from torch import Tensor

from ..problems import Problem
from ..simulation import costate_and_gradient

#: A control that is nearer to a bound than this share of their distance is at it.
AT_BOUND = 1e-9

#: Where both terms vanish, at a cost of nothing, they are held against what so small a share of the bounds' distance
#: would cost to second order.
NOTHING = 1e-8


def residual_at(
    problem: Problem, states: Tensor, controls: Tensor, target: Tensor, A: Tensor, B: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The residual ``[B]`` at states ``[T+1, B, n]`` and controls ``[T, B, m]``, the terms, and what is held.

    The terms ``[B, m]`` are what the residual is a share of. A control is held by its bound if it is there and the
    gradient pushes it outwards. ``A`` and ``B`` are the Jacobians of the steps, time first.
    """
    _, gradient = costate_and_gradient(problem, states, controls, target, A, B)
    _, by_control = problem.cost.gradient(states, controls, target)
    running, _ = problem.cost.hessian(states, controls, target)
    bounds = problem.bounds(states)
    push, terms = push_and_terms(gradient, by_control, curvature_by_control(running, controls), controls, *bounds)
    terms = terms.amax(0)
    return residual_of(push.amax(0), terms), terms, held(gradient, controls, *bounds)


def held(gradient: Tensor, controls: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Which controls are at a bound that the gradient pushes them against."""
    near = AT_BOUND * (high - low)
    return ((controls <= low + near) & (gradient > 0)) | ((controls >= high - near) & (gradient < 0))


def push_and_terms(
    gradient: Tensor, by_control: Tensor, curvature: Tensor, controls: Tensor, low: Tensor, high: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients that may still move their controls, and the sizes of the terms that they are the sum of.

    Gradient, its first term `by_control`, the second derivatives `curvature` of what a step costs by each control, and
    the controls have one shape, ``[..., m]``, and so has what is returned. :func:`residual_of` wants the largest
    of each over time.
    """
    push = torch.where(held(gradient, controls, low, high), 0.0, gradient.abs())
    terms = by_control.abs() + (gradient - by_control).abs()
    return push, torch.maximum(terms, NOTHING * curvature * (high - low))


def residual_of(push: Tensor, terms: Tensor) -> Tensor:
    """The residual ``[...]``, from the largest push and the largest terms ``[..., m]`` of all times."""
    return torch.where(push > 0, push / terms, 0.0).amax(-1)


def curvature_by_control(running: Tensor, like: Tensor) -> Tensor:
    """Second derivatives of what a step costs by each control, from those by state and control ``[..., n+m, n+m]``."""
    return running.diagonal(dim1=-2, dim2=-1)[..., -like.shape[-1] :].expand_as(like)
