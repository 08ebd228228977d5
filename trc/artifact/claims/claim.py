"""A statement that the committed results bear out, or not, and the numbers that it rests on."""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import Formatter

import numpy as np
import pandas as pd

from ...common.checks import check_choice, check_types
from ...common.text import count, number, percent, share
from ..results import read_table
from ..rows import select

#: How a number is written, by name; the digits follow the name in ``claims.yml``, those after the point for a count or
#: a percentage, but for a share. Points are of a percentage, a drop are points below, and a gap of 3 is fold 4.
SHOWN: dict[str, Callable[[float, int], str]] = {
    "number": number,
    "count": count,
    "percent": percent,
    "share": share,
    "points": lambda value, digits: number(100 * value, digits),
    "drop": lambda value, digits: number(-100 * value, digits),
    "fold": lambda value, digits: number(1 + value, digits),
}

#: How several rows become one number.
TAKEN = {"max": pd.Series.max, "min": pd.Series.min, "mean": pd.Series.mean, "median": pd.Series.median}


@dataclass(frozen=True, kw_only=True)
class Number:
    """A number of the committed results."""

    table: str  # experiment/table
    row: str  # the values of its first columns, in their order, as words of a shell; * is any
    column: str = "value"
    take: str | None = None  # how several rows become one number; without it exactly one must fit
    show: str = "number 3"  # how it is written, and the digits

    def __post_init__(self) -> None:
        check_types(self)
        how, _, digits = self.show.partition(" ")
        check_choice(how, "way to show a number", SHOWN)
        if not digits.isdecimal() or (how not in ("percent", "count") and digits == "0"):
            raise ValueError(f"show must be a way and the digits, as in percent 2, got {self.show!r}.")
        if self.take is not None:
            check_choice(self.take, "way to take several rows", TAKEN)

    def value(self, root: Path) -> float:
        """The number in the committed results; a ``ValueError`` if the row does not single it out."""
        experiment, _, name = self.table.partition("/")
        timed = name == "timings" or experiment == "bench"  # no manifest records times
        table, words = read_table(experiment, f"{name}.csv", root, check=not timed), shlex.split(self.row)
        where = {column: word for column, word in zip(table.columns, words, strict=False) if word != "*"}
        rows = table.loc[select(table[list(where)].astype(str), **where).index]
        if len(words) > table.shape[1]:
            rows = rows[:0]
        if self.column not in rows or rows.empty or (len(rows) > 1 and self.take is None):
            asked = f"the row {self.row!r}, column {self.column!r},"
            raise ValueError(f"{asked} fits {len(rows)} rows of results/{self.table}.csv.")
        values = rows[self.column]
        if not pd.api.types.is_numeric_dtype(values):
            raise ValueError(f"the column {self.column!r} of results/{self.table}.csv holds no numbers.")
        return float(TAKEN[self.take](values) if self.take else values.iloc[0])

    def text(self, value: float) -> str:
        """The number as it is written."""
        how, digits = self.show.split()
        return SHOWN[how](value, int(digits))


#: What may be said of a claim: that it is true, or false, that the data can't tell, or that nothing here tests it.
VERDICTS = {"holds": "holds", "fails": "does not hold", "undecided": "can't tell", "open": "not tested"}


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A statement, the book's own or one that was announced, and the verdict that its numbers must give."""

    id: str
    page: str  # that says it
    text: str = ""  # what was measured, as the page says it; {name} stands for a number
    numbers: dict[str, Number] = field(default_factory=dict)
    holds: str = ""  # an expression of the numbers that is true if the statement holds; empty if it is not tested
    fails: str = ""  # one that is true if it does not hold; by default, that the other one is false
    verdict: str = "holds"
    why: str = ""  # why it is not tested, or what else there is to say
    source: str = ""  # the document that announced it; empty for what the book says itself
    says: str = ""  # in which words it was announced
    readme: bool = False  # whether the README's table lists it

    def __post_init__(self) -> None:
        check_types(self)
        check_choice(self.verdict, "verdict", VERDICTS)
        if (self.verdict == "open") == bool(self.holds) or (self.verdict == "open" and not self.why):
            raise ValueError("a verdict needs an expression in holds, and one that is open the reason in why.")
        if not (self.text or self.why) or bool(self.source) != bool(self.says):
            raise ValueError("a claim needs its text, and one that was announced its source and what that says.")
        named = {name for _, name, _, _ in Formatter().parse(self.text) if name is not None}
        if unknown := named - set(self.numbers):
            names = ", ".join(sorted(unknown)) or "a number without a name"
            raise ValueError(f"the text names {names}, which is none of its numbers.")

    @property
    def kind(self) -> str:
        """What is checked: of the book a claim, of what was announced the verdict."""
        return "verdict" if self.source else "claim"

    def values(self, root: Path) -> dict[str, float]:
        """Its numbers in the committed results, by name."""
        return {name: one.value(root) for name, one in self.numbers.items()}

    def sentence(self, root: Path) -> str:
        """What the book says, with the numbers put in as they are written, and what else there is to say."""
        texts = {name: self.numbers[name].text(value) for name, value in self.values(root).items()}
        return " ".join(part for part in (self.text.format(**texts), self.why) if part)

    def wrong(self, root: Path) -> str:
        """What is wrong with it; empty if the committed results give its verdict."""
        try:
            self.sentence(root)
            values = self.values(root)
            found = self._verdict(values)
        except (ValueError, OSError) as error:
            return str(error)
        is_so = "true" if found == "holds" else "false"
        return "" if found == self.verdict else f"{self.holds} is {is_so} for {values}: it {VERDICTS[found]}"

    def _verdict(self, values: Mapping[str, float]) -> str:
        if not self.holds:
            return "open"
        if _is_true(self.holds, values):
            return "holds"
        return "fails" if not self.fails or _is_true(self.fails, values) else "undecided"


def _is_true(expression: str, values: Mapping[str, float]) -> bool:
    try:
        found = pd.eval(expression, engine="python", local_dict=dict(values), global_dict={})
    except Exception as error:  # pandas raises many kinds for what it can't read
        raise ValueError(f"the expression {expression!r} can't be evaluated ({error}).") from None
    if not isinstance(found, bool | np.bool_):
        raise ValueError(f"the expression {expression!r} is no comparison; write < or > in place of not.")
    return bool(found)
