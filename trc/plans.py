"""Whether and how a problem's step is replayed: found once and kept with the problem (``Problem.cache``)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .expressions import Expression, derivative, write_out
from .problems import Parameters, Problem
from .replay import Plan


def plan_of(problem: Problem, what: str) -> Plan | None:
    """How to replay the ``"step"`` or its ``"jacobians"`` (column by column); None if it can't be replayed.

    Raises
    ------
    ValueError
        If ``step`` returns something else than the next states, or changes its arguments.
    """
    if what not in problem.cache:
        written = _written_out(problem)
        plans: dict[str, Plan | None] = {"step": None, "jacobians": None}
        if written is not None:
            inputs, outputs, slopes = written
            plans = {"step": Plan(inputs, outputs), "jacobians": Plan(inputs, slopes)}
        problem.cache.update(plans)
    return problem.cache[what]


def parameter_arrays(problem: Problem, parameters: Parameters, dtype: np.dtype) -> list[np.ndarray]:
    """The physical parameters in the problem's order, for a replay."""
    values = (parameters[name] for name in problem.parameters)
    return [v.numpy(force=True) if isinstance(v, Tensor) else np.array(v, dtype) for v in values]


def jacobians_by_autograd(problem: Problem, x: Tensor, u: Tensor, parameters: Parameters) -> tuple[Tensor, Tensor]:
    """``A`` ``[N, n, n]`` and ``B`` ``[N, n, m]``: one reverse pass a state, over all instances at once."""
    with torch.inference_mode(False), torch.enable_grad():
        inputs = (x.detach().clone().requires_grad_(), u.detach().clone().requires_grad_())
        y = problem.step(*inputs, parameters)
        if not y.requires_grad:  # constant
            y = y + 0 * inputs[0]
        rows = [
            torch.autograd.grad(y[:, i].sum(), inputs, retain_graph=True, materialize_grads=True)
            for i in range(problem.state_dim)
        ]
    return tuple(torch.stack(row, -2) for row in zip(*rows, strict=True))


def _written_out(
    problem: Problem,
) -> tuple[list[Expression], list[Expression | float], list[Expression | float]] | None:
    """Inputs, next states and their derivatives, if these say what the step and automatic differentiation say.

    Both are compared on random states from twice the box, with one value of each parameter an instance.
    """
    n, m = problem.state_dim, problem.control_dim
    count = 3 * (n + m) + 1  # no other dimension has this size
    generator = torch.Generator().manual_seed(0)
    x, _ = problem.sample(count, generator=generator, scale=2.0, dtype=torch.float64)
    low, high = problem.bounds(x)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64, device=generator.device)

    u = low + (high - low) * uniform(count, m)
    _check_step(problem, x, u)
    parameters = {name: value * (1 + 0.1 * uniform(count)) for name, value in problem.parameters.items()}
    try:
        inputs, outputs = write_out(problem.step, n, m, problem.parameters)
        slopes = [slope for variable in inputs[: n + m] for slope in derivative(outputs, variable)]
        A, B = jacobians_by_autograd(problem, x, u, parameters)
        expected = [problem.step(x, u, parameters), *torch.cat((A, B), -1).unbind(-1)]
    except Exception:  # whatever a step does with symbols or with parameters as tensors; with numbers it is right
        return None
    arrays = [*x.T.numpy(), *u.T.numpy(), *parameter_arrays(problem, parameters, x.numpy().dtype)]
    found, run = Plan(inputs, [*outputs, *slopes]).bind(arrays, (count,), x.numpy().dtype)
    run()
    wanted = [column for matrix in expected for column in matrix.detach().T.numpy()]
    size = max(1e-300, max(np.abs(column).max() for column in wanted[:n]))
    same = all(
        np.allclose(*pair, rtol=1e-10, atol=1e-14 * size, equal_nan=True) for pair in zip(found, wanted, strict=True)
    )
    return (inputs, outputs, slopes) if same else None


def _check_step(problem: Problem, x: Tensor, u: Tensor) -> None:
    """Raise ``ValueError`` unless ``step`` maps states to states of the same shape and type and leaves them alone."""
    before = x.clone(), u.clone()
    y = problem.step(x, u, problem.parameters)
    if not isinstance(y, Tensor) or y.shape != x.shape or y.dtype != x.dtype:
        got = f"{list(y.shape)} of {y.dtype}" if isinstance(y, Tensor) else type(y).__name__
        raise ValueError(
            f"{problem.name}.step must return the next states, {list(x.shape)} of {x.dtype} for such states, got {got}."
        )
    if not (torch.equal(x, before[0]) and torch.equal(u, before[1])):
        raise ValueError(f"{problem.name}.step changes its arguments in place; let it return new states instead.")
