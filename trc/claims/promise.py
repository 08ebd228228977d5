"""A statement of the documents that the project began with, held against what was measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from .claim import Number, filled, is_true, values_of

#: What may be said of a promise: that it is true, or false, that the data can't tell, or that nothing here tests it.
VERDICTS = {"holds": "holds", "fails": "does not hold", "undecided": "can't tell", "open": "not tested"}


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
    verdict : {"holds", "fails", "undecided", "open"}
    measured : str
        What was measured; ``{name}`` stands for a number.
    numbers : dict of str to Number
    holds : str
        An expression of the numbers that is true if the statement holds; empty if it is not tested.
    fails : str
        An expression that is true if it does not hold; by default, that the other one is false.
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
    fails: str = ""
    why: str = ""

    def finding(self, root: Path) -> str:
        """What was measured, its numbers put in, and what there is to say of it."""
        return " ".join(part for part in (filled(self.measured, self.numbers, root), self.why) if part)

    def judged(self, root: Path) -> str:
        """The verdict that the committed results give."""
        if not self.holds:
            return "open"
        values = values_of(self.numbers, root)
        if is_true(self.holds, values):
            return "holds"
        return "fails" if not self.fails or is_true(self.fails, values) else "undecided"

    def wrong(self, root: Path) -> str:
        """What is wrong with the verdict; empty if the results bear it out."""
        try:
            self.finding(root)
            found = self.judged(root)
            return "" if found == self.verdict else f"by {values_of(self.numbers, root)} it {VERDICTS[found]}"
        except (ValueError, OSError) as error:
            return str(error)
