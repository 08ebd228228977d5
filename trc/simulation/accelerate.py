"""The one door to whatever makes a simulation fast.

Each operation has a plain twin in torch that a reader follows and that is always right. A *kernel* is a faster way to
the same numbers; ``@kernel("states", trial)`` registers what makes one for a problem. The door takes it where nothing
forbids it: it is switched on, torch is in no mode that a kernel can't see, and on the trial's inputs it gave the plain
twin's numbers. A kernel that does not, or can't be tried, is refused with one warning, and the plain twin is used.
"""

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor

from ..common.modes import apart, full_precision, is_watched, normal, pullback, wants_graph
from ..common.notices import warn
from ..common.registry import Registry
from ..problems import Parameters, Problem

T = TypeVar("T")

#: From a problem, tensors, and the problem's parameters to tensors.
Operation = Callable[..., tuple[Tensor, ...]]

#: What makes the kernel of an operation for a problem and a type, or None where it can't.
KERNELS: Registry[Callable[[Problem, torch.dtype], Operation | None]] = Registry("kernel")

#: What makes tensors to try a kernel on; the instances are the last dimension but one of each.
Inputs = Callable[[Problem, torch.dtype], tuple[Tensor, ...]]


@dataclass(frozen=True)
class Trial:
    """How kernels of an operation are tried before they are trusted."""

    inputs: Inputs
    options: dict[str, Any]
    judged: int | None  # how many of the results are compared; all by default


#: By operation.
TRIALS: dict[str, Trial] = {}

#: Many and few instances that a kernel is tried on, and how far its sums may be from the plain twin's, by type.
TRIED, FEW = 37, 3
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-10}

#: Seconds after which it is said that something is compiled.
PATIENCE = 1.0

_trial = threading.local()  # in the thread that tries a kernel, what is asked for goes the plain way

_on = [os.environ.get("TRC_ACCELERATE", "1") not in ("0", "false", "no")]


def accelerate(on: bool = True) -> contextlib.AbstractContextManager[None]:
    """Switch kernels on, or off as the environment variable ``TRC_ACCELERATE=0`` does: the plain way everywhere.

    The numbers are the same to rounding. ``with trc.accelerate(False): ...`` switches back at its end.
    """
    switch_back = contextlib.ExitStack()
    switch_back.callback(_on.__setitem__, 0, _on[0])
    _on[0] = bool(on)
    return switch_back


def kernel(operation: str, inputs: Inputs, judged: int | None = None, **options: Any) -> Callable[[T], T]:
    """Register, as a decorator, what makes kernels of an operation, and how these are tried."""

    def register(make: T) -> T:
        TRIALS[operation] = Trial(inputs, options, judged)
        return KERNELS.add(operation, make)

    return register


def run(
    operation: str, plain: Operation, problem: Problem, *tensors: Tensor, parameters: Parameters, **options: Any
) -> tuple[Tensor, ...]:
    """The operation by its kernel where there is one that may be taken, otherwise as it is written."""
    seen = (*tensors, *(value for value in parameters.values() if isinstance(value, Tensor)))
    if not _on[0] or is_watched() or problem.learned or not all(map(is_ordinary, seen)) or _goes_plain():
        return plain(problem, *tensors, parameters=parameters, **options)
    if wants_graph(*seen):
        names = [name for name, value in parameters.items() if isinstance(value, Tensor)]

        def ask(how: Operation, *seen: Tensor, count: int = len(tensors)) -> tuple[Tensor, ...]:
            given = {**parameters, **dict(zip(names, seen[count:], strict=True))}
            return how(problem, *seen[:count], parameters=given, **options)

        return _Differentiable.apply(
            partial(ask, partial(run, operation, plain)), partial(ask, plain), *map(normal, seen)
        )
    dtype, fast = tensors[0].dtype, None
    if operation in KERNELS and dtype in TOLERANCE:
        key = ("kernel", operation, dtype)
        if key not in problem.cache:
            apart(lambda: _try_kernel(operation, plain, problem, dtype))
        fast = problem.cache[key]
    found = (fast or plain)(problem, *tensors, parameters=parameters, **options)
    if fast is None and (why := problem.cache.pop(("refused", operation, dtype), "")):
        slower = "plain torch gives the same numbers, more slowly"
        warn(f"the kernel of {operation} for {problem.name} is not used: {why}; {slower}.")
    return found


def is_ordinary(tensor: Tensor) -> bool:
    """Whether a tensor is one of torch's own in the processor's memory, and no transformation's."""
    kind = type(tensor)
    known = (kind is Tensor or kind is torch.nn.Parameter) and tensor.is_cpu
    return known and not (is_functorch_wrapped_tensor(tensor) or tensor.is_neg() or torch._is_zerotensor(tensor))


