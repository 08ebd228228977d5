r"""Differentiable rollout of a problem's dynamics, with the discrete adjoint as its backward pass.

Forward, the states are computed step by step without a graph. Backward, the Jacobians ``A_t = ∂f/∂x`` and
``B_t = ∂f/∂u`` of *all* steps come out of one batched evaluation, and the costate runs backwards through them:

.. math:: \lambda_t = \partial L/\partial x_t + A_t^\top \lambda_{t+1}, \qquad
          \partial L/\partial u_t = B_t^\top \lambda_{t+1}.

This is Pontryagin's costate recursion in discrete time. The rollout of a linear problem is one matrix product.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..common.checks import check_same_dtype, check_tensor, finite
from ..common.modes import full_precision, is_mapped, is_readable, normal, pullback, shape_of
from ..problems import Parameters, Problem, check_instances, check_problem, check_trajectories
from .accelerate import run
from .jacobians import linear_response, step_jacobians
from .step import change_each, check_overflow, check_step, complete_parameters

Dynamics = Callable[[Tensor, Tensor], Tensor]


@full_precision
def rollout(problem: Problem, initial: Tensor, controls: Tensor, parameters: Parameters | None = None) -> Tensor:
    """Simulate controls: states ``[B, T+1, n]``, the initial one first; differentiable in all inputs, and again.

    Wrong shapes, unknown parameters and states that overflow are a ``ValueError``. Where a mode of torch has to see
    each operation the steps are taken in torch, one after the other; then nobody looks for an overflow.

    Parameters
    ----------
    initial, controls : Tensor ``[B, n]``, ``[B, T, m]``
        Any number of steps ``T ≥ 1``; controls are not clipped here.
    parameters : mapping of str to float or Tensor, optional
        Physical parameters, scalars or one value an instance ``[B]``; the problem's own by default.
    """
    check_problem(problem)
    check_tensor(initial, (None, problem.state_dim), f"initial states of {problem.name}")
    return _all_finite(_simulate(problem, initial, controls, _checked(problem, initial, controls, parameters)))


@full_precision
def rollout_cost(problem: Problem, initial: Tensor, controls: Tensor, target: Tensor) -> Tensor:
    """What controls cost ``[B]``, infinity where their rollout overflows; arguments as for :func:`rollout`."""
    check_instances(problem, initial, target)
    states = _simulate(problem, initial, controls, _checked(problem, initial, controls, None))
    costs = problem.cost(states, controls, target)
    return torch.where(costs.isfinite(), costs, torch.inf)


def _checked(
    problem: Problem, initial: Tensor, controls: Tensor, parameters: Parameters | None
) -> dict[str, float | Tensor]:
    """All parameters, once the controls, the step and the parameters are found to be right."""
    check_tensor(controls, (initial.shape[0], "T", problem.control_dim), "controls")
    check_same_dtype(initial, "initial states are", controls, "controls are")
    size, steps, _ = shape_of(controls)
    check_trajectories(problem, size, horizon=steps, device=initial.device)
    check_step(problem)
    return complete_parameters(problem, parameters, initial)


def _simulate(problem: Problem, initial: Tensor, controls: Tensor, given: Parameters) -> Tensor:
    if not is_readable(initial) or problem.learned:
        (states,) = plain_states(problem, initial, controls.transpose(0, 1), given)
        return states.transpose(0, 1)
    tensors = {name: value for name, value in given.items() if isinstance(value, Tensor)}
    own = problem.linear and not tensors and given == problem.parameters
    response = linear_response(problem, controls.shape[1], initial) if own else None
    if response is None:
        numbers = {name: value for name, value in given.items() if name not in tensors}
        inputs = initial, controls.transpose(0, 1), *tensors.values()
        inputs = map(normal, inputs) if torch.is_grad_enabled() else inputs
        states = _Rollout.apply(problem, numbers, tuple(tensors), *inputs).transpose(0, 1)
    else:
        Phi, Gamma = response
        states = torch.addmm(initial @ Phi, controls.flatten(1), Gamma).unflatten(1, (-1, problem.state_dim))
    return states


def _all_finite(states: Tensor) -> Tensor:
    if is_readable(states) and not finite(states):
        check_overflow(states.transpose(0, 1))
    return states


@dataclass(frozen=True, eq=False)
class Costate:
    """What one simulation and one linearisation tell about controls."""

    states: Tensor  #: [B, T+1, n]
    cost: Tensor  #: [B]
    costate: Tensor  #: [B, T+1, n], ``λ_t = ∂J/∂x_t``, everything after step ``t`` taken into account
    gradient: Tensor  #: [B, T, m], ``∂J/∂u``
    A: Tensor  #: [B, T, n, n], the Jacobians of the steps by the state
    B: Tensor  #: [B, T, n, m], and by the control


@full_precision
def costate(
    problem: Problem, initial: Tensor, controls: Tensor, target: Tensor, parameters: Parameters | None = None
) -> Costate:
    """Simulate controls and hand out the costate and the gradient of the cost, without a second pass.

    All of it can be differentiated. The target is ``[B, n]``; problem, initial, controls and parameters are as for
    :func:`rollout`.
    """
    check_instances(problem, initial, target)
    given = _checked(problem, initial, controls, parameters)
    states = _all_finite(_simulate(problem, initial, controls, given))
    both = states.transpose(0, 1), controls.transpose(0, 1)
    cost, *others = run("costate", plain_costate, problem, *both, target, parameters=given)
    check_tensor(cost, (None,), f"costs of {problem.name}")
    return Costate(states, cost, *(tensor.transpose(0, 1) for tensor in others))


def plain_costate(
    problem: Problem, states: Tensor, controls: Tensor, target: Tensor, parameters: Parameters
) -> tuple[Tensor, ...]:
    """Cost ``[B]``, costate ``[T+1, B, n]``, gradient ``[T, B, m]``, ``A`` and ``B`` of states and controls."""
    A, B = step_jacobians(problem, states[:-1], controls, parameters)
    adjoint, gradient = costate_and_gradient(problem, states, controls, target, A, B)
    return problem.cost(states.transpose(0, 1), controls.transpose(0, 1), target), adjoint, gradient, A, B


def costate_and_gradient(
    problem: Problem, states: Tensor, controls: Tensor, target: Tensor, A: Tensor, B: Tensor
) -> tuple[Tensor, Tensor]:
    """Costate ``[T+1, B, n]`` and gradient ``[T, B, m]`` of the problem's cost; all inputs time first."""
    by_state, by_control = problem.cost.gradient(states, controls, target)
    adjoint = costate_recursion(A, by_state)
    return adjoint, by_control + control_gradient(B, adjoint)


