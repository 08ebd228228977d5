"""The figures and tables of the paper and the book: each is registered by a decorator where it is written."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from inspect import signature
from typing import TypeVar

import pandas as pd
import yaml
from matplotlib.figure import Figure

from ...common.checks import check_choice, check_count
from ...common.registry import Registry
from ...plots import style

F = TypeVar("F", bound=Callable[..., Figure | pd.DataFrame])

_HEADER = (
    "# The paper's figures and tables, numbered as in the paper (the book counts its own), as their decorators say:\n"
    "# name -> function of trc.artifact.figures, results, notebook, page, tier. Written by `make figures`.\n"
)


@dataclass(frozen=True)
class Entry:
    """A figure or table and where it belongs: a line of ``figures/index.yml``, the function, and its place."""

    name: str  # of its files, like fig1_methods
    function: str
    experiment: str | None  # a drawing has none
    tables: list[str]
    notebook: str | None
    page: str
    tier: str
    make: Callable[..., Figure | pd.DataFrame]
    place: int

    @property
    def number(self) -> str:
        """``fig1`` or ``table1``."""
        return self.name.partition("_")[0]

    @property
    def path(self) -> str:
        """Full name of its function."""
        return f"{self.make.__module__}.{self.function}"


#: All by the name of their function.
FIGURES: Registry[Entry] = Registry("figure or table")


def figure(
    number: int, name: str = "", *, page: str, experiment: str | None = None, tier: str = "headline"
) -> Callable[[F], F]:
    """Register a function that draws, and have it draw in the house style.

    `number` is the paper's, `name` what its files are called behind it (as the function by default), `page` what shows
    it, for example ``book/comparison``. The function's arguments are the tables ``results/EXPERIMENT/ARGUMENT.csv``.
    `tier` is ``"headline"`` or ``"ablations"``. What makes no sense, or is taken, is a ``ValueError``.
    """
    return lambda function: _add(style()(function), "fig", number, name, page, experiment, tier)


def table(number: int, name: str = "", *, page: str, experiment: str, tier: str = "headline") -> Callable[[F], F]:
    """Register a function that makes a table of text, as :func:`figure` does one that draws."""
    return lambda function: _add(function, "table", number, name, page, experiment, tier)


def _add(make: F, kind: str, place: int, title: str, page: str, experiment: str | None, tier: str) -> F:
    function, tables = make.__name__, list(signature(make).parameters)
    name = f"{kind}{check_count(place, f'the number of {function}')}_{title or function}"
    notebook = experiment and f"notebooks/{experiment}.ipynb"
    check_choice(tier, "tier", ("headline", "ablations"))
    if not name.isidentifier():
        raise ValueError(f"a figure's or table's name is like two_levels, got {title!r}.")
    if tables and experiment is None:
        raise ValueError(f"{name} has tables, but no experiment that made them.")
    entry = Entry(name, function, experiment, tables, notebook, page, tier, make, place)
    for other in FIGURES.values():
        if other.number == entry.number and other.path != entry.path:
            raise ValueError(f"there is a {entry.number} already ({other.path}); choose another number.")
    FIGURES.add(function, entry, written=make)
    return make


def paper_entries() -> list[Entry]:
    """All in the paper's order: its figures, then its tables, by number."""
    return sorted(FIGURES.values(), key=lambda entry: (entry.name.startswith("table"), entry.place))


def index() -> str:
    """The text of ``figures/index.yml``."""
    columns = [column.name for column in fields(Entry)][:-2]
    rows = [{column: getattr(entry, column) for column in columns} for entry in paper_entries()]
    return _HEADER + yaml.safe_dump(rows, sort_keys=False, default_flow_style=None)
