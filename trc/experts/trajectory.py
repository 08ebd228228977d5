"""The one type that every teacher returns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from ..checks import check_tensor


@dataclass(frozen=True)
class Trajectory:
    """States, controls and cost of a batch of instances, and how far an iterative teacher came.

    Parameters
    ----------
    states : Tensor ``[B, T+1, n]``
    controls : Tensor ``[B, T, m]``
    cost : Tensor ``[B]``
    residual : Tensor ``[B]``, optional
        Norm of the projected gradient ``‖u - clip(u - ∂J/∂u)‖∞``; zero at a stationary point.
    iterations : Tensor ``[B]``, optional
        Iterations that were spent on the instance.
    converged : Tensor ``[B]``, optional
        Whether the residual is below the tolerance. What did not converge is not an optimum.
    """

    states: Tensor
    controls: Tensor
    cost: Tensor
    residual: Tensor | None = None
    iterations: Tensor | None = None
    converged: Tensor | None = None

    def __len__(self) -> int:
        return len(self.cost)

    def to(self, dtype: torch.dtype) -> Self:
        """The same in another floating-point type.

        Raises
        ------
        ValueError
            If a cost is not finite (in that type).
        """
        cost = self.cost.to(dtype)
        check_tensor(cost, (None,), f"costs in {dtype}")
        floats = {name: getattr(self, name) for name in ("states", "controls", "residual")}
        return replace(self, cost=cost, **{k: t if t is None else t.to(dtype) for k, t in floats.items()})
