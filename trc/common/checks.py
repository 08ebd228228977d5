"""Checks of input that every floor shares; each error is one sentence that says what was expected."""

import math
from collections.abc import Iterable, Mapping, Set
from dataclasses import MISSING, fields
from decimal import Decimal
from numbers import Integral, Real
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
import torch
from torch import Tensor

from .modes import is_readable, shape_of

T = TypeVar("T")

#: So few numbers are looked at faster by Python than by torch.
FEW = 16

#: Whole numbers have to be below this, as torch's are.
LARGEST = 2**63


class NotFinite(ValueError):
    """Numbers that are NaN or infinite: some of a batch may have them, and the others none."""


class Overflow(NotFinite):
    """Such numbers in what was computed of others that are finite."""


def plain(value: Any) -> Any:
    """A number of NumPy's, torch's or another's as Python's own, 0-d arrays and tensors too; all else as it is."""
    if type(value) in (int, float, str, bool):
        return value
    if isinstance(value, np.generic | np.ndarray):
        if value.ndim or value.dtype.kind not in "biuf":
            return value
        value = value.item()
    elif isinstance(value, Tensor) and value.ndim == 0:
        try:
            value = value.detach().item()
        except RuntimeError:  # it has no value, as where torch is tracing
            return value
    if isinstance(value, Integral) and not isinstance(value, int):
        return int(value)
    return float(value) if isinstance(value, Real | Decimal) and not isinstance(value, int | float) else value


def settle(one: Any, *, learned: bool = False) -> None:
    """Give a dataclass, frozen too, Python's numbers where its fields have others, unless they may be `learned`."""
    for name in (f.name for f in fields(one) if f.init):
        value = getattr(one, name)
        if not (learned and isinstance(value, Tensor) and value.requires_grad):
            object.__setattr__(one, name, plain(value))


def as_json(value: Any) -> Any:
    """What JSON has no form for, for ``json.dumps(…, default=as_json)``: numbers and arrays of NumPy's and torch's."""
    if isinstance(value, np.generic | np.ndarray | Tensor):
        return value.tolist()
    if (number := plain(value)) is value:
        raise TypeError(f"no number, text, list or dict: {shown(value)}")
    return number


