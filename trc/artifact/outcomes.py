"""From what happened to every instance under every seed to tidy tables: one row a seed, intervals, paired contrasts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Self

import pandas as pd
import torch
from torch import Tensor

from ..common.checks import check_choice
from ..evaluation.statistics import bootstrap, interquartile_mean, ratio_of_means
from .rows import select

#: Metrics ``[S, N]`` of one way to choose controls: a row a seed, a column an instance.
Outcome = dict[str, Tensor]

#: What a table is keyed by, for example ``(problem, method)``.
Key = tuple[str | int | float, ...]


def as_key(parts: str | Key) -> Key:
    """Parts of a key as a tuple, also where there is only one."""
    return parts if isinstance(parts, tuple) else (parts,)


@dataclass(frozen=True)
class Quantity:
    """A number read off an outcome: a statistic of some of its metrics, which it gets stacked, ``[q, S, N]``."""

    metrics: tuple[str, ...]
    statistic: Callable[[Tensor], Tensor]

    def of(self, outcome: Outcome) -> Tensor:
        """The stacked metrics ``[q, S, N]``."""
        return torch.stack([outcome[metric] for metric in self.metrics])

    def difference(self, stacked: Tensor) -> Tensor:
        """The statistic of one outcome's metrics minus that of another's, which come stacked: ``[2 q, S, N]``."""
        first, second = stacked.split(len(self.metrics))
        return self.statistic(first) - self.statistic(second)

    def value(self, outcome: Outcome, seed: int | None = None) -> float:
        """The number over all seeds, or of one row alone."""
        values = self.of(outcome)
        return self.statistic(values if seed is None else values[:, seed : seed + 1]).item()


def _interquartile_mean(values: Tensor) -> Tensor:
    return interquartile_mean(values[0])


def _of_seeds(values: Tensor) -> Tensor:
    """The interquartile mean of the gaps that the seeds have each, of costs and optimal costs ``[2, S, N]``."""
    first, second = values.mean(-1)
    return interquartile_mean((first / second - 1).unsqueeze(-1))


def _quantile(share: float) -> Callable[[Tensor], Tensor]:
    """Of the gaps of all instances."""
    return lambda values: (values[0] / values[1] - 1).flatten().quantile(share)


#: Quantities by name. ``gap`` is to the optimum, ``first`` of the first guess, ``reduction`` the share of the mean cost
#: that the last refinement took off; an interquartile mean says so in its name. ``gap_of_seeds`` is that of the seeds'
#: gaps, which a single bad instance still counts in.
QUANTITIES: dict[str, Quantity] = {
    "gap": Quantity(("cost", "optimal_cost"), ratio_of_means),
    "gap_of_seeds": Quantity(("cost", "optimal_cost"), _of_seeds),
    "gap_median": Quantity(("cost", "optimal_cost"), _quantile(0.5)),
    "gap_p99": Quantity(("cost", "optimal_cost"), _quantile(0.99)),
    "gap_iqm": Quantity(("cost", "optimal_cost"), lambda values: interquartile_mean(values[0] / values[1] - 1)),
    "first_gap": Quantity(("first_cost", "optimal_cost"), ratio_of_means),
    "success": Quantity(("success",), torch.mean),
    "terminal_error": Quantity(("terminal_error",), torch.mean),
    "terminal_error_iqm": Quantity(("terminal_error",), _interquartile_mean),
    "cost": Quantity(("cost",), torch.mean),
    "cost_iqm": Quantity(("cost",), _interquartile_mean),
    "reduction": Quantity(("cost", "previous_cost"), lambda values: -ratio_of_means(values)),
    "control_mse": Quantity(("control_mse",), torch.mean),
    "monotone_share": Quantity(("monotone",), torch.mean),
}


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
            self._row(key) | {"seed": seed, "metric": name, "value": quantity.value(found, i)}
            for key, found in self.by_key.items()
            for i, seed in enumerate(self.seeds[: len(found["cost"])])
            for name, quantity in _called(quantities)
        ]
        return pd.DataFrame(rows)

    def intervals(self, quantities: Sequence[str]) -> pd.DataFrame:
        """Columns of the key, ``metric, value, low, high``: 95 % bootstrap intervals over seeds and instances."""
        rows = [
            self._row(key) | self._interval(name, quantity.of(found), quantity.statistic)
            for key, found in self.by_key.items()
            for name, quantity in _called(quantities)
        ]
        return pd.DataFrame(rows)

    def contrasts(
        self, questions: Mapping[str, tuple[str | Key, str | Key]], quantities: Sequence[str], label: str = "contrast"
    ) -> pd.DataFrame:
        """What is changed by doing one thing and not another, everything else alike: a table of `differences`.

        A question is the last parts of two keys, one minus the other; its label stands for them.
        """
        (size,) = {len(as_key(side)) for sides in questions.values() for side in sides}
        pairs = {
            (*common, name): ((*common, *as_key(one)), (*common, *as_key(other)))
            for common in dict.fromkeys(key[:-size] for key in self.by_key)
            for name, (one, other) in questions.items()
        }
        return self.differences(pairs, (*self.names[:-size], label), quantities)

    def against(self, *references: str | Key, quantities: Sequence[str]) -> pd.DataFrame:
        """Every outcome minus that whose key ends like a reference; with several references, one after the other."""
        several = len(references) > 1
        pairs = {}
        for key in self.by_key:
            for reference in map(as_key, references):
                other = (*key[: -len(reference)], *reference)
                if other != key:
                    pairs[(*key, *reference) if several else key] = (key, other)
        names = (*self.names, "against") if several else self.names
        return self.differences(pairs, names, quantities)

    def differences(
        self, pairs: Mapping[Key, tuple[Key, Key]], names: Sequence[str], quantities: Sequence[str]
    ) -> pd.DataFrame:
        """Columns `names`, ``metric, value, low, high``: the first outcome's quantity minus the second's, paired.

        `pairs` has the keys of two outcomes for a row's key, whose parts are called `names`. Both are drawn on the same
        seeds and instances. Where the interval holds 0, the data can't tell them apart.
        """
        rows = []
        for key, (one, other) in pairs.items():
            first, second = self[one], self[other]
            for name, quantity in _called(quantities):
                values = torch.cat(torch.broadcast_tensors(quantity.of(first), quantity.of(second)))
                rows.append(dict(zip(names, key, strict=True)) | self._interval(name, values, quantity.difference))
        return pd.DataFrame(rows)

    def _row(self, key: Key) -> dict[str, object]:
        return dict(zip(self.names, key, strict=True))

    def _interval(self, name: str, values: Tensor, statistic: Callable[[Tensor], Tensor]) -> dict[str, object]:
        found = bootstrap(values, statistic=statistic, generator=self.generator, resamples=self.resamples)
        return {"metric": name, **asdict(found)}


def overview(table: pd.DataFrame) -> pd.DataFrame:
    """A table of intervals at a glance: the test set's values, keys down, metrics across."""
    shown = select(table, set="test") if "set" in table else table
    keys = list(table.columns[: table.columns.get_loc("metric")])
    return shown.pivot_table(index=keys, columns="metric", values="value", sort=False).round(4)


def _called(names: Sequence[str]) -> list[tuple[str, Quantity]]:
    for name in names:
        check_choice(name, "quantity", QUANTITIES)
    return [(name, QUANTITIES[name]) for name in names]