class _Differentiable(torch.autograd.Function):
    """An operation, by its kernel if there is one; its derivatives are those of the plain twin."""

    @staticmethod
    def forward(ctx: Any, fast: Operation, plain: Operation, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.plain = plain
        ctx.save_for_backward(*tensors)
        return fast(*tensors)

    @staticmethod
    @full_precision
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        def tied(*tensors: Tensor) -> tuple[Tensor, ...]:
            nothing = sum(0 * tensor.sum() for tensor in tensors)  # what is found may not depend on any
            return tuple(part + nothing for part in ctx.plain(*tensors))

        _, back = pullback(tied, ctx.saved_tensors, graph=torch.is_grad_enabled())
        return None, None, *back(grads)


def _goes_plain() -> bool:
    """Whether this thread tries a kernel, or torch is asked to compute in other types than those of the tensors."""
    return getattr(_trial, "on", False) or torch._C._is_any_autocast_enabled()


def _try_kernel(operation: str, plain: Operation, problem: Problem, dtype: torch.dtype) -> None:
    """Make the problem's kernel and try it, once: its cache gets it, or None and what is wrong with it."""
    _trial.on, kernel = True, None
    wanted, wrong = _wanted(operation, plain, problem, dtype)
    if not wrong:
        try:
            with _telling(f"compiling {operation} for {problem.name} ..."):
                kernel = KERNELS[operation](problem, dtype)
                wrong = "" if kernel is None else _difference(operation, kernel, problem, dtype, wanted)
        except Exception as error:  # no compiler, for example; whatever a kernel raises, the plain way is right
            wrong = f"it raises {_said(error)}"
    problem.cache["refused", operation, dtype] = wrong
    problem.cache["kernel", operation, dtype] = None if wrong else kernel


def _cases(operation: str, problem: Problem, dtype: torch.dtype) -> Iterator[tuple[tuple[Tensor, ...], dict[str, Any]]]:
    """Many instances with the problem's parameters, and a few with values of their own, which go other ways."""
    trial = TRIALS[operation]
    tensors = trial.inputs(problem, dtype)
    if wrong := [tensor for tensor in tensors if tensor.dtype != dtype or tensor.shape[-2] != TRIED]:
        got = f"{list(wrong[0].shape)} of {wrong[0].dtype}"
        raise TypeError(f"{TRIED} instances of {dtype} were asked for, got {got}; look at the problem's sample")
    yield tensors, {"parameters": problem.parameters, **trial.options}
    factors = torch.linspace(0.9, 1.1, FEW, dtype=dtype)
    parameters = {name: value * factors for name, value in problem.parameters.items()}
    yield tuple(tensor[..., :FEW, :].contiguous() for tensor in tensors), {"parameters": parameters, **trial.options}


@contextlib.contextmanager
def _telling(what: str) -> Iterator[None]:
    """Say what is being done, if it takes so long that someone wonders."""
    timer = threading.Timer(PATIENCE, print, (what,), {"file": sys.stderr, "flush": True})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split()):.200}".rstrip(" .:")


def _wanted(
    operation: str, plain: Operation, problem: Problem, dtype: torch.dtype
) -> tuple[list[tuple[Tensor, ...]], str]:
    """What the plain twin gives in each case; or why it gives nothing."""
    found: list[tuple[Tensor, ...]] = []
    try:
        for tensors, options in _cases(operation, problem, dtype):
            found.append(tuple(plain(problem, *tensors, **options)))
    except Exception as error:  # a step that always fails says so where it is asked
        cases = "a value of each parameter for every instance" if found else "the inputs of its trial"
        return [], f"with {cases} the plain way raises {_said(error)}"
    if not all(tensor.isfinite().any() for tensors in found for tensor in tensors):
        return [], "every instance of its trial overflows, which shows nothing"
    return found, ""


def _difference(
    operation: str, fast: Operation, problem: Problem, dtype: torch.dtype, wanted: list[tuple[Tensor, ...]]
) -> str:
    """What is wrong with a kernel; empty if nothing is."""
    off, judged = 0.0, TRIALS[operation].judged
    for (tensors, options), right in zip(_cases(operation, problem, dtype), wanted, strict=True):
        found = tuple(fast(problem, *tensors, **options))
        kinds = [[f"{list(tensor.shape)} of {tensor.dtype}" for tensor in given] for given in (found, right)]
        if kinds[0] != kinds[1]:
            return f"it gives {' and '.join(kinds[0])}, not {' and '.join(kinds[1])}"
        off = max(off, *map(_distance, found[:judged], right[:judged]))
    return f"it is off by {off:.2g}" if off > TOLERANCE[dtype] else ""


def _distance(found: Tensor, wanted: Tensor) -> float:
    """Largest difference, over the largest number that is wanted; where both overflow alike there is none."""
    found, wanted = found.double(), wanted.double()
    size = wanted.where(wanted.isfinite(), 0).abs().amax().clamp_min(torch.finfo(wanted.dtype).tiny)
    same = (found == wanted) | (found.isnan() & wanted.isnan())
    return ((found - wanted).abs() / size).where(~same, 0).nan_to_num(torch.inf).amax().item()
