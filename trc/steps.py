"""One step of a problem, fast: traced for rollouts, differentiated in batches, as matrices where it is linear.

What is found here depends on a problem's settings alone and is kept with the problem (``Problem.cache``).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from .checks import check_real
from .problems import Parameters, Problem

#: Jacobians are taken for about this many states at once, so that memory does not grow with the operations of a step.
JACOBIAN_CHUNK = 65_536

Step = Callable[[Tensor, Tensor], Tensor]


def fast_step(problem: Problem, x: Tensor, u: Tensor, parameters: Parameters) -> Step:
    """``step(x, u)`` for tensors like the given ones, without the cost of Python for each of its operations.

    The step is recorded once for a dtype, a device and a choice of tensor parameters, and replayed with the same
    kernels on any batch, so the results are the same bits. A step that looks at values can't be recorded and is called
    as it is.

    Parameters
    ----------
    problem : Problem
    x, u : Tensor
    parameters : mapping of str to float or Tensor
    """
    tensors = {name: value for name, value in parameters.items() if isinstance(value, Tensor)}
    numbers = {name: value for name, value in parameters.items() if name not in tensors}
    if any(problem.parameters[name] != value for name, value in numbers.items()):
        # numbers are written into the recording: one for each value that a caller tries would never end
        return lambda x, u: problem.step(x, u, parameters)
    key = ("step", x.ndim, x.dtype, str(x.device), *((name, value.ndim) for name, value in tensors.items()))
    if key not in problem.cache:
        problem.cache[key] = _record(problem, x, u, tensors, numbers)
    recorded = problem.cache[key]
    if recorded is None:
        return lambda x, u: problem.step(x, u, parameters)
    values = tuple(tensors.values())
    return lambda x, u: recorded(x, u, *values)


def _record(
    problem: Problem, x: Tensor, u: Tensor, tensors: dict[str, Tensor], numbers: dict[str, float]
) -> Callable[..., Tensor] | None:
    def step(x: Tensor, u: Tensor, *values: Tensor) -> Tensor:
        return problem.step(x, u, {**numbers, **dict(zip(tensors, values, strict=True))})

    # Recording warns where the step looks at values, and that it is deprecated; the pinned torch has it.
    with warnings.catch_warnings(record=True) as said, torch.no_grad():
        warnings.simplefilter("always")
        try:
            recorded = torch.jit.trace(step, (x, u, *tensors.values()), check_trace=False)
        except RuntimeError:
            return None
    looks_at_values = any(issubclass(warning.category, torch.jit.TracerWarning) for warning in said)
    return None if looks_at_values else recorded


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
        A tensor must broadcast with the leading shape; the problem's own by default.
    """
    parts = _chunks(problem, states, controls, parameters)
    A, B = zip(*(_jacobians(problem, *part, wanted=2) for part in parts), strict=True)
    return torch.cat(A), torch.cat(B)


def state_jacobians(problem: Problem, states: Tensor, controls: Tensor, parameters: Parameters | None = None) -> Tensor:
    """``A`` of :func:`step_jacobians` alone."""
    parts = _chunks(problem, states, controls, parameters)
    return torch.cat([_jacobians(problem, *part, wanted=1)[0] for part in parts])


def _chunks(
    problem: Problem, states: Tensor, controls: Tensor, parameters: Parameters | None
) -> list[tuple[Tensor, Tensor, Parameters]]:
    """States and controls in pieces along the first dimension; a parameter belongs to the second, so it stays."""
    given = {name: detached(value) for name, value in complete_parameters(problem, parameters, states).items()}
    if states.ndim < 3:
        return [(states, controls, given)]
    size = max(1, JACOBIAN_CHUNK // max(1, states[0, ..., 0].numel()))
    return [(x, u, given) for x, u in zip(states.split(size), controls.split(size), strict=True)]


def _jacobians(problem: Problem, x: Tensor, u: Tensor, parameters: Parameters, wanted: int) -> tuple[Tensor, ...]:
    """One reverse pass a state, over the whole batch at once: row ``i`` of the first `wanted` of both Jacobians."""
    with torch.enable_grad():
        inputs = (x.detach().requires_grad_(), u.detach().requires_grad_())
        y = problem.step(*inputs, parameters)
        rows = [
            torch.autograd.grad(y[..., i].sum(), inputs[:wanted], retain_graph=True, materialize_grads=True)
            for i in range(problem.state_dim)
        ]
    return tuple(torch.stack(row, -2) for row in zip(*rows, strict=True))


def linear_response(problem: Problem, horizon: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """States of a linear problem as matrices: ``states = x_0 Φ + u Γ``, trajectories flattened.

    Parameters
    ----------
    problem : Problem
        With ``linear`` true.
    horizon : int
    like : Tensor
        Dtype and device of the result.

    Returns
    -------
    Phi, Gamma : Tensor ``[n, (T+1)·n]``, ``[T·m, (T+1)·n]``
    """
    key = ("response", horizon, like.dtype, str(like.device))
    if key not in problem.cache:
        n, m = problem.state_dim, problem.control_dim
        zero = torch.zeros(1, n, dtype=torch.float64), torch.zeros(1, m, dtype=torch.float64)
        A, B = (matrix[0] for matrix in step_jacobians(problem, *zero))
        powers = [torch.eye(n, dtype=torch.float64)]
        for _ in range(horizon):
            powers.append(A @ powers[-1])
        Phi = torch.stack(powers)  # (T+1, n, n)
        Gamma = Phi.new_zeros(horizon + 1, n, horizon, m)
        for t in range(1, horizon + 1):  # x_t = Σ_s A^(t-1-s) B u_s
            Gamma[t, :, :t] = (Phi[:t].flip(0) @ B).permute(1, 0, 2)
        problem.cache[key] = tuple(
            matrix.to(like)
            for matrix in (Phi.flatten(0, 1).mT.contiguous(), Gamma.flatten(2).flatten(0, 1).mT.contiguous())
        )
    return problem.cache[key]


def complete_parameters(problem: Problem, parameters: Parameters | None, like: Tensor) -> dict[str, float | Tensor]:
    """The problem's parameters with the given ones put over them, checked."""
    given = dict(parameters or {})
    unknown = set(given) - set(problem.parameters)
    if unknown:
        known = ", ".join(problem.parameters) or "none"
        raise ValueError(f"{problem.name} has no parameter {', '.join(sorted(unknown))!r}; it has {known}.")
    for name, value in given.items():
        if not isinstance(value, Tensor):
            check_real(value, f"parameter {name!r}")
        elif value.ndim > 0 and value.shape != like.shape[-2:-1]:
            raise ValueError(
                f"parameter {name!r} must be a scalar or have shape [{like.shape[-2]}], got {list(value.shape)}."
            )
        elif value.dtype != like.dtype:
            raise ValueError(
                f"parameter {name!r} is {value.dtype} but the states are {like.dtype}; convert one of them."
            )
    return {**problem.parameters, **given}


def detached(value: float | Tensor) -> float | Tensor:
    """A tensor cut from its graph; a number as it is."""
    return value.detach() if isinstance(value, Tensor) else value
