"""A problem's step: tried once, its physical parameters completed, and states that overflow refused."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ..common.checks import Overflow, all_finite, check_kind, check_real, check_same_dtype
from ..common.modes import apart, shape_of
from ..problems import Parameters, Problem


def check_step(problem: Problem) -> None:
    """Raise ``ValueError`` unless ``step`` maps states to states of the same shape and type and leaves them alone.

    It is tried once a problem, on random states from twice the range that instances are drawn from.
    """
    if torch.compiler.is_dynamo_compiling() or "step is checked" in problem.cache:
        return
    apart(lambda: _try_step(problem))
    problem.cache["step is checked"] = True


def _try_step(problem: Problem) -> None:
    x, u = random_inputs(problem, 3)
    before = x.clone(), u.clone()
    y = problem.step(x, u, problem.parameters)
    if not isinstance(y, Tensor) or y.shape != x.shape or y.dtype != x.dtype:
        got = f"{list(y.shape)} of {y.dtype}" if isinstance(y, Tensor) else type(y).__name__
        raise ValueError(
            f"{problem.name}.step must return the next states, {list(x.shape)} of {x.dtype} for such states, got {got}."
        )
    if not (torch.equal(x, before[0]) and torch.equal(u, before[1])):
        raise ValueError(f"{problem.name}.step changes its arguments in place; let it return new states instead.")


def random_inputs(problem: Problem, *shape: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """States ``[b, n]`` and controls ``[*shape, m]`` to try a step on, `b` being the last of `shape`."""
    generator = torch.Generator().manual_seed(0)
    x, _ = problem.sample(shape[-1], generator=generator, scale=2.0, dtype=dtype)
    low, high = problem.bounds(x)
    unit = torch.rand(*shape, problem.control_dim, generator=generator, dtype=dtype, device=generator.device)
    return x, low + (high - low) * unit


def complete_parameters(problem: Problem, parameters: Parameters | None, like: Tensor) -> dict[str, float | Tensor]:
    """The problem's parameters with the given ones put over them, checked."""
    if parameters is None:
        return dict(problem.parameters)
    given = parameters
    check_kind(given, Mapping, "parameters", "give them by name, for example {'mu': 1.0}")
    if unknown := sorted(str(name) for name in given if name not in problem.parameters):
        known = ", ".join(problem.parameters) or "none"
        raise ValueError(f"{problem.name} has no parameter {', '.join(unknown)!r}; it has {known}.")
    complete = {**problem.parameters, **given}
    for name, value in given.items():
        if not isinstance(value, Tensor):
            complete[name] = check_real(value, f"parameter {name!r}")
            continue
        if value.ndim > 0 and shape_of(value) != shape_of(like)[-2:-1]:
            size, got = like.shape[-2], list(value.shape)
            raise ValueError(f"parameter {name!r} must be a scalar or have shape [{size}], got {got}.")
        check_same_dtype(value, f"parameter {name!r} is", like, "the states are")
        if not all_finite(value):
            raise ValueError(f"parameter {name!r} must be finite.")
    return complete


def change_each(parameters: Parameters, change: Callable[[Tensor], Tensor]) -> dict[str, float | Tensor]:
    """Parameters, those that have one value an instance changed."""
    return {name: change(p) if isinstance(p, Tensor) and p.ndim else p for name, p in parameters.items()}


def check_overflow(states: Tensor) -> None:
    """Raise ``ValueError`` if any state ``[T+1, B, n]`` is not finite."""
    if all_finite(states):
        return
    bad = ~torch.isfinite(states).all(-1)  # (T+1, B)
    step = int(bad.any(1).nonzero()[0])
    raise Overflow(
        f"the rollout overflows: at step {step} of {len(states) - 1} the first state is not finite, in the end in "
        f"{int(bad.any(0).sum())} of {len(bad[0])} instances; use smaller controls, a smaller dt or closer states."
    )
