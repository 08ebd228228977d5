"""The paper's tables, one function a table: tidy tables in, a table of text out."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from ..tables import interval, number, percent, times
from .style import METHODS, PROBLEM_TITLES, label

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


def _without_repeats(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """The table with each value of a column in its first row only."""
    return table.assign(**{column: table[column].mask(table[column].duplicated(), "")})
