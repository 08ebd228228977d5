r"""Differentiable rollout of a problem's dynamics, with the discrete adjoint as its backward pass.

Forward, the states are computed step by step without a graph. Backward, the Jacobians ``A_t = ∂f/∂x`` of *all* steps
come out of one batched evaluation, the costate runs backwards through them, and one vector-Jacobian product with
the costate gives the gradient with respect to every control and every physical parameter:

.. math:: \lambda_t = \partial L/\partial x_t + A_t^\top \lambda_{t+1}, \qquad
          \partial L/\partial u_t = B_t^\top \lambda_{t+1}.

This is Pontryagin's costate recursion in discrete time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from .problems import Parameters, Problem, check_tensor

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
    """
    check_tensor(initial, (None, problem.state_dim), f"initial states of {problem.name}")
    if controls.ndim != 3 or controls.shape[0] != initial.shape[0] or controls.shape[2] != problem.control_dim:
        raise ValueError(
            f"controls must have shape [{initial.shape[0]}, T, {problem.control_dim}] to go with the "
            f"initial states, got {list(controls.shape)}."
        )
    if controls.dtype != initial.dtype:
        raise ValueError(f"initial states are {initial.dtype} but controls are {controls.dtype}; convert one of them.")
    parameters = _complete(problem, parameters, initial)
    names = tuple(parameters)
    states = _Rollout.apply(problem, names, initial, controls, *parameters.values())
    _check_overflow(states)
    return states.transpose(0, 1)


def step_jacobians(
    problem: Problem, states: Tensor, controls: Tensor, parameters: Parameters | None = None
) -> tuple[Tensor, Tensor]:
    """Jacobians of one step, ``A = ∂f/∂x`` ``[..., n, n]`` and ``B = ∂f/∂u`` ``[..., n, m]``.

    Parameters
    ----------
    problem : Problem
    states : Tensor ``[..., n]``
    controls : Tensor ``[..., m]``
    parameters : mapping, optional
    """
    parameters = _complete(problem, parameters, states)
    with torch.enable_grad():
        x, u = states.detach().requires_grad_(), controls.detach().requires_grad_()
        y = problem.step(x, u, {name: _detached(value) for name, value in parameters.items()})
        rows = [
            torch.autograd.grad(y[..., i].sum(), (x, u), retain_graph=True, materialize_grads=True)
            for i in range(problem.state_dim)
        ]
    return torch.stack([row[0] for row in rows], -2), torch.stack([row[1] for row in rows], -2)


class _Rollout(torch.autograd.Function):
    """States ``[T+1, B, n]``, time first, so that a parameter of shape ``[B]`` broadcasts over all steps at once."""

    @staticmethod
    def forward(
        ctx: Any, problem: Problem, names: tuple[str, ...], initial: Tensor, controls: Tensor, *values: float | Tensor
    ) -> Tensor:
        parameters = dict(zip(names, values, strict=True))
        states = [initial]
        for u in controls.unbind(1):
            states.append(problem.step(states[-1], u, parameters))
        trajectory = torch.stack(states)
        ctx.problem, ctx.names = problem, names
        ctx.constants = [None if isinstance(value, Tensor) else value for value in values]
        ctx.save_for_backward(trajectory, controls, *(v for v in values if isinstance(v, Tensor)))
        return trajectory

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        trajectory, controls, *tensors = ctx.saved_tensors
        remaining = iter(tensors)
        with torch.enable_grad():
            x = trajectory[:-1].detach().requires_grad_()
            u = controls.detach().transpose(0, 1).requires_grad_()
            values = [next(remaining).detach().requires_grad_() if c is None else c for c in ctx.constants]
            y = ctx.problem.step(x, u, dict(zip(ctx.names, values, strict=True)))
            A = torch.stack(
                [
                    torch.autograd.grad(y[..., i].sum(), x, retain_graph=True, materialize_grads=True)[0]
                    for i in range(y.shape[-1])
                ],
                -2,
            )  # (T, B, n, n)
            costate = _costates(A, grad)  # (T+1, B, n)
            inputs = [u, *(v for v in values if isinstance(v, Tensor))]
            grads = iter(torch.autograd.grad(y, inputs, costate[1:], materialize_grads=True))
        grad_controls = next(grads).transpose(0, 1)
        return None, None, costate[0], grad_controls, *(next(grads) if c is None else None for c in ctx.constants)


def _costates(A: Tensor, grad: Tensor) -> Tensor:
    """Run ``λ_t = grad_t + A_tᵀ λ_{t+1}`` backwards from ``λ_T = grad_T``; all ``[T+1, B, n]``."""
    costate = grad[-1].unsqueeze(-2)
    costates = [costate]
    for t in range(len(A) - 1, -1, -1):
        costate = torch.baddbmm(grad[t].unsqueeze(-2), costate, A[t])
        costates.append(costate)
    return torch.stack(costates[::-1]).squeeze(-2)


def _complete(problem: Problem, parameters: Parameters | None, like: Tensor) -> dict[str, float | Tensor]:
    """The problem's parameters with the given ones put over them, checked."""
    given = dict(parameters or {})
    unknown = set(given) - set(problem.parameters)
    if unknown:
        known = ", ".join(problem.parameters) or "none"
        raise ValueError(f"{problem.name} has no parameter {', '.join(sorted(unknown))!r}; it has {known}.")
    for name, value in given.items():
        if isinstance(value, Tensor) and value.ndim > 0 and value.shape != like.shape[-2:-1]:
            raise ValueError(
                f"parameter {name!r} must be a scalar or have shape [{like.shape[-2]}], got {list(value.shape)}."
            )
    return {**problem.parameters, **given}


def _detached(value: float | Tensor) -> float | Tensor:
    return value.detach() if isinstance(value, Tensor) else value


def _check_overflow(states: Tensor) -> None:
    """Raise if any state is not finite; ``states`` is ``[T+1, B, n]`` and stays non-finite once it is."""
    if torch.isfinite(states[-1]).all():
        return
    bad = ~torch.isfinite(states).all(-1)  # (T+1, B)
    step = int(bad.any(1).nonzero()[0])
    raise ValueError(
        f"the rollout overflows: at step {step} of {len(states) - 1} the first state is not finite, "
        f"at the end {int(bad[-1].sum())} of {bad.shape[1]} instances; use smaller controls, "
        "a smaller dt or closer initial states."
    )
