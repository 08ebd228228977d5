"""``figures/index.yml``: which function draws which figure from which results."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from inspect import signature
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from matplotlib.figure import Figure

from ..checks import check_choice
from ..files import require_file, write_text
from ..results import read_manifest, read_table
from . import iterates, paper, sketches
from .style import save

FUNCTIONS: dict[str, Callable[..., Figure]] = {
    "methods": paper.methods,
    "distance": paper.distance,
    "refinement": iterates.refinement,
    "iterates": iterates.iterates,
    "learning": paper.learning,
    "architecture": sketches.architecture,
    "two_levels": sketches.two_levels,
}


@dataclass(frozen=True)
class Entry:
    """A line of the index.

    Parameters
    ----------
    name : str
        File name of the figure, without suffix.
    function : str
        One of ``FUNCTIONS``.
    experiment : str or None
        Whose results it draws; None for a drawing.
    tables : list of str
        Names of the CSV files, without suffix; they are the function's arguments.
    notebook, page : str or None
        Where the results come from, and the page that shows the figure.
    tier : str
        ``headline`` or ``ablations``.
    """

    name: str
    function: str
    experiment: str | None
    tables: list[str]
    notebook: str | None
    page: str
    tier: str


def read_index(root: Path) -> list[Entry]:
    """All entries of ``figures/index.yml``, checked."""
    path = require_file(root / "figures" / "index.yml", "index of figures", "restore it with git")
    try:
        rows = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML ({' '.join(str(error).split())}).") from None
    known = {f.name for f in fields(Entry)}
    if not isinstance(rows, list) or not all(isinstance(row, dict) and set(row) == known for row in rows):
        raise ValueError(f"{path} must be a list of entries with exactly {', '.join(sorted(known))}.")
    entries = [Entry(**row) for row in rows]
    for entry in entries:
        check_choice(entry.function, "function of figures/index.yml", FUNCTIONS)
        if not re.fullmatch(r"\w+", entry.name):
            raise ValueError(f"{path}: a figure's name has letters, digits and _ only, got {entry.name!r}.")
        if set(entry.tables) != set(signature(FUNCTIONS[entry.function]).parameters):
            wanted = ", ".join(signature(FUNCTIONS[entry.function]).parameters) or "none"
            raise ValueError(f"{path}: {entry.function} needs the tables {wanted}, got {entry.tables}.")
    return entries


def draw(entry: Entry, root: Path) -> list[Path]:
    """Draw one figure into ``figures/`` with a ``.json`` beside it that names its inputs."""
    tables: dict[str, pd.DataFrame] = {}
    record: dict[str, Any] = {
        "function": f"trc.figures.{entry.function}",
        "notebook": entry.notebook,
        "command": f"make figures ONLY={entry.name}",
        "inputs": {},
        "commit": None,
    }
    if entry.experiment is not None:
        manifest = read_manifest(entry.experiment, root)
        tables = {name: read_table(entry.experiment, f"{name}.csv", root) for name in entry.tables}
        record["commit"] = manifest["run"]["commit"]  # of the sources that made the inputs, never HEAD
        record["inputs"] = {
            f"results/{entry.experiment}/{name}.csv": manifest["tables"][f"{name}.csv"] for name in entry.tables
        }
    try:
        figure = FUNCTIONS[entry.function](**tables)
    except KeyError as error:
        raise ValueError(f"a table of {entry.name} lacks the column {error}; run its experiment again.") from None
    paths = save(figure, root / "figures" / entry.name)
    text = json.dumps(record, indent=2, sort_keys=True) + "\n"
    return [*paths, write_text(root / "figures" / f"{entry.name}.json", text)]
