"""One step of a problem, fast: for rollouts, for Jacobians of many steps at once, as matrices where it is linear."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

from .checks import check_kind, check_real, check_tensor
from .plans import jacobians_by_autograd, parameter_arrays, plan_of
from .problems import Parameters, Problem

#: Jacobians are taken for this many states at once, so that memory does not grow with the operations of a step.
CHUNK = 16_384

#: Entries of the matrix from controls to states up to which a linear problem is rolled out as one product.
LARGEST_RESPONSE = 2**18

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
    plan = plan_of(problem, "step") if _replays(x) else None
    if plan is None:
        return lambda x, u: problem.step(x, u, parameters)
    dtype = x.numpy(force=True).dtype
    inputs = np.empty((problem.state_dim + problem.control_dim, *x.shape[:-1]), dtype)
    next_state, run = plan.bind([*inputs, *parameter_arrays(problem, parameters, dtype)], x.shape[:-1], dtype)
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
        Scalars, or tensors with one value for each entry of the last leading dimension; the problem's own by default.

    Raises
    ------
    ValueError
        On wrong shapes or types, or if the numbers are not finite.
    """
    check_kind(problem, Problem, "problem", "make it with trc.make_problem(name)")
    shape = states.shape[:-1] if isinstance(states, Tensor) and states.ndim > 1 else (None,)
    check_tensor(states, (*shape, problem.state_dim), f"states of {problem.name}")
    check_tensor(controls, (*shape, problem.control_dim), "controls")
    if controls.dtype != states.dtype:
        raise ValueError(f"states are {states.dtype} but controls are {controls.dtype}; convert one of them.")
    given = {
        name: value.detach().expand(shape).flatten() if isinstance(value, Tensor) and value.ndim else value
        for name, value in complete_parameters(problem, parameters, states).items()
    }
    plan = plan_of(problem, "jacobians") if _replays(states) else None
    of_chunk = _jacobians_in_chunks if plan is None else _jacobians_by_replay
    J = of_chunk(problem, states.detach().flatten(0, -2), controls.detach().flatten(0, -2), given)
    return tuple(part.unflatten(0, shape) for part in J)


def _jacobians_by_replay(problem: Problem, x: Tensor, u: Tensor, parameters: Parameters) -> tuple[Tensor, Tensor]:
    n, m, size = problem.state_dim, problem.control_dim, min(CHUNK, len(x))
    A, B = x.new_empty(len(x), n, n), x.new_empty(len(x), n, m)
    columns = [*A.numpy().transpose(2, 1, 0), *B.numpy().transpose(2, 1, 0)]  # each (n, N)
    given = [*x.numpy().T, *u.numpy().T, *parameter_arrays(problem, parameters, A.numpy().dtype)]
    inputs = [np.empty(size, values.dtype) if values.ndim else values for values in given]
    slopes, run = plan_of(problem, "jacobians").bind(inputs, (size,), A.numpy().dtype)
    for start in sorted({*range(0, len(x) - size, size), len(x) - size}):  # the last chunk may overlap
        part = slice(start, start + size)
        for array, values in zip(inputs, given, strict=True):
            if values.ndim:
                array[:] = values[part]
        run()
        for i, slope in enumerate(slopes):
            columns[i // n][i % n, part] = slope
    return A, B


def _jacobians_in_chunks(problem: Problem, x: Tensor, u: Tensor, parameters: Parameters) -> tuple[Tensor, Tensor]:
    def chunks(value: float | Tensor) -> Iterable[float | Tensor]:
        return value.split(CHUNK) if isinstance(value, Tensor) and value.ndim else itertools.repeat(value)

    parts = zip(*map(chunks, (x, u, *parameters.values())), strict=False)
    found = (jacobians_by_autograd(problem, x, u, dict(zip(parameters, rest, strict=True))) for x, u, *rest in parts)
    A, B = zip(*found, strict=True)
    return torch.cat(A), torch.cat(B)


def _replays(like: Tensor) -> bool:
    return like.is_cpu and like.dtype in (torch.float32, torch.float64)


def linear_response(problem: Problem, horizon: int, like: Tensor) -> tuple[Tensor, Tensor] | None:
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
    Phi, Gamma : Tensor ``[n, (T+1)·n]``, ``[T·m, (T+1)·n]``, or None
        None where stepping is better: the matrices would be large, or overflow.
    """
    n, m = problem.state_dim, problem.control_dim
    if (horizon * m) ** 2 * n > LARGEST_RESPONSE:
        return None
    key = ("response", horizon, like.dtype, str(like.device), *problem.parameters.items())
    if key not in problem.cache:
        with torch.inference_mode(False), torch.no_grad():
            A, B = linear_matrices(problem)
            powers = [torch.eye(n, dtype=A.dtype, device=A.device)]
            for _ in range(horizon):
                powers.append(A @ powers[-1])
            Phi = torch.stack(powers)  # (T+1, n, n)
            Gamma = Phi.new_zeros(horizon + 1, n, horizon, m)
            for t in range(1, horizon + 1):  # x_t = Σ_s A^(t-1-s) B u_s
                Gamma[t, :, :t] = (Phi[:t].flip(0) @ B).permute(1, 0, 2)
            both = [matrix.mT.contiguous().to(like) for matrix in (Phi.flatten(0, 1), Gamma.flatten(2).flatten(0, 1))]
            problem.cache[key] = both if all(bool(matrix.isfinite().all()) for matrix in both) else None
    return problem.cache[key]


def linear_matrices(problem: Problem) -> tuple[Tensor, Tensor]:
    """``A`` ``[n, n]`` and ``B`` ``[n, m]`` of a linear problem, float64.

    Raises
    ------
    ValueError
        If the step is not ``A x + B u``, whatever the problem says.
    """
    generator = torch.Generator().manual_seed(0)
    n, m = problem.state_dim, problem.control_dim
    x = torch.randn(2, n, generator=generator, dtype=torch.float64, device=generator.device)
    u = torch.randn(2, m, generator=generator, dtype=torch.float64, device=generator.device)
    A, B = (matrix[0] for matrix in step_jacobians(problem, x[:1], u[:1]))
    if not torch.allclose(problem.step(x, u, problem.parameters), x @ A.mT + u @ B.mT, rtol=1e-9, atol=1e-12):
        raise ValueError(f"{problem.name!r} says linear=True, but its step is not A x + B u; say linear=False.")
    return A, B


def complete_parameters(problem: Problem, parameters: Parameters | None, like: Tensor) -> dict[str, float | Tensor]:
    """The problem's parameters with the given ones put over them, checked."""
    check_kind(parameters or {}, Mapping, "parameters", "give them by name, for example {'mu': 1.0}")
    given = dict(parameters or {})
    unknown = set(given) - set(problem.parameters)
    if unknown:
        known = ", ".join(problem.parameters) or "none"
        raise ValueError(f"{problem.name} has no parameter {', '.join(sorted(map(str, unknown)))!r}; it has {known}.")
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
        elif not torch.isfinite(value).all():
            raise ValueError(f"parameter {name!r} must be finite.")
    return {**problem.parameters, **given}
