"""What an expert is: a function of a problem and a batch of instances that gives a trajectory of each."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from ..common.checks import all_finite, check_tensor
from ..common.registry import Registry
from ..problems import Problem


@dataclass(frozen=True)
class Trajectory:
    """States, controls and cost of a batch of instances, and how far an iterative expert came."""

    states: Tensor  #: [B, T+1, n]
    controls: Tensor  #: [B, T, m]
    cost: Tensor  #: [B]
    residual: Tensor | None = None  #: [B], ``‖u - clip(u - ∂J/∂u)‖∞``, which is zero at a stationary point
    iterations: Tensor | None = None  #: [B], iterations that were spent on the instance
    converged: Tensor | None = None  #: [B], whether the residual is below the tolerance; otherwise it is no optimum

    def __len__(self) -> int:
        return len(self.cost)

    def to(self, dtype: torch.dtype) -> Self:
        """The same in another floating-point type; a ``ValueError`` if a cost is not finite (in that type)."""
        if dtype == self.cost.dtype and all_finite(self.cost):
            return self
        check_tensor(self.cost.to(dtype), (None,), f"costs in {dtype}")
        names = ("states", "controls", "cost", *(() if self.residual is None else ("residual",)))
        return replace(self, **{name: getattr(self, name).to(dtype) for name in names})


Expert = Callable[[Problem, Tensor, Tensor], Trajectory]

#: Functions of a problem, initial and target states that give trajectories; add one by ``@EXPERTS.register("name")``.
EXPERTS: Registry[Expert] = Registry("expert")
