"""The paper's tables, one function a table: tidy tables in, a table of text out."""

from collections.abc import Callable, Mapping
from math import floor, log10
from typing import Any

import pandas as pd

from ...common.text import interval, number, percent, share, times
from ..rows import row_of, select
from .names import COMPARED, FORMS, VARIANTS, present, title
from .names import cycles as cycles_look
from .registry import table

#: Gaps below this are those of the optimum's own accuracy.
ROUNDING = 1e-9

#: Gaps below this are written as powers of ten.
SMALLEST = 1e-7

#: Evaluation sets and questions as the tables call them.
SETS = {"test": "1 ×", "wide": "1.5 ×", "wider": "2 ×"}
QUESTIONS = {
    "deep_over_unrolled": "trained after every refinement instead of unrolled",
    "error_over_none": "terminal error instead of nothing",
    "costate_over_error": "costate instead of terminal error",
    "newton_over_costate": "Newton step instead of costate",
    "error_over_plain": "terminal error instead of a plain network",
    "network_over_lqr": "network with costate instead of saturated LQR",
}


@table(1, page="book/comparison", experiment="comparison")
def comparison(summary: pd.DataFrame) -> pd.DataFrame:
    """Success, terminal error and gap of every method on the test set, by ``problem, set, method, metric``."""
    rows = []
    for problem, some in select(summary, set="test").groupby("problem", sort=False):
        for method, look in present(COMPARED, some["method"]).items():
            found = select(some, method=method).set_index("metric")
            row = {"problem": title(problem), "method": look.title, "success": _success(found)}
            row["mean terminal error"] = _with_interval(found.loc["terminal_error"], number)
            rows.append(row | {"cost above the optimum's": _gap(found)})
    return _without_repeats(rows, "problem")


@table(2, page="book/comparison", experiment="comparison")
def contrasts(contrasts: pd.DataFrame) -> pd.DataFrame:
    """What it changes in the gap to tell a network more, or to have one, by ``problem, set, contrast, metric``."""
    rows = []
    for problem, some in contrasts.groupby("problem", sort=False):
        asked = set(some["contrast"])
        for question, text in QUESTIONS.items():
            if question not in asked:
                continue
            row = {"problem": title(problem), "what is changed": text}
            for name, box in SETS.items():
                change = row_of(contrasts, problem=problem, contrast=question, set=name, metric="gap")
                sure = change["low"] > 0 or change["high"] < 0
                row[f"gap, {box}"] = _with_interval(change, _change) + ("" if sure else " ?")
            rows.append(row)
    return _without_repeats(rows, "problem")


@table(3, "weights", page="book/process_weight", experiment="process_weight", tier="ablations")
def weight_table(summary: pd.DataFrame) -> pd.DataFrame:
    """Answer, first guess and success by loss on the test set, by ``problem, set, size, form, weight, metric``."""
    rows = []
    for (problem, size, form), kind in select(summary, set="test").groupby(["problem", "size", "form"], sort=False):
        for weight, some in kind.groupby("weight"):
            loss, found = FORMS[form].title if weight else "cloning alone", some.set_index("metric")
            network = "" if size == "small" else f"{size} network, "
            row = {"problem": title(problem), "loss": network + loss, "weight": f"{weight:g}"}
            row["cost above the optimum's"] = _gap(found)
            row["first guess"] = _with_interval(found.loc["first_gap", ["value", "low", "high"]] + 1, times)
            row["never rising"] = _tenths(found.at["monotone_share", "value"])
            row["success"] = _tenths(found.at["success", "value"])
            rows.append(row)
    return _without_repeats(rows, "problem", "loss")


@table(4, "iterations", page="book/iterations", experiment="iterations", tier="ablations")
def cycles(summary: pd.DataFrame, networks: pd.DataFrame) -> pd.DataFrame:
    """Networks of more and fewer cycles, and plain ones: what they cost and what they reach.

    By ``problem, variant, metric``; `networks` has ``problem, variant, parameters, flops``.
    """
    return _networks(summary, networks, lambda variant: cycles_look(variant).title)


@table(5, "sizes", page="book/size_ablation", experiment="size_ablation", tier="ablations")
def size_costs(summary: pd.DataFrame, networks: pd.DataFrame) -> pd.DataFrame:
    """Networks of several sizes on the test set, as in :func:`cycles`, by ``problem, set, variant, metric``."""
    return _networks(select(summary, set="test"), networks, lambda variant: variant.replace("-", " "))


@table(6, page="book/convergence", experiment="rates", tier="ablations")
def rates(gaps: pd.DataFrame) -> pd.DataFrame:
    """Mean gap to the teacher on held-out instances, by kind of network and learning rate; the least is in brackets.

    `gaps` has ``problem, variant, rate, seed, gap``.
    """
    mean = gaps.groupby(["problem", "variant", "rate"], sort=False)["gap"].mean().unstack()
    rows = []
    for (problem, variant), found in mean.iterrows():
        row = {"problem": title(problem), "network": VARIANTS[variant].title}
        for rate, gap in found.items():
            row[f"rate {rate:g}"] = f"[{_share(gap)(gap)}]" if gap == found.min() else _share(gap)(gap)
        rows.append(row)
    return _without_repeats(rows, "problem")


def _networks(summary: pd.DataFrame, networks: pd.DataFrame, name: Callable[[str], str]) -> pd.DataFrame:
    rows = []
    for network in networks.itertuples():
        found = select(summary, problem=network.problem, variant=network.variant).set_index("metric")
        row = {"problem": title(network.problem), "network": name(network.variant)}
        row["thousand parameters"] = number(network.parameters / 1e3, 3)
        row["million operations"] = number(network.flops / 1e6, 2)
        rows.append(row | {"cost above the optimum's": _gap(found), "success": _success(found)})
    return _without_repeats(rows, "problem")


def _gap(found: pd.DataFrame) -> str:
    if 0 < abs(found.at["gap", "value"]) < ROUNDING:
        return "< 10⁻⁷ %"
    return _with_interval(found.loc["gap"], _share(found.at["gap", "value"]))


def _success(found: pd.DataFrame) -> str:
    return _with_interval(found.loc["success"], _tenths)


def _tenths(share: float) -> str:
    return percent(share, 1)


def _share(gap: float) -> Callable[[float], str]:
    """How to write a gap and the ends of its interval: 787 % says less than 7.87 times, and 0.00 % nothing."""
    if gap >= 2:
        return times
    if gap < SMALLEST:
        return share
    digits = max(2, 1 - floor(log10(100 * gap)))
    return lambda value: percent(value, digits)


def _change(value: float) -> str:
    """A difference of gaps in percentage points, with its sign."""
    text = number(100 * value, 2)
    return text if value < 0 else f"+{text}"


def _with_interval(row: Mapping[str, Any] | pd.Series, show: Callable[[float], str]) -> str:
    spread = "" if row["low"] == row["high"] else f" ({interval(row['low'], row['high'], show)})"
    return show(row["value"]) + spread


def _without_repeats(rows: list[dict[str, str]], *columns: str) -> pd.DataFrame:
    """A table of these rows; what a column repeats from the row above is left out."""
    table = pd.DataFrame(rows)
    return table.assign(**{name: table[name].mask(table[name] == table[name].shift(), "") for name in columns})
