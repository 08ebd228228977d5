"""The paper's tables, one function a table: tidy tables in, a table of text out."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from ..tables import interval, number, percent, times
from .style import FORMS, METHODS, PROBLEM_TITLES, VARIANTS, cycles_label, label

#: Evaluation sets and questions as the tables call them.
SETS = {"test": "1 ×", "wide": "1.5 ×", "wider": "2 ×"}
QUESTIONS = {
    "feedback_cloned": "feedback, when cloned",
    "feedback_supervised": "feedback, when process-supervised",
    "process_with_feedback": "process supervision, with feedback",
    "process_without_feedback": "process supervision, without feedback",
    "network_over_lqr": "network with feedback, for saturated LQR",
}


def comparison(summary: pd.DataFrame) -> pd.DataFrame:
    """Success, terminal error and gap to the optimum of every method, with 95 % intervals.

    Parameters
    ----------
    summary : DataFrame
        ``problem, set, method, metric, value, low, high``; the set ``test`` is shown.
    """
    test = summary[summary["set"] == "test"].set_index(["problem", "method", "metric"])
    rows = []
    for problem in dict.fromkeys(summary["problem"]):
        for method in [name for name in METHODS if (problem, name, "gap") in test.index]:
            success, error, gap = (
                test.loc[(problem, method, metric)] for metric in ("success", "terminal_error", "gap")
            )

            rows.append(
                {
                    "problem": PROBLEM_TITLES[problem],
                    "method": label(method),
                    "success": _with_interval(success, lambda value: percent(value, 1)),
                    "mean terminal error": _with_interval(error, number),
                    "cost above the optimum's": _with_interval(gap, _share(gap["value"])),
                }
            )
    return _without_repeats(pd.DataFrame(rows), "problem")


def contrasts(contrasts: pd.DataFrame) -> pd.DataFrame:
    """What feedback, process supervision and the network change in the gap, by distance.

    Parameters
    ----------
    contrasts : DataFrame
        ``problem, set, contrast, metric, value, low, high``.
    """
    found = contrasts.set_index(["problem", "contrast", "set", "metric"])
    rows = []
    for problem in dict.fromkeys(contrasts["problem"]):
        for question, text in QUESTIONS.items():
            row = {"problem": PROBLEM_TITLES[problem], "what is changed": text}
            for name, title in SETS.items():
                change = found.loc[(problem, question, name, "gap")]
                sure = change["low"] > 0 or change["high"] < 0
                row[f"gap, {title}"] = _with_interval(change, _change) + ("" if sure else " ?")
            rows.append(row)
    return _without_repeats(pd.DataFrame(rows), "problem")


def weight_table(summary: pd.DataFrame) -> pd.DataFrame:
    """What each form and weight of the loss gives: answer, first guess, monotone share and success.

    Parameters
    ----------
    summary : DataFrame
        ``problem, set, size, form, weight, metric, value, low, high``; the set ``test`` is shown.
    """
    test = summary[summary["set"] == "test"]
    found = test.set_index(["problem", "size", "form", "weight", "metric"])
    rows = []
    kinds = test.groupby(["problem", "size", "form"], sort=False)["weight"]
    for problem, size, form, weight in ((*kind, weight) for kind, some in kinds for weight in sorted(set(some))):
        gap, first, monotone, success = (
            found.loc[(problem, size, form, weight, metric)]
            for metric in ("gap", "first_gap", "monotone_share", "success")
        )
        rows.append(
            {
                "problem": PROBLEM_TITLES[problem],
                "loss": ("" if size == "small" else f"{size} network, ")
                + (FORMS[form][0] if weight else "cloning alone"),
                "weight": f"{weight:g}",
                "cost above the optimum's": _with_interval(gap, _share(gap["value"])),
                "first guess": _with_interval(first[["value", "low", "high"]] + 1, times),
                "never rising": percent(monotone["value"], 1),
                "success": percent(success["value"], 1),
            }
        )
    return _without_repeats(pd.DataFrame(rows), "problem", "loss")


def cycles(summary: pd.DataFrame, networks: pd.DataFrame) -> pd.DataFrame:
    """Networks of more and fewer cycles, and plain ones: what they cost and what they reach.

    Parameters
    ----------
    summary : DataFrame
        ``problem, variant, metric, value, low, high``.
    networks : DataFrame
        ``problem, variant, parameters, flops``.
    """
    return _networks(summary, networks, cycles_label)


def size_costs(summary: pd.DataFrame, networks: pd.DataFrame) -> pd.DataFrame:
    """Networks of several sizes: what they cost and what they reach.

    Parameters
    ----------
    summary : DataFrame
        ``problem, set, variant, metric, value, low, high``; the set ``test`` is shown.
    networks : DataFrame
        ``problem, variant, parameters, flops``.
    """
    return _networks(summary[summary["set"] == "test"], networks, lambda variant: variant.replace("-", " "))


def rates(gaps: pd.DataFrame) -> pd.DataFrame:
    """Mean gap to the teacher on held-out instances, by kind of network and learning rate; the least is in brackets.

    Parameters
    ----------
    gaps : DataFrame
        ``problem, variant, rate, seed, gap``.
    """
    mean = gaps.groupby(["problem", "variant", "rate"], sort=False)["gap"].mean().unstack()
    rows = []
    for (problem, variant), found in mean.iterrows():
        row = {"problem": PROBLEM_TITLES[problem], "network": VARIANTS[variant][0]}
        for rate, gap in found.items():
            row[f"rate {rate:g}"] = f"[{_share(gap)(gap)}]" if gap == found.min() else _share(gap)(gap)
        rows.append(row)
    return _without_repeats(pd.DataFrame(rows), "problem")


def _networks(summary: pd.DataFrame, networks: pd.DataFrame, name: Callable[[str], str]) -> pd.DataFrame:
    found = summary.set_index(["problem", "variant", "metric"])
    rows = []
    for _, network in networks.iterrows():
        gap, success = (found.loc[(network["problem"], network["variant"], metric)] for metric in ("gap", "success"))
        rows.append(
            {
                "problem": PROBLEM_TITLES[network["problem"]],
                "network": name(network["variant"]),
                "thousand parameters": number(network["parameters"] / 1e3, 3),
                "million operations": number(network["flops"] / 1e6, 2),
                "cost above the optimum's": _with_interval(gap, _share(gap["value"])),
                "success": _with_interval(success, lambda value: percent(value, 1)),
            }
        )
    return _without_repeats(pd.DataFrame(rows), "problem")


def _share(gap: float) -> Callable[[float], str]:
    """How to write a gap and the ends of its interval: 787 % says less than 7.87 times."""
    return times if gap >= 2 else lambda value: percent(value, 2 if gap >= 0.001 else 3)


def _change(value: float) -> str:
    """A difference of gaps in percentage points, with its sign."""
    text = number(100 * value, 2)
    return text if value < 0 else f"+{text}"


def _with_interval(row: pd.Series, show: Callable[[float], str]) -> str:
    spread = "" if row["low"] == row["high"] else f" ({interval(row['low'], row['high'], show)})"
    return show(row["value"]) + spread


def _without_repeats(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """The table with what a column repeats from the row above left out."""
    return table.assign(**{name: table[name].mask(table[name] == table[name].shift(), "") for name in columns})
