"""A sentence of the book that can be false, and the numbers that it rests on."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..results import read_table
from ..tables import count, number, percent

#: How a number is written, by name; the digits follow the name in ``claims.yml``, those after the point for a count or
#: a percentage. Points are of a percentage, and a gap of 3 is written as fold 4.
SHOWN: dict[str, Callable[[float, int], str]] = {
    "number": number,
    "count": count,
    "percent": percent,
    "points": lambda value, digits: number(100 * value, digits),
    "fold": lambda value, digits: number(1 + value, digits),
}

#: How several rows become one number.
TAKEN = {"max": pd.Series.max, "min": pd.Series.min, "mean": pd.Series.mean}


@dataclass(frozen=True, kw_only=True)
class Number:
    """A number of a claim: where it stands in the results, and how it is written.

    Parameters
    ----------
    table : str
        ``experiment/table``.
    row : str
        The values of the table's first columns, in their order, as words of a shell; ``*`` is any.
    column : str
    take : {"max", "min", "mean"}, optional
        What to take of several rows; without it exactly one must fit.
    show : str
        A name of ``SHOWN`` and the digits.
    """

    table: str
    row: str
    column: str = "value"
    take: str | None = None
    show: str = "number 3"

    def value(self, root: Path) -> float:
        """The number in the committed results.

        Raises
        ------
        ValueError
            If the row does not single it out.
        """
        experiment, _, name = self.table.partition("/")
        timed = name == "timings" or experiment == "bench"  # no manifest records times
        rows = read_table(experiment, f"{name}.csv", root, check=not timed)
        words = shlex.split(self.row)
        for column, wanted in zip(rows.columns, words, strict=False):
            rows = rows[(rows[column].astype(str) == wanted) | (wanted == "*")]
        if len(words) > rows.shape[1]:
            rows = rows[:0]
        if self.column not in rows or rows.empty or (len(rows) > 1 and self.take is None):
            raise ValueError(
                f"the row {self.row!r}, column {self.column!r}, fits {len(rows)} rows of results/{self.table}.csv."
            )
        values = rows[self.column]
        if not pd.api.types.is_numeric_dtype(values):
            raise ValueError(f"the column {self.column!r} of results/{self.table}.csv holds no numbers.")
        return float(TAKEN[self.take](values) if self.take else values.iloc[0])

    def text(self, value: float) -> str:
        """The number as it is written."""
        how, digits = self.show.split()
        return SHOWN[how](value, int(digits))


def values_of(numbers: Mapping[str, Number], root: Path) -> dict[str, float]:
    """Numbers by name."""
    return {name: wanted.value(root) for name, wanted in numbers.items()}


def filled(text: str, numbers: Mapping[str, Number], root: Path) -> str:
    """A text with its numbers put in, as they are written."""
    return text.format(**{name: numbers[name].text(value) for name, value in values_of(numbers, root).items()})


def is_true(expression: str, values: Mapping[str, float]) -> bool:
    """Whether an expression of numbers holds.

    Raises
    ------
    ValueError
        If it can't be evaluated, or is no comparison.
    """
    try:
        found = pd.eval(expression, engine="python", local_dict=dict(values), global_dict={})
    except Exception as error:  # pandas raises many kinds for what it can't read
        raise ValueError(f"the expression {expression!r} can't be evaluated ({error}).") from None
    if not isinstance(found, bool | np.bool_):
        raise ValueError(f"the expression {expression!r} is no comparison; write < or > in place of not.")
    return bool(found)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A sentence of the book that can be false.

    Parameters
    ----------
    id : str
    page : str
        The page that says it.
    text : str
        The sentence; ``{name}`` stands for a number.
    numbers : dict of str to Number
    holds : str
        An expression of the numbers that must be true.
    readme : bool
        Whether the README's table lists it.
    """

    id: str
    page: str
    text: str
    numbers: dict[str, Number]
    holds: str
    readme: bool = False

    def sentence(self, root: Path) -> str:
        """The claim as the book says it, its numbers put in."""
        return filled(self.text, self.numbers, root)

    def is_true(self, root: Path) -> bool:
        """Whether the expression holds for the committed results."""
        return is_true(self.holds, values_of(self.numbers, root))

    def wrong(self, root: Path) -> str:
        """What is wrong with the claim; empty if it holds."""
        try:
            self.sentence(root)
            return "" if self.is_true(root) else f"{self.holds} is false for {values_of(self.numbers, root)}"
        except (ValueError, OSError) as error:
            return str(error)
