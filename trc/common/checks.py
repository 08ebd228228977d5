"""Checks of input that every floor shares; each error is one sentence that says what was expected."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from numbers import Integral
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import torch
from torch import Tensor

T = TypeVar("T")

#: So few numbers are looked at faster by Python than by torch.
FEW = 16


def from_settings(kind: type[T], settings: Mapping[str, Any], what: str) -> T:
    """A dataclass from its fields by name; a `what` that is unknown or missing is a ``ValueError`` that lists them."""
    if not isinstance(settings, Mapping):
        raise ValueError(f"each {what} must be given by its name, got {settings!r:.40}.")
    known = [f.name for f in fields(kind)]
    if unknown := sorted(str(name) for name in settings if name not in known):
        raise ValueError(f"unknown {what} {', '.join(unknown)}; known are {', '.join(known)}.")
    needed = [f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]
    if missing := [name for name in needed if name not in settings]:
        raise ValueError(f"the {what} {', '.join(missing)} is missing; known are {', '.join(known)}.")
    return kind(**settings)


def check_types(one: Any) -> None:
    """Raise ``ValueError`` unless every field of a dataclass is of its annotation's type (a dict of any entries)."""
    for name, hint in get_type_hints(type(one)).items():
        kinds = [get_origin(kind) or kind for kind in (get_args(hint) if isinstance(hint, UnionType) else [hint])]
        if not isinstance(value := getattr(one, name), tuple(kinds)):
            wanted = " or ".join(kind.__name__ for kind in kinds)
            raise ValueError(f"{name} must be of type {wanted}, got {value!r}.")


def check_kind(value: Any, kind: type, name: str, remedy: str) -> None:
    """Raise ``ValueError`` unless `value` is of the kind; `remedy` says how to get one."""
    if not isinstance(value, kind):
        raise ValueError(f"{name} must be a {kind.__name__}, got {value!r:.60}; {remedy}.")


def check_choice(value: Any, name: str, known: Iterable[str]) -> None:
    """Raise ``ValueError`` unless `value` is one of the known names, which the message lists."""
    known = list(known)
    if value not in known:
        raise ValueError(f"unknown {name} {value!r}; known are {', '.join(known)}.")


def check_count(value: Any, name: str, minimum: int = 1) -> int:
    """`value` if it is a whole number of at least `minimum`; a ``ValueError`` otherwise."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < minimum:
        raise ValueError(f"{name} must be a whole number, {minimum} or more, got {value!r}.")
    return int(value)


def check_seed(value: Any) -> int:
    """`value` if it is a whole number that a generator takes; a ``ValueError`` otherwise."""
    if check_count(value, "seed", minimum=0) >= 2**63:
        raise ValueError(f"seed must be below 2**63, got {value!r}.")
    return int(value)


def check_real(value: Any, name: str, *, positive: bool = False, minimum: float = -math.inf) -> float:
    """`value` as a finite float, positive or at least `minimum`; a ``ValueError`` otherwise."""
    try:
        number = math.nan if isinstance(value, str | bool) else float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        number = math.nan
    if not math.isfinite(number) or (positive and number <= 0) or number < minimum:
        wanted = "a finite number" if minimum == -math.inf else f"a number of at least {minimum:g}"
        raise ValueError(f"{name} must be {'a positive number' if positive else wanted}, got {value!r}.")
    return number


def check_reals(values: Any, name: str, size: int, *, positive: bool = False) -> tuple[float, ...]:
    """`values` as a tuple of `size` finite floats, positive where that is asked; a ``ValueError`` otherwise."""
    entries = _entries(values, name, size, "entry" if size == 1 else "entries")
    return tuple(check_real(value, name, positive=positive) for value in entries)


def check_bounds(low: Any, high: Any, size: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Control bounds as tuples of `size` finite floats, each lower one below its upper one; a ``ValueError`` else."""
    low, high = check_reals(low, "control_low", size), check_reals(high, "control_high", size)
    if not all(one < other for one, other in zip(low, high, strict=True)):
        raise ValueError(f"control_low must be below control_high, got {low} and {high}.")
    return low, high


def check_box(box: Any, name: str, size: int) -> tuple[tuple[float, float], ...]:
    """`box` as `size` pairs ``(low, high)``, or as none where it is empty; a ``ValueError`` otherwise."""
    if isinstance(box, list | tuple) and not box:
        return ()
    entries = _entries(box, name, size, "pairs (low, high)")
    pairs = tuple(check_reals(pair, f"each pair of {name}", 2) for pair in entries)
    if not all(low <= high for low, high in pairs):
        raise ValueError(f"{name} must be finite with low below high, got {pairs}.")
    return pairs


def _entries(values: Any, name: str, size: int, kind: str) -> list[Any]:
    """`values` as a list of `size` entries, which the message calls `kind`; a ``ValueError`` otherwise."""
    try:
        entries = None if isinstance(values, str) else list(values)
    except TypeError:
        entries = None
    if entries is None or len(entries) != size:
        raise ValueError(f"{name} needs {size} {kind}, one a dimension, got {values!r}.")
    return entries


def check_tensor(tensor: Any, shape: tuple[int | str | None, ...], name: str) -> None:
    """Raise ``ValueError`` unless `tensor` is finite, floating and of `shape` (None, or a name: any size)."""
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
        got = f"one of {tensor.dtype}" if isinstance(tensor, Tensor) else type(tensor).__name__
        raise ValueError(f"{name} must be a floating-point tensor, got {got}.")
    sizes = zip(shape, tensor.shape, strict=False)
    if tensor.ndim != len(shape) or [1 for want, have in sizes if want != have and isinstance(want, int)]:
        sizes = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"{name} must have shape [{sizes}], got {list(tensor.shape)}.")
    if tensor.numel() == 0:
        raise ValueError(f"{name} must not be empty, got shape {list(tensor.shape)}.")
    if not all_finite(tensor):
        bad = int((~torch.isfinite(tensor)).reshape(len(tensor), -1).any(-1).sum())
        raise ValueError(f"{name} must be finite, but {bad} of {len(tensor)} instances have NaN or infinite entries.")


def check_same_dtype(one: Tensor, one_is: str, other: Tensor, other_is: str) -> None:
    """Raise ``ValueError`` unless two tensors have one dtype; each is named with its verb, as ``"controls are"``."""
    if one.dtype != other.dtype:
        raise ValueError(f"{one_is} {one.dtype} but {other_is} {other.dtype}; convert one of them.")


def all_finite(tensor: Tensor) -> bool:
    """Whether no entry is NaN or infinite; one pass in the usual case, where the sum is finite too."""
    if tensor.numel() <= FEW and not torch._is_zerotensor(tensor):
        return all(map(math.isfinite, tensor.flatten().tolist()))
    tensor = tensor.detach()
    return math.isfinite(tensor.sum().item()) or bool(torch.isfinite(tensor).all())
