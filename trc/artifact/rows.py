"""Rows of tidy tables, chosen by the values of their columns."""

from typing import Any

import pandas as pd


def select(frame: pd.DataFrame, **where: object) -> pd.DataFrame:
    """Rows of a tidy table in which every named column has the given value."""
    for column, value in where.items():
        frame = frame[frame[column] == value]
    return frame


def row_of(frame: pd.DataFrame, **where: object) -> dict[str, Any]:
    """The one row of a tidy table that `where` singles out; a ``ValueError`` if none or several rows fit."""
    rows = select(frame, **where)
    if len(rows) != 1:
        raise ValueError(f"{where} fits {len(rows)} rows of the table, expected exactly one.")
    return rows.to_dict("records")[0]


def value_of(frame: pd.DataFrame, column: str = "value", **where: object) -> float:
    """One value of that row."""
    return float(row_of(frame, **where)[column])
