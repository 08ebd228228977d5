"""A statement of the documents that the project began with, held against what was measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from .claim import Number, filled, is_true, values_of

#: What may be said of a promise: its expression is true, or false, or it can't be tested here.
VERDICTS = {"holds": "holds", "fails": "does not hold", "open": "not tested"}


@dataclass(frozen=True, kw_only=True)
class Promise:
    """A quantitative statement, what was measured of it, and whether it holds.

    Parameters
    ----------
    id : str
    source : str
        The document that makes it.
    text : str
        What it says.
    verdict : {"holds", "fails", "open"}
    measured : str
        What was measured; ``{name}`` stands for a number.
    numbers : dict of str to Number
    holds : str
        An expression of the numbers that is true if the statement holds; empty if it is not tested.
    why : str
        Why it is not tested, or what else there is to say.
    """

    id: str
    source: str
    text: str
    verdict: str
    measured: str = ""
    numbers: dict[str, Number] = field(default_factory=dict)
    holds: str = ""
    why: str = ""

    def finding(self, root: Path) -> str:
        """What was measured, its numbers put in, and what there is to say of it."""
        return " ".join(part for part in (filled(self.measured, self.numbers, root), self.why) if part)

    def wrong(self, root: Path) -> str:
        """What is wrong with the verdict; empty if the results bear it out."""
        try:
            self.finding(root)
            if self.verdict == "open":
                return ""
            values = values_of(self.numbers, root)
            true = is_true(self.holds, values)
            return "" if true == (self.verdict == "holds") else f"{self.holds} is {true} for {values}"
        except (ValueError, OSError) as error:
            return str(error)
