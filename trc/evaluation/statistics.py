"""Interquartile means and bootstrap intervals over seeds and instances, with an explicit generator.

Source of the recipe: Agarwal et al. (2021), *Deep reinforcement learning at the edge of the statistical precipice*.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..common.checks import check_count


@dataclass(frozen=True)
class Interval:
    """A point estimate and its interval.

    Parameters
    ----------
    value, low, high : float
    """

    value: float
    low: float
    high: float


def mean(values: Tensor) -> Tensor:
    """Mean over the last two dimensions (seeds, instances)."""
    return values.mean((-1, -2))


def interquartile_mean(values: Tensor) -> Tensor:
    """Mean of the middle half of all values of the last two dimensions; a quarter is cut off at either end.

    Parameters
    ----------
    values : Tensor ``[..., S, N]``

    Returns
    -------
    Tensor ``[...]``
    """
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
    """Percentile bootstrap of `statistic`; seeds and instances are both drawn anew.

    For two methods on the same seeds and instances see :func:`paired_bootstrap`.

    Parameters
    ----------
    values : Tensor ``[S, N]`` or ``[..., S, N]``
        One row a seed, one column an instance; the same instances for every seed. Quantities that are stacked in
        front are drawn together.
    generator : torch.Generator
    statistic : callable
        From such values to one number.
    resamples : int
    confidence : float

    Raises
    ------
    ValueError
        If `values` are not finite or have fewer than two dimensions.
    """
    if values.ndim < 2 or not values.numel() or not torch.isfinite(values).all():
        raise ValueError(f"bootstrap needs finite values [seeds, instances], got shape {list(values.shape)}.")
    check_count(resamples, "resamples")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}.")
    if statistic(values).ndim:
        raise ValueError(
            f"the statistic must give one number, got {list(statistic(values).shape)} for {list(values.shape)}."
        )
    num_seeds, num_instances = values.shape[-2:]
    draws = []
    for _ in range(resamples):
        seeds = torch.randint(num_seeds, (num_seeds,), generator=generator)
        instances = torch.randint(num_instances, (num_instances,), generator=generator)
        draws.append(statistic(values[..., seeds, :][..., instances]))
    tail = (1 - confidence) / 2
    low, high = torch.stack(draws).double().quantile(torch.tensor([tail, 1 - tail], dtype=torch.float64))
    return Interval(float(statistic(values)), float(low), float(high))


def paired_bootstrap(
    first: Tensor,
    second: Tensor,
    *,
    generator: torch.Generator,
    statistic: Callable[[Tensor], Tensor] = interquartile_mean,
    resamples: int = 1000,
    confidence: float = 0.95,
) -> Interval:
    """Interval of the statistic of the difference of two methods, `first` minus `second`.

    Both are drawn on the same seeds and instances, so that what they have in common cancels.

    Parameters
    ----------
    first, second : Tensor ``[S, N]``
    generator, statistic, resamples, confidence
        As for :func:`bootstrap`.

    Raises
    ------
    ValueError
        If the shapes differ, or as for :func:`bootstrap`.
    """
    if first.shape != second.shape:
        raise ValueError(
            f"a paired bootstrap needs the same seeds and instances, got shapes {list(first.shape)} "
            f"and {list(second.shape)}."
        )
    return bootstrap(
        first - second, generator=generator, statistic=statistic, resamples=resamples, confidence=confidence
    )
