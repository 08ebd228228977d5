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

#: A control is at a bound if it differs from it by no more than this share of what it is, or of the bounds' distance.
AT_BOUND = 1e-9

#: Where both terms vanish, at a cost of nothing, they are held against those of controls that are so small a share of
#: the bounds' distance; or of what would cost as much as an ordinary state does, where the bounds are farther apart.
NOTHING = 1e-8

#: A number that no cost reaches, where nothing is known.
UNKNOWN = 1e300


def residual_at(
    problem: Problem, states: Tensor, controls: Tensor, target: Tensor, gradient: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The residual ``[B]`` at states ``[T+1, B, n]`` and controls ``[T, B, m]``, the terms, and what is held.

    The terms ``[B, m]`` are what the residual is a share of. A control is held by its bound if it is there and the
    gradient ``[T, B, m]`` pushes it outwards.
    """
    _, by_control = problem.cost.gradient(states, controls, target)
    running, _ = problem.cost.hessian(states, controls, target)
    bounds = problem.bounds(states)
    least = least_terms(running, ordinary_cost(problem), controls, *bounds)
    push, terms = push_and_terms(gradient, by_control, least, controls, *bounds)
    terms = terms.amax(0)
    return residual_of(push.amax(0), terms), terms, held(gradient, controls, *bounds)


def held(gradient: Tensor, controls: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Which controls are at a bound that the gradient pushes them against."""
    size, distance = controls.abs(), high - low
    below, above = (AT_BOUND * torch.minimum(torch.maximum(size, bound.abs()), distance) for bound in (low, high))
    return ((controls <= low + below) & (gradient > 0)) | ((controls >= high - above) & (gradient < 0))


def push_and_terms(
    gradient: Tensor, by_control: Tensor, least: Tensor, controls: Tensor, low: Tensor, high: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients that may still move their controls, and the sizes of the terms that they are the sum of.

    Gradient, its first term `by_control`, the `least` that the terms are taken for, and the controls have one shape,
    ``[..., m]``, and so has what is returned. :func:`residual_of` wants the largest of each over time. What is not a
    number pushes without end.
    """
    push = torch.where(held(gradient, controls, low, high), 0.0, gradient.abs())
    terms = torch.maximum(by_control.abs() + (gradient - by_control).abs(), least)
    return torch.where(push < torch.inf, push, torch.inf), torch.where(terms < torch.inf, terms, 0.0)


def residual_of(push: Tensor, terms: Tensor) -> Tensor:
    """The residual ``[...]``, from the largest push and the largest terms ``[..., m]`` of all times."""
    return torch.where(push > 0, push / terms, 0.0).amax(-1)


def least_terms(running: Tensor, ordinary: float | Tensor, controls: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """What the terms are taken for where they vanish, like controls ``[..., m]``.

    From the second derivatives ``[..., n+m, n+m]`` of what a step costs by state and control, and what is an ordinary
    cost.
    """
    own = running.diagonal(dim1=-2, dim2=-1)[..., -controls.shape[-1] :].expand_as(controls).clamp_min(0.0)
    return NOTHING * torch.minimum(own * (high - low), (own * ordinary).sqrt())


def ordinary_cost(problem: Problem) -> float:
    """What it costs to stay as far from the target as instances begin; of no bound that is so far that it is none."""
    if "ordinary cost" not in problem.cache:
        try:
            size = torch.tensor(problem.state_scale, dtype=torch.float64)
        except ValueError:  # it does not say where instances begin
            return UNKNOWN
        states = size.expand(problem.horizon + 1, -1) * torch.tensor((1.0, 0.0)).reshape(2, 1, 1)
        controls = states.new_zeros(2, problem.horizon, problem.control_dim)
        away, there = problem.cost(states, controls, torch.zeros_like(states[:, 0])).tolist()
        found = abs(away - there)
        problem.cache["ordinary cost"] = found if 0 < found < UNKNOWN else UNKNOWN
    return problem.cache["ordinary cost"]
