"""Jacobians of a step: of many steps at once, and as the matrices of a linear problem."""

from functools import partial

import torch
from torch import Tensor

from ..common.checks import all_finite, check_same_dtype, check_tensor
from ..common.modes import full_precision, normal, pullback, wants_graph
from ..problems import Parameters, Problem, check_problem
from .accelerate import run
from .step import change_each, check_step, complete_parameters

#: Jacobians are taken for this many states at once, so that memory does not grow with the operations of a step.
CHUNK = 16_384

#: Entries of the matrix from controls to states up to which a linear problem is rolled out as one product.
LARGEST_RESPONSE = 2**18


@full_precision
def step_jacobians(
    problem: Problem, states: Tensor, controls: Tensor, parameters: Parameters | None = None
) -> tuple[Tensor, Tensor]:
    """Jacobians of one step, ``A = ∂f/∂x`` ``[..., n, n]`` and ``B = ∂f/∂u`` ``[..., n, m]``.

    Wrong shapes or types, and numbers that are not finite, are a ``ValueError``. They can be
    differentiated.

    Parameters
    ----------
    states, controls : Tensor ``[..., n]``, ``[..., m]``
    parameters : mapping, optional
        Scalars, or tensors with one value for each entry of the last leading dimension; the problem's own by default.
    """
    check_problem(problem)
    shape = states.shape[:-1] if isinstance(states, Tensor) and states.ndim > 1 else (None,)
    check_tensor(states, (*shape, problem.state_dim), f"states of {problem.name}")
    check_tensor(controls, (*shape, problem.control_dim), "controls")
    check_same_dtype(states, "states are", controls, "controls are")
    check_step(problem)
    given = complete_parameters(problem, parameters, states)
    given = change_each(given, lambda value: value.expand(shape).flatten())
    x, u = states.flatten(0, -2), controls.flatten(0, -2)
    return tuple(
        part.unflatten(0, shape) for part in run("jacobians", plain_jacobians, problem, x, u, parameters=given)
    )


def plain_jacobians(problem: Problem, x: Tensor, u: Tensor, parameters: Parameters) -> tuple[Tensor, Tensor]:
    """``A`` ``[N, n, n]`` and ``B`` ``[N, n, m]`` of N instances, some at a time: one reverse pass a state."""
    parts, graph = [], wants_graph(x, u, *parameters.values(), *problem.learned)
    units = torch.eye(problem.state_dim, dtype=x.dtype, device=x.device)
    for start in range(0, len(x), CHUNK):
        some = slice(start, start + CHUNK)
        given = change_each(parameters, lambda value, some=some: normal(value[some]))

        def step(x: Tensor, u: Tensor, given: Parameters = given) -> Tensor:
            return problem.step(x, u, given) + 0 * x  # a step may be constant

        y, back = pullback(step, (x[some], u[some]), graph=graph)
        rows = [back(unit.expand_as(y)) for unit in units.unbind()]
        parts.append([torch.stack(row, -2) for row in zip(*rows, strict=True)])
    A, B = zip(*parts, strict=True)
    return torch.cat(A), torch.cat(B)


def linear_response(problem: Problem, horizon: int, like: Tensor) -> tuple[Tensor, Tensor] | None:
    """States of a linear problem as ``x_0 Φ + u Γ``, trajectories flattened, in the dtype and on the device of `like`.

    ``Φ`` is ``[n, (T+1)·n]`` and ``Γ`` ``[T·m, (T+1)·n]``; None where the matrices would be large, or overflow.
    """
    n, m = problem.state_dim, problem.control_dim
    if (horizon * m) ** 2 * n > LARGEST_RESPONSE:
        return None
    key = ("response", horizon, like.dtype, like.device, *problem.parameters.items())
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
            problem.cache[key] = both if all(map(all_finite, both)) else None
    return problem.cache[key]


def linear_matrices(problem: Problem) -> tuple[Tensor, Tensor]:
    """``A`` ``[n, n]`` and ``B`` ``[n, m]`` of a linear problem, float64; a ``ValueError`` if its step is another."""
    draw = partial(torch.randn, generator=torch.Generator().manual_seed(0), dtype=torch.float64, device="cpu")
    x, u = draw(2, problem.state_dim), draw(2, problem.control_dim)
    A, B = (matrix[0] for matrix in step_jacobians(problem, x[:1], u[:1]))
    x, u = torch.cat((x, x, 0 * x)), torch.cat((u, 0 * u, u))  # each by itself, too: one may be much the larger
    off = (problem.step(x, u, problem.parameters) - x @ A.mT - u @ B.mT).abs()
    if not (off <= 1e-9 * (x.abs() @ A.abs().mT + u.abs() @ B.abs().mT)).all():
        raise ValueError(f"{problem.name!r} says linear=True, but its step is not A x + B u; say linear=False.")
    return A, B
