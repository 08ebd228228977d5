"""From what happened to every instance under every seed to tidy tables: one row a seed, intervals, paired contrasts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from ..checks import check_choice
from ..problems import Problem
from ..statistics import Interval, bootstrap, interquartile_mean, ratio_of_means
from .refinement import iterate_metrics

#: Metrics ``[S, N]`` of one way to choose controls: a row a seed, a column an instance.
Outcome = dict[str, Tensor]

#: What a table is keyed by, for example ``(problem, method)``.
Key = tuple[str | int | float, ...]


@dataclass(frozen=True)
class Quantity:
    """A number that is read off an outcome.

    Parameters
    ----------
    metrics : tuple of str
        Metrics of the outcome, which `statistic` gets stacked, ``[q, S, N]``.
    statistic : callable
        From such values to one number.
    """

    metrics: tuple[str, ...]
    statistic: Callable[[Tensor], Tensor]

    def of(self, outcome: Outcome) -> Tensor:
        """The stacked metrics ``[q, S, N]``."""
        return torch.stack([outcome[metric] for metric in self.metrics])

    def value(self, outcome: Outcome, seed: int | None = None) -> float:
        """The number over all seeds, or of one row alone."""
        values = self.of(outcome)
        return self.statistic(values if seed is None else values[:, seed : seed + 1]).item()


def _mean(metric: str) -> Quantity:
    return Quantity((metric,), lambda values: values.mean())


def _interquartile_mean(metric: str) -> Quantity:
    return Quantity((metric,), lambda values: interquartile_mean(values[0]))


#: Quantities by name. ``gap`` is to the optimum, ``first`` of the first guess, ``reduction`` the share of the mean cost
#: that the last refinement took off; an interquartile mean says so in its name.
QUANTITIES: dict[str, Quantity] = {
    "gap": Quantity(("cost", "optimal_cost"), ratio_of_means),
    "gap_iqm": Quantity(("cost", "optimal_cost"), lambda values: interquartile_mean(values[0] / values[1] - 1)),
    "first_gap": Quantity(("first_cost", "optimal_cost"), ratio_of_means),
    "success": _mean("success"),
    "terminal_error": _mean("terminal_error"),
    "terminal_error_iqm": _interquartile_mean("terminal_error"),
    "cost": _mean("cost"),
    "cost_iqm": _interquartile_mean("cost"),
    "reduction": Quantity(("cost", "previous_cost"), lambda values: -ratio_of_means(values)),
    "control_mse": _mean("control_mse"),
    "monotone_share": _mean("monotone"),
}


def outcome(
    problem: Problem,
    initial: Tensor,
    target: Tensor,
    iterates: Tensor,
    optimal_cost: Tensor,
    teacher_controls: Tensor | None = None,
) -> list[Outcome]:
    """What became of one seed's iterates: metrics ``[1, N]`` of each, the first guess first.

    Parameters
    ----------
    problem : Problem
    initial, target : Tensor ``[N, n]``
    iterates : Tensor ``[N, K+1, T, m]``
    optimal_cost : Tensor ``[N]``
    teacher_controls : Tensor ``[N, T, m]``, optional
        For ``control_mse``, the mean squared difference to them.

    Returns
    -------
    list of dict
        Those of :func:`trc.instance_metrics`, ``optimal_cost``, ``first_cost`` (of the first guess), ``previous_cost``
        (of the iterate before), ``monotone`` (1 if the cost has not risen up to this iterate, otherwise 0) and, if
        asked for, ``control_mse``.
    """
    metrics = iterate_metrics(problem, initial, target, iterates)
    cost = metrics["cost"]
    rises = torch.nn.functional.pad(cost.diff(dim=1) > 0, (1, 0))
    metrics |= {
        "optimal_cost": optimal_cost.double().unsqueeze(1).expand_as(cost),
        "first_cost": cost[:, :1].expand_as(cost),
        "previous_cost": torch.cat((cost[:, :1], cost[:, :-1]), 1),
        "monotone": (rises.cumsum(1) == 0).double(),
    }
    if teacher_controls is not None:
        metrics["control_mse"] = (iterates - teacher_controls.to(iterates).unsqueeze(1)).square().mean((-1, -2))
    return [{name: values[:, k].unsqueeze(0) for name, values in metrics.items()} for k in range(cost.shape[1])]


def join(outcomes: Sequence[Outcome]) -> Outcome:
    """Outcomes of several seeds on the same instances as one, in their order."""
    return {name: torch.cat([one[name] for one in outcomes]) for name in outcomes[0]}


def seed_table(
    outcomes: Mapping[Key, Outcome], names: Sequence[str], quantities: Sequence[str], seeds: Sequence[int]
) -> pd.DataFrame:
    """Columns `names`, ``seed, metric, value``: one row for each outcome, seed and quantity."""
    _check(quantities)
    return pd.DataFrame(
        [
            dict(zip(names, key, strict=True))
            | {"seed": seed, "metric": name, "value": QUANTITIES[name].value(found, i)}
            for key, found in outcomes.items()
            for i, seed in enumerate(seeds[: len(found["cost"])])
            for name in quantities
        ]
    )


def interval_table(
    outcomes: Mapping[Key, Outcome],
    names: Sequence[str],
    quantities: Sequence[str],
    *,
    generator: torch.Generator,
    resamples: int = 1000,
) -> pd.DataFrame:
    """Columns `names`, ``metric, value, low, high``: 95 % bootstrap intervals over seeds and instances."""
    _check(quantities)
    rows = []
    for key, found in outcomes.items():
        for name in quantities:
            quantity = QUANTITIES[name]
            interval = bootstrap(
                quantity.of(found), statistic=quantity.statistic, generator=generator, resamples=resamples
            )
            rows.append(_row(names, key, name, interval))
    return pd.DataFrame(rows)


def contrast_table(
    outcomes: Mapping[Key, Outcome],
    contrasts: Mapping[Key, tuple[Key, Key]],
    names: Sequence[str],
    quantities: Sequence[str],
    *,
    generator: torch.Generator,
    resamples: int = 1000,
) -> pd.DataFrame:
    """Columns `names`, ``metric, value, low, high``: the first outcome's quantity minus the second's, paired.

    Both are drawn on the same seeds and instances. An interval that holds 0 says that the data can't tell them apart.

    Parameters
    ----------
    outcomes : mapping
    contrasts : mapping
        From a row's key to the keys of two outcomes.
    names, quantities : sequence of str
    generator : torch.Generator
    resamples : int
    """
    _check(quantities)
    rows = []
    for key, pair in contrasts.items():
        first, second = (outcomes[one] for one in pair)
        for name in quantities:
            quantity = QUANTITIES[name]
            values = torch.cat(torch.broadcast_tensors(quantity.of(first), quantity.of(second)))
            half = len(quantity.metrics)
            interval = bootstrap(
                values,
                statistic=lambda v, s=quantity.statistic, half=half: s(v[:half]) - s(v[half:]),
                generator=generator,
                resamples=resamples,
            )
            rows.append(_row(names, key, name, interval))
    return pd.DataFrame(rows)


def _row(names: Sequence[str], key: Key, metric: str, interval: Interval) -> dict[str, object]:
    found = {"metric": metric, "value": interval.value, "low": interval.low, "high": interval.high}
    return dict(zip(names, key, strict=True)) | found


def _check(quantities: Sequence[str]) -> None:
    for name in quantities:
        check_choice(name, "quantity", QUANTITIES)
