"""Interquartile means and bootstrap intervals over seeds and instances, with an explicit generator.

Source of the recipe: Agarwal et al. (2021), *Deep reinforcement learning at the edge of the statistical precipice*.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..common.checks import check_count, check_real
from ..common.memory import check_memory


@dataclass(frozen=True)
class Interval:
    """A point estimate and its interval."""

    value: float
    low: float
    high: float


def interquartile_mean(values: Tensor) -> Tensor:
    """Mean ``[...]`` of the middle half of all values ``[..., S, N]``; a quarter is cut off at either end."""
    ordered = values.flatten(-2).sort(-1).values
    cut = ordered.shape[-1] // 4
    return ordered[..., cut : ordered.shape[-1] - cut].mean(-1)


def ratio_of_means(values: Tensor) -> Tensor:
    """Mean of the first over mean of the second of two stacked quantities ``[2, S, N]``, minus one."""
    first, second = values.mean((-1, -2))
    return first / second - 1


def bootstrap(
    values: Tensor,
    *,
    generator: torch.Generator,
    statistic: Callable[[Tensor], Tensor] = interquartile_mean,
    resamples: int = 1000,
    confidence: float = 0.95,
) -> Interval:
    """Percentile bootstrap of a statistic (one number) of values ``[S, N]``: seeds and instances are drawn anew.

    One row a seed, one column an instance; the same instances for every seed. Quantities that are stacked in front,
    ``[..., S, N]``, are drawn together. Of two methods on the same seeds and instances give the difference: what they
    have in common cancels.
    """
    if values.ndim < 2 or not values.numel() or not torch.isfinite(values).all():
        raise ValueError(f"bootstrap needs finite values [seeds, instances], got shape {list(values.shape)}.")
    resamples = check_count(resamples, "resamples")
    check_memory(200 * resamples, f"{resamples:,} resamples", "ask for fewer")  # a tensor of one number each
    if not 0 < (confidence := check_real(confidence, "confidence")) < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}.")
    value = statistic(values)
    if value.ndim:
        raise ValueError(f"the statistic must give one number, got {list(value.shape)} for {list(values.shape)}.")
    num_seeds, num_instances = values.shape[-2:]
    draws = []
    for _ in range(resamples):
        seeds = torch.randint(num_seeds, (num_seeds,), generator=generator)
        instances = torch.randint(num_instances, (num_instances,), generator=generator)
        draws.append(statistic(values[..., seeds, :][..., instances]))
    tail = (1 - confidence) / 2
    low, high = torch.stack(draws).double().quantile(torch.tensor([tail, 1 - tail], dtype=torch.float64))
    return Interval(float(value), float(low), float(high))
