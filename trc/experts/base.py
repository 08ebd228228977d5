"""What an expert is: a function of a problem and a batch of instances that gives a trajectory of each."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from ..common.checks import all_finite
from ..common.notices import warn
from ..common.registry import Registry
from ..problems import Problem
from ..simulation import check_overflow


class NoneSolved(ValueError):
    """No instance of a batch can be solved; the message says why."""


class Overflowing(UserWarning):
    """Some instances of a batch overflow, and are marked."""


@dataclass(frozen=True, eq=False)
class Trajectory:
    """States, controls and cost of a batch of instances, and how far an iterative expert came.

    An instance whose simulation overflows is marked, and changes nothing of the others: its cost and residual are
    infinite, its states and controls not a number, and it has not converged.
    """

    states: Tensor  #: [B, T+1, n]
    controls: Tensor  #: [B, T, m]
    cost: Tensor  #: [B]
    residual: Tensor | None = None  #: [B], see ``trc.experts.stationarity``; zero at a stationary point
    iterations: Tensor | None = None  #: [B], iterations that were spent on the instance
    converged: Tensor | None = None  #: [B], whether the residual is below the tolerance; otherwise it is no optimum

    def __len__(self) -> int:
        return len(self.cost)

    def to(self, dtype: torch.dtype) -> Self:
        """The same in another floating-point type, with the instances marked whose cost overflows (in that type).

        It is a ``ValueError`` if all do (:class:`NoneSolved`), and a warning if some do (:class:`Overflowing`).
        """
        if dtype == self.cost.dtype and all_finite(self.cost):
            return self
        names = ("states", "controls", "cost", *(() if self.residual is None else ("residual",)))
        found = {name: getattr(self, name).to(dtype) for name in names}
        if (lost := ~found["cost"].isfinite()).any():
            self._warn(lost, dtype)
            found["states"], found["controls"] = (
                found[name].masked_fill(lost[:, None, None], math.nan) for name in names[:2]
            )
            found["cost"] = found["cost"].masked_fill(lost, math.inf)
            if self.residual is not None:
                found["residual"] = found["residual"].masked_fill(lost, math.inf)
                found["converged"] = self.converged & ~lost
        return replace(self, **found)

    def _warn(self, lost: Tensor, dtype: torch.dtype) -> None:
        many = f"{int(lost.sum())} of {len(self)} instances"
        if lost.all():
            try:
                check_overflow(self.states.transpose(0, 1))
            except ValueError as overflow:
                raise NoneSolved(str(overflow)) from None
            raise NoneSolved(
                f"costs in {dtype} must be finite, those of {many} are not; use smaller weights or states."
            )
        why = "overflow: their cost and residual are infinite, their states and controls not a number"
        warn(f"{many} {why}; the others are as they would be alone.", Overflowing)


Expert = Callable[[Problem, Tensor, Tensor], Trajectory]

#: Functions of a problem, initial and target states that give trajectories; add one by ``@EXPERTS.register("name")``.
EXPERTS: Registry[Expert] = Registry("expert")
