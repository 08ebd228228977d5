"""``figures/index.yml``: which function draws which figure from which results."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from matplotlib.figure import Figure

from ..files import require_file, write_text
from ..results import read_manifest, read_table
from . import paper, sketches
from .style import save

FUNCTIONS: dict[str, Callable[..., Figure]] = {
    "methods": paper.methods,
    "iterates": paper.iterates,
    "learning": paper.learning,
    "architecture": sketches.architecture,
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
    known = {f.name for f in fields(Entry)}
    entries = []
    for row in yaml.safe_load(path.read_text()):
        if set(row) != known:
            raise ValueError(
                f"{path}: an entry needs exactly {', '.join(sorted(known))}, got {', '.join(sorted(row))}."
            )
        if row["function"] not in FUNCTIONS:
            raise ValueError(f"{path}: unknown function {row['function']!r}; known are {', '.join(FUNCTIONS)}.")
        entries.append(Entry(**row))
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
    paths = save(FUNCTIONS[entry.function](**tables), root / "figures" / entry.name)
    text = json.dumps(record, indent=2, sort_keys=True) + "\n"
    return [*paths, write_text(root / "figures" / f"{entry.name}.json", text)]
