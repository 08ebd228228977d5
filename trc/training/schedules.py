"""Schedules of the learning rate: pure functions of how far training has come and of how it went."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

#: Epochs without a lower validation loss after which ``"plateau"`` halves the rate.
PLATEAU = 5


def _cosine(progress: float, losses: Sequence[float]) -> float:
    return (1 + math.cos(math.pi * progress)) / 2


def _step(progress: float, losses: Sequence[float]) -> float:
    return 0.1 ** ((progress >= 1 / 2) + (progress >= 3 / 4))


def _plateau(progress: float, losses: Sequence[float]) -> float:
    factor, lowest, waited = 1.0, math.inf, 0
    for loss in losses:
        waited = 0 if loss < lowest else waited + 1
        lowest = min(loss, lowest)
        if waited == PLATEAU:
            factor, waited = factor / 2, 0
    return factor


SCHEDULES: dict[str, Callable[[float, Sequence[float]], float]] = {
    "cosine": _cosine,
    "step": _step,
    "plateau": _plateau,
    "none": lambda progress, losses: 1.0,
}


def learning_rate(
    schedule: str, start: float, progress: float, validation_losses: Sequence[float], warmup: float = 0.0
) -> float:
    """The learning rate of a step.

    Parameters
    ----------
    schedule : {"cosine", "step", "plateau", "none"}
        Half a cosine wave down to zero; a tenth after half of the steps and a hundredth after three quarters; half of
        it whenever five epochs have brought no lower validation loss; or constant.
    start : float
        The rate that the schedule begins with.
    progress : float
        Share of all steps that are done, from 0 to 1.
    validation_losses : sequence of float
        Of the epochs so far.
    warmup : float
        Until this share of all steps the rate is held back, in a straight line from zero.
    """
    held_back = progress / warmup if progress < warmup else 1.0
    return start * held_back * SCHEDULES[schedule](progress, validation_losses)
