"""From what happened to every instance under every seed to tidy tables: one row a seed, intervals, paired contrasts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import pandas as pd
import torch
from torch import Tensor

from ..common.checks import check_choice
from ..evaluation.metrics import iterate_metrics
from ..evaluation.statistics import bootstrap, interquartile_mean, ratio_of_means
from ..problems import Problem
from .rows import select

#: Metrics ``[S, N]`` of one way to choose controls: a row a seed, a column an instance.
Outcome = dict[str, Tensor]

#: What a table is keyed by, for example ``(problem, method)``.
Key = tuple[str | int | float, ...]


@dataclass(frozen=True)
class Quantity:
    """A number read off an outcome: a statistic of some of its metrics, which it gets stacked, ``[q, S, N]``."""

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
    """What became of one seed's iterates ``[N, K+1, T, m]``: metrics ``[1, N]`` of each, the first guess first.

    Returns
    -------
    list of dict
        Those of :func:`trc.instance_metrics`, ``optimal_cost``, ``first_cost`` (of the first guess), ``previous_cost``
        (of the iterate before), ``monotone`` (1 if the cost has not risen up to this iterate, otherwise 0) and, if
        asked for, ``control_mse``.
    """
    metrics = iterate_metrics(problem, initial, target, iterates, teacher_controls)
    cost = metrics["cost"]
    rises = torch.nn.functional.pad(cost.diff(dim=1) > 0, (1, 0))
    metrics |= {
        "optimal_cost": optimal_cost.double().unsqueeze(1).expand_as(cost),
        "first_cost": cost[:, :1].expand_as(cost),
        "previous_cost": torch.cat((cost[:, :1], cost[:, :-1]), 1),
        "monotone": (rises.cumsum(1) == 0).double(),
    }
    return [{name: values[:, k].unsqueeze(0) for name, values in metrics.items()} for k in range(cost.shape[1])]


def join(outcomes: Sequence[Outcome]) -> Outcome:
    """Outcomes of several seeds on the same instances as one, in their order."""
    return {name: torch.cat([one[name] for one in outcomes]) for name in outcomes[0]}


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """What became of several ways to choose controls, and the tables that are made of it."""

    by_key: Mapping[Key, Outcome]  # all seeds of a way joined
    names: tuple[str, ...]  # of the parts of a key, for example problem, set, variant: columns of the tables
    seeds: Sequence[int]  # of the outcomes' rows; an outcome with nothing random in it has the first alone
    generator: torch.Generator  # of the bootstrap; every table draws on where the one before ended
    resamples: int = 1000

    def __getitem__(self, key: Key) -> Outcome:
        if key not in self.by_key:
            known = "; ".join(", ".join(map(str, one)) for one in self.by_key)
            raise ValueError(f"there is no outcome {', '.join(map(str, key))}; known are {known}.")
        return self.by_key[key]

    def only(self, keep: Callable[[Key], bool]) -> Self:
        """Those whose key is to be kept."""
        return replace(self, by_key={key: found for key, found in self.by_key.items() if keep(key)})

    def by_seed(self, quantities: Sequence[str]) -> pd.DataFrame:
        """Columns of the key, ``seed, metric, value``: one row for each outcome, seed and quantity."""
        rows = [
            self._row(key) | {"seed": seed, "metric": name, "value": _quantity(name).value(found, i)}
            for key, found in self.by_key.items()
            for i, seed in enumerate(self.seeds[: len(found["cost"])])
            for name in quantities
        ]
        return pd.DataFrame(rows)

    def intervals(self, quantities: Sequence[str]) -> pd.DataFrame:
        """Columns of the key, ``metric, value, low, high``: 95 % bootstrap intervals over seeds and instances."""
        rows = [
            self._row(key) | self._interval(name, _quantity(name).of(found), _quantity(name).statistic)
            for key, found in self.by_key.items()
            for name in quantities
        ]
        return pd.DataFrame(rows)

    def contrasts(
        self,
        questions: Mapping[str, tuple[str | Key, str | Key]],
        quantities: Sequence[str],
        label: str = "contrast",
    ) -> pd.DataFrame:
        """What is changed by doing one thing and not another, everything else alike: a table of `differences`.

        A question is the last parts of two keys, one minus the other; its label stands for them.
        """
        sides = {name: (_parts(one), _parts(other)) for name, (one, other) in questions.items()}
        (size,) = {len(part) for pair in sides.values() for part in pair}
        alike = dict.fromkeys(key[:-size] for key in self.by_key)
        pairs = {
            (*common, name): ((*common, *one), (*common, *other))
            for common in alike
            for name, (one, other) in sides.items()
        }
        return self.differences(pairs, (*self.names[:-size], label), quantities)

    def against(self, *references: str | Key, quantities: Sequence[str]) -> pd.DataFrame:
        """Every outcome minus that whose key ends like a reference; with several references, one after the other."""
        several = len(references) > 1
        pairs = {}
        for key in self.by_key:
            for reference in map(_parts, references):
                other = (*key[: -len(reference)], *reference)
                if other != key:
                    pairs[(*key, *reference) if several else key] = (key, other)
        return self.differences(pairs, (*self.names, "against") if several else self.names, quantities)

    def differences(
        self, pairs: Mapping[Key, tuple[Key, Key]], names: Sequence[str], quantities: Sequence[str]
    ) -> pd.DataFrame:
        """Columns `names`, ``metric, value, low, high``: the first outcome's quantity minus the second's, paired.

        `pairs` has the keys of two outcomes for a row's key, whose parts are called `names`. Both are drawn on the same
        seeds and instances. Where the interval holds 0, the data can't tell them apart.
        """
        rows = []
        for key, pair in pairs.items():
            first, second = (self[one] for one in pair)
            for name in quantities:
                quantity = _quantity(name)
                values = torch.cat(torch.broadcast_tensors(quantity.of(first), quantity.of(second)))
                half, statistic = len(quantity.metrics), quantity.statistic
                difference = lambda v, s=statistic, half=half: s(v[:half]) - s(v[half:])  # noqa: E731
                rows.append(dict(zip(names, key, strict=True)) | self._interval(name, values, difference))
        return pd.DataFrame(rows)

    def _row(self, key: Key) -> dict[str, object]:
        return dict(zip(self.names, key, strict=True))

    def _interval(self, name: str, values: Tensor, statistic: Callable[[Tensor], Tensor]) -> dict[str, object]:
        found = bootstrap(values, statistic=statistic, generator=self.generator, resamples=self.resamples)
        return {"metric": name, "value": found.value, "low": found.low, "high": found.high}


def overview(table: pd.DataFrame) -> pd.DataFrame:
    """A table of intervals at a glance: the test set's values, keys down, metrics across."""
    shown = select(table, set="test") if "set" in table else table
    keys = list(table.columns[: table.columns.get_loc("metric")])
    return shown.pivot_table(index=keys, columns="metric", values="value", sort=False).round(4)


def _parts(key: str | Key) -> Key:
    return key if isinstance(key, tuple) else (key,)


def _quantity(name: str) -> Quantity:
    check_choice(name, "quantity", QUANTITIES)
    return QUANTITIES[name]
