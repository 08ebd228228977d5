"""Schedules of the learning rate: pure functions of how far training has come and of how it went."""

import math
from collections.abc import Callable, Sequence

from ..common.registry import Registry

#: Epochs without a lower validation loss after which ``"plateau"`` halves the rate.
PLATEAU = 5

#: By name: the rate over the one at the start, from the share of steps done and the validation losses so far.
SCHEDULES: Registry[Callable[[float, Sequence[float]], float]] = Registry("schedule")


@SCHEDULES.register("cosine")
def _cosine(progress: float, losses: Sequence[float]) -> float:
    return (1 + math.cos(math.pi * progress)) / 2


@SCHEDULES.register("step")
def _step(progress: float, losses: Sequence[float]) -> float:
    return 0.1 ** ((progress >= 1 / 2) + (progress >= 3 / 4))


@SCHEDULES.register("plateau")
def _plateau(progress: float, losses: Sequence[float]) -> float:
    factor, lowest, waited = 1.0, math.inf, 0
    for loss in losses:
        waited = 0 if loss < lowest else waited + 1
        lowest = min(loss, lowest)
        if waited == PLATEAU:
            factor, waited = factor / 2, 0
    return factor


@SCHEDULES.register("none")
def _none(progress: float, losses: Sequence[float]) -> float:
    return 1.0


def learning_rate(
    schedule: str, start: float, progress: float, validation_losses: Sequence[float], warmup: float = 0.0
) -> float:
    """The learning rate of a step, as :class:`~trc.TrainingConfig` says; `progress` is the share of steps done."""
    held_back = progress / warmup if progress < warmup else 1.0
    return start * held_back * SCHEDULES[schedule](progress, validation_losses)
