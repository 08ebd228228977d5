"""Numbers and tables as the book prints them: from results to text, rounded in one place."""

import math
from collections.abc import Callable, Sequence

import pandas as pd

_SPACE = "\N{NO-BREAK SPACE}"
_MINUS = "\N{MINUS SIGN}"
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def percent(value: float, digits: int = 2) -> str:
    """A share as a percentage: 0.00364 becomes ``0.36 %``."""
    return f"{100 * value:z.{digits}f}{_SPACE}%".replace("-", _MINUS)


def share(value: float, digits: int = 2) -> str:
    """A share as a percentage with `digits` significant digits: 0.0000123 becomes ``0.0012 %``."""
    return f"{number(100 * value, digits)}{_SPACE}%"


def number(value: float, digits: int = 3) -> str:
    """A number with `digits` significant digits, in plain notation where that stays short."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}".replace("-", _MINUS)
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")  # rounded first, so that 99.96 becomes 100
    if not -4 <= int(exponent) < 6:
        power = str(int(exponent)).translate(_RAISED)
        return f"{mantissa}{_SPACE}×{_SPACE}10{power}".replace("-", _MINUS)
    decimals = max(0, digits - 1 - int(exponent))
    return f"{value:,.{decimals}f}".replace("-", _MINUS).replace(",", _SPACE)


def count(value: float, decimals: int = 0) -> str:
    """A large number in full: ``2 604 062``."""
    return f"{value:z,.{decimals}f}".replace("-", _MINUS).replace(",", _SPACE)


def times(value: float) -> str:
    """A ratio: ``7.87 ×``."""
    return f"{number(value)}{_SPACE}×"


def interval(low: float, high: float, show: Callable[[float], str] = number) -> str:
    """An interval as ``low … high``, kept on one line; the unit stands beside the value, not here again."""
    ends = [show(end).removesuffix(f"{_SPACE}%").removesuffix(f"{_SPACE}×") for end in (low, high)]
    return f"{_SPACE}…{_SPACE}".join(ends)


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """A Markdown table, the first columns (`left` of them) left and the others right aligned."""
    lines = [columns, [*["---"] * left, *["---:"] * (len(columns) - left)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def latex(columns: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """The same as a LaTeX ``tabular`` with the rules of the package booktabs."""
    layout = "l" * left + "r" * (len(columns) - left)
    text = pd.DataFrame(rows, columns=columns).to_latex(index=False, column_format=layout).rstrip()
    for sign, command in {"%": r"\%", "×": r"$\times$", _MINUS: "$-$", "…": r"\dots{}", _SPACE: "~"}.items():
        text = text.replace(sign, command)
    return text