def plain_adjoint(
    problem: Problem, states: Tensor, controls: Tensor, grad: Tensor, parameters: Parameters
) -> tuple[Tensor, Tensor]:
    """Costate ``[T+1, B, n]`` of a gradient by the states, and ``B_tᵀ λ_{t+1}`` ``[T, B, m]``."""
    A, B = step_jacobians(problem, states[:-1], controls, parameters)
    adjoint = costate_recursion(A, grad)
    return adjoint, control_gradient(B, adjoint)


def costate_recursion(A: Tensor, grad: Tensor) -> Tensor:
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


def plain_states(problem: Problem, initial: Tensor, controls: Tensor, parameters: Parameters) -> tuple[Tensor]:
    """States ``[T+1, B, n]`` of controls ``[T, B, m]``, one step after the other."""
    states = [initial]
    for u in controls.unbind():
        states.append(problem.step(states[-1], u, parameters))
    return (torch.stack(states),)


def _follow(
    problem: Problem, numbers: Parameters, names: tuple[str, ...], initial: Tensor, controls: Tensor, *values: Tensor
) -> Tensor:
    """States of controls, and of the parameters that are `numbers` or have `names` and `values`."""
    parameters = numbers | dict(zip(names, values, strict=True))
    (states,) = run("states", plain_states, problem, initial, controls, parameters=parameters)
    return states


class _Rollout(torch.autograd.Function):
    """States ``[T+1, B, n]`` of controls ``[T, B, m]``, time first: a parameter ``[B]`` broadcasts over all steps.

    Of the parameters, `names` and `values` are the tensors, handed in one by one for torch to see; `numbers` the rest.
    """

    @staticmethod
    def forward(ctx: Any, problem: Problem, numbers: Parameters, names: tuple[str, ...], *tensors: Tensor) -> Tensor:
        states = _follow(problem, numbers, names, *tensors)
        ctx.problem, ctx.numbers, ctx.names = problem, numbers, names
        ctx.save_for_backward(states, *tensors)
        return states

    @staticmethod
    @full_precision
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        states, *tensors = ctx.saved_tensors
        if torch.is_grad_enabled() or is_mapped(grad):  # someone wants to differentiate the gradients, or many at once
            _, back = pullback(
                partial(_follow, ctx.problem, ctx.numbers, ctx.names), tensors, graph=torch.is_grad_enabled()
            )
            return None, None, None, *back(grad)
        _, controls, *values = tensors
        parameters = ctx.numbers | dict(zip(ctx.names, values, strict=True))
        needed = [name for name, need in zip(ctx.names, ctx.needs_input_grad[5:], strict=True) if need]
        both = ctx.problem, states, controls
        adjoint, by_controls = run("adjoint", plain_adjoint, *both, grad, parameters=parameters)
        by_parameter = {}
        if needed:
            (each,) = run("by_parameters", plain_by_parameters, *both, adjoint, parameters=parameters)
            each = dict(zip(ctx.problem.parameters, each.unbind(-1), strict=True))
            by_parameter = {name: each[name].sum_to_size(parameters[name].shape) for name in needed}
        return None, None, None, adjoint[0], by_controls, *(by_parameter.get(name) for name in ctx.names)


def plain_by_parameters(
    problem: Problem, states: Tensor, controls: Tensor, costate: Tensor, parameters: Parameters
) -> tuple[Tensor]:
    """``Σ_t (∂f/∂p)ᵀ λ_{t+1}`` ``[B, k]`` for each parameter, in one reverse pass over all steps."""
    with torch.enable_grad():
        each = {
            name: torch.as_tensor(value, dtype=states.dtype, device=states.device).detach().expand(states.shape[1])
            for name, value in parameters.items()
        }
        leaves = {name: value.clone().requires_grad_() for name, value in each.items()}
        given = change_each(leaves, lambda value: value.expand(controls.shape[:-1]).flatten())
        y = problem.step(states[:-1].flatten(0, 1), controls.flatten(0, 1), given) + 0 * sum(given.values()).unsqueeze(
            -1
        )
        found = torch.autograd.grad(y, list(leaves.values()), costate[1:].flatten(0, 1), materialize_grads=True)
    return (torch.stack([each.detach() for each in found], -1),)
