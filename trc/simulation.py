r"""Differentiable rollout of a problem's dynamics, with the discrete adjoint as its backward pass.

Forward, the states are computed step by step without a graph. Backward, the Jacobians ``A_t = ∂f/∂x`` and
``B_t = ∂f/∂u`` of *all* steps come out of one batched evaluation, and the costate runs backwards through them:

.. math:: \lambda_t = \partial L/\partial x_t + A_t^\top \lambda_{t+1}, \qquad
          \partial L/\partial u_t = B_t^\top \lambda_{t+1}.

This is Pontryagin's costate recursion in discrete time. The rollout of a linear problem is one matrix product.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .checks import all_finite, check_kind, check_tensor
from .problems import Parameters, Problem
from .steps import complete_parameters, fast_step, linear_response, step_jacobians

Dynamics = Callable[[Tensor, Tensor], Tensor]


def rollout(problem: Problem, initial: Tensor, controls: Tensor, parameters: Parameters | None = None) -> Tensor:
    """Simulate controls from initial states; differentiable in all three inputs.

    Parameters
    ----------
    problem : Problem
    initial : Tensor ``[B, n]``
    controls : Tensor ``[B, T, m]``
        Any number of steps ``T ≥ 1``; not clipped here.
    parameters : mapping of str to float or Tensor, optional
        Physical parameters, scalars or one value an instance ``[B]``; the problem's own by default.

    Returns
    -------
    Tensor ``[B, T+1, n]``
        The states, the initial one first.

    Raises
    ------
    ValueError
        On wrong shapes, unknown parameters, or if the states overflow (which step, how many instances).
    RuntimeError
        On a second derivative, which the adjoint does not have (the rollout of a linear problem has all of them).
    """
    _check_inputs(problem, initial, controls)
    given = complete_parameters(problem, parameters, initial)
    response = linear_response(problem, controls.shape[1], initial) if _is_linear(problem, given) else None
    if response is not None:
        Phi, Gamma = response
        states = torch.addmm(initial @ Phi, controls.flatten(1), Gamma).unflatten(1, (-1, problem.state_dim))
    else:
        states = _Rollout.apply(problem, tuple(given), initial, controls, *given.values()).transpose(0, 1)
    check_overflow(states.transpose(0, 1))
    return states


@dataclass(frozen=True)
class Costate:
    """What one simulation and one linearisation tell about controls.

    Parameters
    ----------
    states : Tensor ``[B, T+1, n]``
    cost : Tensor ``[B]``
    costate : Tensor ``[B, T+1, n]``
        ``λ_t = ∂J/∂x_t``, everything after step ``t`` taken into account.
    gradient : Tensor ``[B, T, m]``
        ``∂J/∂u``.
    A, B : Tensor ``[B, T, n, n]``, ``[B, T, n, m]``
        Jacobians of the steps.
    """

    states: Tensor
    cost: Tensor
    costate: Tensor
    gradient: Tensor
    A: Tensor
    B: Tensor


@torch.no_grad()
def costate(
    problem: Problem, initial: Tensor, controls: Tensor, target: Tensor, parameters: Parameters | None = None
) -> Costate:
    """Simulate controls and hand out the costate and the gradient of the cost, without a second pass.

    Parameters
    ----------
    problem : Problem
    initial, target : Tensor ``[B, n]``
    controls : Tensor ``[B, T, m]``
    parameters : mapping of str to float or Tensor, optional
        As for :func:`rollout`.
    """
    check_kind(problem, Problem, "problem", "make it with trc.make_problem(name)")
    problem.check_states(initial, target)
    states = rollout(problem, initial, controls, parameters).transpose(0, 1)
    u = controls.transpose(0, 1)
    A, B = step_jacobians(problem, states[:-1], u, parameters)
    adjoint, gradient = cost_gradient(problem, states, u, target, A, B)
    cost = problem.cost(states.transpose(0, 1), controls, target)
    check_tensor(cost, (None,), f"costs of {problem.name}")
    return Costate(states.transpose(0, 1), cost, *(t.transpose(0, 1) for t in (adjoint, gradient, A, B)))


def cost_gradient(
    problem: Problem, states: Tensor, controls: Tensor, target: Tensor, A: Tensor, B: Tensor
) -> tuple[Tensor, Tensor]:
    """Costate ``[T+1, B, n]`` and gradient ``[T, B, m]`` of the problem's cost; all inputs time first."""
    Q, R, Q_final = problem.cost.matrices(states)
    deviation = states - target
    local = torch.cat((2 * deviation[:-1] @ Q, 2 * deviation[-1:] @ Q_final))
    adjoint = costates(A, local)
    return adjoint, 2 * controls @ R + control_gradient(B, adjoint)


def costates(A: Tensor, grad: Tensor) -> Tensor:
    """Run ``λ_t = grad_t + A_tᵀ λ_{t+1}`` backwards from ``λ_T = grad_T``; all ``[T+1, B, n]``."""
    current = grad[-1].unsqueeze(-2)
    found = [current]
    for local, jacobian in zip(grad[:-1].unsqueeze(-2).flip(0).unbind(), A.flip(0).unbind(), strict=True):
        current = torch.baddbmm(local, current, jacobian)
        found.append(current)
    return torch.stack(found[::-1]).squeeze(-2)


