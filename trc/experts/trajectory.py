"""The one type that every teacher returns."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Trajectory:
    """States, controls and cost of a batch of instances.

    Parameters
    ----------
    states : Tensor ``[B, T+1, n]``
    controls : Tensor ``[B, T, m]``
    cost : Tensor ``[B]``
    """

    states: Tensor
    controls: Tensor
    cost: Tensor

    def __len__(self) -> int:
        return len(self.cost)
