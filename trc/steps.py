"""One step of a problem, fast: for rollouts, for Jacobians of many steps at once, as matrices where it is linear.

What is found here depends on a problem's settings alone and is kept with the problem (``Problem.cache``).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

from .checks import check_real
from .expressions import Expression, derivative, write_out
from .problems import Parameters, Problem
from .replay import Plan

#: Jacobians are taken for this many states at once, so that memory does not grow with the operations of a step.
CHUNK = 16_384

Step = Callable[[Tensor, Tensor], Tensor]


def fast_step(problem: Problem, x: Tensor, u: Tensor, parameters: Parameters) -> Step:
    """``step(x, u)`` for tensors of the given shapes, without PyTorch's cost for each of its operations.

    On the CPU the step is written out once as elementwise operations and replayed (see ``trc.expressions``). A step
    that can't be written out is called as it is.

    Parameters
    ----------
    problem : Problem
    x, u : Tensor ``[..., n]``, ``[..., m]``
    parameters : mapping of str to float or Tensor
    """
    plan = _plan(problem, "step") if _replays(x) else None
    if plan is None:
        return lambda x, u: problem.step(x, u, parameters)
    dtype = x.numpy(force=True).dtype
    inputs = np.empty((problem.state_dim + problem.control_dim, *x.shape[:-1]), dtype)
    next_state, run = plan.bind([*inputs, *_arrays(problem, parameters, dtype)], x.shape[:-1], dtype)
    batch_first = np.moveaxis(inputs, 0, -1)
    state, control = batch_first[..., : problem.state_dim], batch_first[..., problem.state_dim :]

    def step(x: Tensor, u: Tensor) -> Tensor:
        state[...], control[...] = x.detach().numpy(), u.detach().numpy()
        run()
        result = torch.empty_like(x)
        values = result.numpy()
        for i, component in enumerate(next_state):
            values[..., i] = component
        return result

    return step


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
    shape = states.shape[:-1]
    given = {
        name: value.detach().expand(shape).flatten() if isinstance(value, Tensor) and value.ndim else value
        for name, value in complete_parameters(problem, parameters, states).items()
    }
    plan = _plan(problem, "jacobians") if _replays(states) else None
    of_chunk = _jacobians_by_autograd if plan is None else _jacobians_by_replay
    J = of_chunk(problem, states.detach().flatten(0, -2), controls.detach().flatten(0, -2), given)
    return tuple(part.unflatten(0, shape) for part in J)


def _jacobians_by_replay(problem: Problem, x: Tensor, u: Tensor, parameters: Parameters) -> tuple[Tensor, Tensor]:
    n, m, size = problem.state_dim, problem.control_dim, min(CHUNK, len(x))
    A, B = x.new_empty(len(x), n, n), x.new_empty(len(x), n, m)
    columns = [*A.numpy().transpose(2, 1, 0), *B.numpy().transpose(2, 1, 0)]  # each (n, N)
    given = [*x.numpy().T, *u.numpy().T, *_arrays(problem, parameters, A.numpy().dtype)]
    inputs = [np.empty(size, values.dtype) if values.ndim else values for values in given]
    slopes, run = _plan(problem, "jacobians").bind(inputs, (size,), A.numpy().dtype)
    for start in sorted({*range(0, len(x) - size, size), len(x) - size}):  # the last chunk may overlap
        part = slice(start, start + size)
        for array, values in zip(inputs, given, strict=True):
            if values.ndim:
                array[:] = values[part]
        run()
        for i, slope in enumerate(slopes):
            columns[i // n][i % n, part] = slope
    return A, B


def _jacobians_by_autograd(problem: Problem, x: Tensor, u: Tensor, parameters: Parameters) -> tuple[Tensor, Tensor]:
    """One reverse pass a state, over a whole chunk at once: row ``i`` of both Jacobians."""

    def of_chunk(x: Tensor, u: Tensor, *values: float | Tensor) -> list[Tensor]:
        with torch.enable_grad():
            inputs = (x.requires_grad_(), u.requires_grad_())
            y = problem.step(*inputs, dict(zip(parameters, values, strict=True)))
            rows = [
                torch.autograd.grad(y[:, i].sum(), inputs, retain_graph=True, materialize_grads=True)
                for i in range(problem.state_dim)
            ]
        return [torch.stack(row, -2) for row in zip(*rows, strict=True)]

    def chunks(value: float | Tensor) -> Iterable[float | Tensor]:
        return value.split(CHUNK) if isinstance(value, Tensor) and value.ndim else itertools.repeat(value)

    parts = zip(*map(chunks, (x, u, *parameters.values())), strict=False)
    A, B = zip(*(of_chunk(*part) for part in parts), strict=True)
    return torch.cat(A), torch.cat(B)


def _replays(like: Tensor) -> bool:
    return like.is_cpu and like.dtype in (torch.float32, torch.float64)


def _arrays(problem: Problem, parameters: Parameters, dtype: np.dtype) -> list[np.ndarray]:
    """The physical parameters in the problem's order, for a replay."""
    values = (parameters[name] for name in problem.parameters)
    return [v.numpy(force=True) if isinstance(v, Tensor) else np.array(v, dtype) for v in values]


def _plan(problem: Problem, what: str) -> Plan | None:
    """How to replay the ``"step"`` or its ``"jacobians"`` (column by column); None if it can't."""
    if what not in problem.cache:
        written = _written_out(problem)
        if written is None:
            problem.cache[what] = None
        else:
            inputs, outputs = written
            if what == "jacobians":
                variables = inputs[: problem.state_dim + problem.control_dim]
                outputs = [slope for variable in variables for slope in derivative(outputs, variable)]
            problem.cache[what] = Plan(inputs, outputs)
    return problem.cache[what]


def _written_out(problem: Problem) -> tuple[list[Expression], list[Expression | float]] | None:
    """The step as expressions, if it can be written out and they say what the step says."""
    try:
        inputs, outputs = write_out(problem.step, problem.state_dim, problem.control_dim, problem.parameters)
    except Exception:  # whatever a step does with symbols; with tensors it may be right
        return None
    generator = torch.Generator().manual_seed(0)
    x, _ = problem.sample(16, generator=generator, dtype=torch.float64)
    low, high = problem.bounds(x)
    u = low + (high - low) * torch.rand(16, problem.control_dim, generator=generator, dtype=x.dtype)
    arrays = [*x.T.numpy(), *u.T.numpy(), *_arrays(problem, problem.parameters, x.numpy().dtype)]
    found, run = Plan(inputs, outputs).bind(arrays, (16,), x.numpy().dtype)
    run()
    expected = problem.step(x, u, problem.parameters).T.numpy()
    same = all(np.allclose(*pair, rtol=1e-12, equal_nan=True) for pair in zip(found, expected, strict=True))
    return (inputs, outputs) if same else None


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
    n, m = problem.state_dim, problem.control_dim
    key = ("response", horizon, like.dtype, str(like.device))
    if key not in problem.cache:
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
