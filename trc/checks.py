"""Checks of input that every floor shares; each error is one sentence that says what was expected."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Integral
from typing import Any

import torch
from torch import Tensor


def check_count(value: Any, name: str, minimum: int = 1) -> int:
    """`value` if it is a whole number of at least `minimum`; a ``ValueError`` otherwise."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < minimum:
        raise ValueError(f"{name} must be a whole number, {minimum} or more, got {value!r}.")
    return int(value)


def check_seed(value: Any, name: str = "seed") -> int:
    """`value` if it is a whole number that a generator takes; a ``ValueError`` otherwise."""
    if check_count(value, name, minimum=0) >= 2**63:
        raise ValueError(f"{name} must be below 2**63, got {value!r}.")
    return int(value)


def check_real(value: Any, name: str, *, positive: bool = False, minimum: float = -math.inf) -> float:
    """`value` as a finite float, positive or at least `minimum`; a ``ValueError`` otherwise."""
    try:
        number = math.nan if isinstance(value, str | bool) else float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        number = math.nan
    if not math.isfinite(number) or (positive and number <= 0) or number < minimum:
        wanted = (
            "a positive number"
            if positive
            else f"a number of at least {minimum:g}"
            if minimum > -math.inf
            else ("a finite number")
        )
        raise ValueError(f"{name} must be {wanted}, got {value!r}.")
    return number


def check_reals(values: Any, name: str, size: int) -> tuple[float, ...]:
    """`values` as a tuple of `size` finite floats; a ``ValueError`` otherwise."""
    try:
        entries = None if isinstance(values, str) else list(values)
    except TypeError:
        entries = None
    if entries is None or len(entries) != size:
        raise ValueError(f"{name} needs {size} {'entry' if size == 1 else 'entries'}, one a dimension, got {values!r}.")
    return tuple(check_real(value, name) for value in entries)


def check_kind(value: Any, kind: type, name: str, remedy: str) -> None:
    """Raise ``ValueError`` unless `value` is of the kind; `remedy` says how to get one."""
    if not isinstance(value, kind):
        raise ValueError(f"{name} must be a {kind.__name__}, got {value!r:.60}; {remedy}.")


def check_choice(value: Any, name: str, known: Iterable[str]) -> None:
    """Raise ``ValueError`` unless `value` is one of the known names, which the message lists."""
    known = list(known)
    if value not in known:
        raise ValueError(f"unknown {name} {value!r}; known are {', '.join(known)}.")


def check_tensor(tensor: Any, shape: tuple[int | None, ...], name: str) -> None:
    """Raise ``ValueError`` unless `tensor` is a finite floating tensor of `shape` (``None``: any size)."""
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
        got = f"one of {tensor.dtype}" if isinstance(tensor, Tensor) else type(tensor).__name__
        raise ValueError(f"{name} must be a floating-point tensor, got {got}.")
    fits = tensor.ndim == len(shape) and all(
        want in (None, have) for want, have in zip(shape, tensor.shape, strict=True)
    )
    if not fits:
        want = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"{name} must have shape [{want}], got {list(tensor.shape)}.")
    if tensor.numel() == 0:
        raise ValueError(f"{name} must not be empty, got shape {list(tensor.shape)}.")
    if all_finite(tensor):
        return
    bad = int((~torch.isfinite(tensor)).reshape(len(tensor), -1).any(-1).sum())
    raise ValueError(f"{name} must be finite, but {bad} of {len(tensor)} instances have NaN or infinite entries.")


def all_finite(tensor: Tensor) -> bool:
    """Whether no entry is NaN or infinite; one pass in the usual case, where the sum is finite too."""
    tensor = tensor.detach()
    return math.isfinite(tensor.sum().item()) or bool(torch.isfinite(tensor).all())