def shown(value: Any) -> str:
    """A value on one line of a message, its end left out where it is long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:79]}…"


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
            raise ValueError(f"{name} must be of type {wanted}, got {shown(value)}.")


def check_kind(value: Any, kind: type, name: str, remedy: str) -> None:
    """Raise ``ValueError`` unless `value` is of the kind; `remedy` says how to get one."""
    if not isinstance(value, kind):
        raise ValueError(f"{name} must be a {kind.__name__}, got {value!r:.60}; {remedy}.")


def check_choice(value: Any, name: str, known: Iterable[str]) -> None:
    """Raise ``ValueError`` unless `value` is one of the known names, which the message lists."""
    known = list(known)
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"unknown {name} {shown(value)}; known are {', '.join(known)}.")


def check_count(value: Any, name: str, minimum: int = 1) -> int:
    """`value` as an int if it is a whole number of at least `minimum`; a ``ValueError`` otherwise."""
    number = plain(value)
    if isinstance(number, bool) or not isinstance(number, int) or number < minimum:
        raise ValueError(f"{name} must be a whole number, {minimum} or more, got {shown(value)}.")
    if number >= LARGEST:
        raise ValueError(f"{name} must be below 2**63, got {shown(value)}.")
    return int(number)  # a member of an enumeration is one


def check_seed(value: Any) -> int:
    """`value` as an int if it is a whole number that a generator takes; a ``ValueError`` otherwise."""
    return check_count(value, "seed", minimum=0)


def check_real(value: Any, name: str, *, positive: bool = False, minimum: float = -math.inf) -> float:
    """`value` as a finite float, positive or at least `minimum`; a ``ValueError`` otherwise."""
    number = plain(value)
    try:
        number = float(number) if isinstance(number, int | float) and not isinstance(number, bool) else math.nan
    except OverflowError:
        number = math.nan
    if not math.isfinite(number) or (positive and number <= 0) or number < minimum:
        wanted = "a finite number" if minimum == -math.inf else f"a number of at least {minimum:g}"
        raise ValueError(f"{name} must be {'a positive number' if positive else wanted}, got {shown(value)}.")
    return number


def check_reals(values: Any, name: str, size: int, *, positive: bool = False) -> tuple[float, ...]:
    """`values` as a tuple of `size` finite floats, positive where that is asked; a ``ValueError`` otherwise."""
    entries = _entries(values, name, size, "entry" if size == 1 else "entries")
    return tuple(check_real(value, name, positive=positive) for value in entries)


def check_names(values: Any, name: str) -> tuple[str, ...]:
    """`values` as a tuple of names, at least one; a ``ValueError`` otherwise, also for a name by itself."""
    entries = _in_order(values)
    if not entries or not all(isinstance(entry, str) for entry in entries):
        raise ValueError(f'{name} must be names, one a dimension, such as ("position",), got {shown(values)}.')
    return tuple(map(str, entries))  # NumPy's text is text, and shows itself in messages


def check_dims(values: Any, name: str, size: int) -> tuple[int, ...]:
    """`values` as a tuple of dimensions, each below `size`; a ``ValueError`` otherwise."""
    entries = _in_order(values)
    if entries is None:
        raise ValueError(f"{name} must be dimensions, such as (0, 1), got {shown(values)}.")
    dims = tuple(check_count(entry, f"each of {name}", 0) for entry in entries)
    if beyond := [dim for dim in dims if dim >= size]:
        raise ValueError(f"{name} has {beyond[0]}, but there are {size} dimensions, counted from 0.")
    return dims


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
    entries = _in_order(values)
    if entries is None or len(entries) != size:
        raise ValueError(f"{name} needs {size} {kind}, one a dimension, got {shown(values)}.")
    return entries


def _in_order(values: Any) -> list[Any] | None:
    """What has an order as a list; None for anything else, a text among it."""
    try:
        return None if isinstance(values, str | bytes | bytearray | Mapping | Set) else list(values)
    except TypeError:
        return None


def check_tensor(tensor: Any, shape: tuple[int | str | None, ...], name: str) -> None:
    """Raise ``ValueError`` unless `tensor` is finite, floating and of `shape` (None, or a name: any size)."""
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
        got = f"one of {tensor.dtype}" if isinstance(tensor, Tensor) else type(tensor).__name__
        raise ValueError(f"{name} must be a floating-point tensor, got {got}.")
    got = shape_of(tensor)
    pairs = zip(shape, got, strict=False)
    if len(got) != len(shape) or [1 for want, have in pairs if isinstance(want, int) and want != have]:
        sizes = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"{name} must have shape [{sizes}], got {list(got)}.")
    if 0 in got:
        raise ValueError(f"{name} must not be empty, got shape {list(got)}.")
    if not all_finite(tensor):
        bad = int((~torch.isfinite(tensor)).reshape(len(tensor), -1).any(-1).sum())
        raise NotFinite(f"{name} must be finite, but {bad} of {len(tensor)} instances have NaN or infinite entries.")


def check_same_dtype(one: Tensor, one_is: str, other: Tensor, other_is: str) -> None:
    """Raise ``ValueError`` unless two tensors have one dtype and device; each has its verb, as ``"controls are"``."""
    if one.dtype != other.dtype:
        raise ValueError(f"{one_is} {one.dtype} but {other_is} {other.dtype}; convert one of them.")
    if one.device != other.device:
        raise ValueError(f"{one_is} on {one.device} but {other_is} on {other.device}; move one of them.")


def all_finite(tensor: Tensor) -> bool:
    """Whether no entry is NaN or infinite, as far as one may look; one pass in the usual case of a finite sum."""
    return not is_readable(tensor) or finite(tensor)


def finite(tensor: Tensor) -> bool:
    """The same of a tensor whose numbers may be looked at."""
    if tensor.numel() <= FEW and not torch._is_zerotensor(tensor):
        return all(map(math.isfinite, tensor.flatten().tolist()))
    tensor = tensor.detach()
    return math.isfinite(tensor.sum().item()) or bool(torch.isfinite(tensor).all())