def control_gradient(B: Tensor, adjoint: Tensor) -> Tensor:
    """``B_tᵀ λ_{t+1}`` ``[T, B, m]``."""
    return (B * adjoint[1:].unsqueeze(-1)).sum(-2)


def _is_linear(problem: Problem, parameters: Parameters) -> bool:
    """Whether the problem is linear, with its own parameters."""
    own = all(not isinstance(value, Tensor) and value == problem.parameters[k] for k, value in parameters.items())
    return problem.linear and own


class _Rollout(torch.autograd.Function):
    """States ``[T+1, B, n]``, time first, so that a parameter of shape ``[B]`` broadcasts over all steps at once."""

    @staticmethod
    def forward(
        ctx: Any, problem: Problem, names: tuple[str, ...], initial: Tensor, controls: Tensor, *values: float | Tensor
    ) -> Tensor:
        sequence = controls.transpose(0, 1).contiguous()
        step = fast_step(problem, initial, sequence[0], dict(zip(names, values, strict=True)))
        states = [initial]
        for u in sequence:
            states.append(step(states[-1], u))
        trajectory = torch.stack(states)
        ctx.problem, ctx.names = problem, names
        ctx.constants = [None if isinstance(value, Tensor) else value for value in values]
        ctx.save_for_backward(trajectory, initial, controls, *(v for v in values if isinstance(v, Tensor)))
        return trajectory

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        trajectory, initial, controls, *tensors = ctx.saved_tensors
        remaining = iter(tensors)
        values = [next(remaining) if constant is None else constant for constant in ctx.constants]
        parameters = dict(zip(ctx.names, values, strict=True))
        needed = [name for name, need in zip(ctx.names, ctx.needs_input_grad[4:], strict=True) if need]
        with torch.no_grad():
            sequence = controls.transpose(0, 1).contiguous()
            A, B = step_jacobians(ctx.problem, trajectory[:-1], sequence, parameters)
            adjoint = costates(A, grad)
            by_control = control_gradient(B, adjoint).transpose(0, 1)
            found = _parameter_gradients(ctx.problem, trajectory[:-1], sequence, parameters, needed, adjoint[1:])
        gradients = (adjoint[0], by_control, *found.values())
        if torch.is_grad_enabled():  # someone wants to differentiate the gradients
            gradients = _OnceOnly.apply(len(gradients), *gradients, grad, initial, controls, *tensors)
        by_parameter = dict(zip(needed, gradients[2:], strict=True))
        return None, None, *gradients[:2], *(by_parameter.get(name) for name in ctx.names)


class _OnceOnly(torch.autograd.Function):
    """Hands gradients on, tied to all that they depend on, so that differentiating them is an error and not a zero."""

    @staticmethod
    def forward(ctx: Any, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(tensor.clone() for tensor in tensors[:count])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        raise RuntimeError(
            "trc.rollout can be differentiated once only, its backward pass is the discrete adjoint; "
            "for second derivatives call problem.step in a loop."
        )


def _parameter_gradients(
    problem: Problem, states: Tensor, controls: Tensor, parameters: Parameters, needed: list[str], adjoint: Tensor
) -> dict[str, Tensor]:
    """``Σ_t (∂f/∂p)ᵀ λ_{t+1}`` for each needed parameter, in one reverse pass over all steps."""
    if not needed:
        return {}
    shape = states.shape[:-1]
    with torch.enable_grad():
        leaves = {name: parameters[name].detach().requires_grad_() for name in needed}
        given = {
            name: value.expand(shape).flatten() if isinstance(value, Tensor) and value.ndim else value
            for name, value in {**parameters, **leaves}.items()
        }
        y = problem.step(states.flatten(0, 1), controls.flatten(0, 1), given)
        gradients = torch.autograd.grad(y, list(leaves.values()), adjoint.flatten(0, 1), materialize_grads=True)
    return dict(zip(needed, gradients, strict=True))


def _check_inputs(problem: Problem, initial: Tensor, controls: Tensor) -> None:
    check_kind(problem, Problem, "problem", "make it with trc.make_problem(name)")
    check_tensor(initial, (None, problem.state_dim), f"initial states of {problem.name}")
    fits = isinstance(controls, Tensor) and controls.ndim == 3 and controls.shape[1] > 0
    if not fits or (controls.shape[0], controls.shape[2]) != (len(initial), problem.control_dim):
        got = list(controls.shape) if isinstance(controls, Tensor) else type(controls).__name__
        raise ValueError(
            f"controls must have shape [{len(initial)}, T, {problem.control_dim}] to go with the initial states, "
            f"got {got}."
        )
    check_tensor(controls, tuple(controls.shape), "controls")
    if controls.dtype != initial.dtype:
        raise ValueError(f"initial states are {initial.dtype} but controls are {controls.dtype}; convert one of them.")


def check_overflow(states: Tensor) -> None:
    """Raise if any state ``[T+1, B, n]`` is not finite."""
    if all_finite(states):
        return
    bad = ~torch.isfinite(states).all(-1)  # (T+1, B)
    step = int(bad.any(1).nonzero()[0])
    raise ValueError(
        f"the rollout overflows: at step {step} of {len(states) - 1} the first state is not finite, "
        f"in the end in {int(bad.any(0).sum())} of {bad.shape[1]} instances; use smaller controls, "
        "a smaller dt or closer initial states."
    )
