"""Checks of input that every floor shares."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def check_tensor(tensor: Any, shape: tuple[int | None, ...], name: str) -> None:
    """Raise ``ValueError`` unless `tensor` is a finite floating tensor of `shape` (``None``: any size)."""
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
        raise ValueError(f"{name} must be a floating-point tensor, got {type(tensor).__name__}.")
    fits = tensor.ndim == len(shape) and all(
        want in (None, have) for want, have in zip(shape, tensor.shape, strict=True)
    )
    if not fits:
        want = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"{name} must have shape [{want}], got {list(tensor.shape)}.")
    finite = torch.isfinite(tensor)
    if not finite.all():
        bad = int((~finite).reshape(len(tensor), -1).any(-1).sum())
        raise ValueError(f"{name} must be finite, but {bad} of {len(tensor)} instances have NaN or infinite entries.")
