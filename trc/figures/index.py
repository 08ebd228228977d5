"""``figures/index.yml``: which function makes which figure or table of the paper from which results."""

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
from ..tables import latex, markdown
from . import ablations, iteration, longer, paper, sketches, tables, weights
from .style import save

FUNCTIONS: dict[str, Callable[..., Figure | pd.DataFrame]] = {
    "methods": paper.methods,
    "distance": paper.distance,
    "refinement": iteration.refinement,
    "iterates": iteration.iterates,
    "learning": paper.learning,
    "architecture": sketches.architecture,
    "two_levels": sketches.two_levels,
    "comparison": tables.comparison,
    "contrasts": tables.contrasts,
    "feedback": ablations.feedback,
    "iteration_curves": ablations.iteration_curves,
    "arithmetic": ablations.arithmetic,
    "cycles": tables.cycles,
    "process_weight": weights.process_weight,
    "weight_table": tables.weight_table,
    "sizes": ablations.sizes,
    "size_costs": tables.size_costs,
    "untrained": ablations.untrained,
    "convergence": longer.convergence,
    "stability": longer.stability,
    "rates": tables.rates,
}


@dataclass(frozen=True)
class Entry:
    """A line of the index.

    Parameters
    ----------
    name : str
        File name of the figure or table, without suffix; it begins with the number in the paper, as ``fig1_`` does.
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

    @property
    def number(self) -> str:
        """``fig1`` or ``table1``."""
        return self.name.partition("_")[0]


def read_index(root: Path) -> list[Entry]:
    """All entries of ``figures/index.yml``, checked."""
    path = require_file(root / "figures" / "index.yml", "index of figures", "restore it with git")
    try:
        rows = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not YAML ({' '.join(str(error).split())}).") from None
    known = {f.name for f in fields(Entry)}
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) and set(row) == known for row in rows):
        raise ValueError(f"{path} must be a list of entries with exactly {', '.join(sorted(known))}.")
    for row in rows:
        texts = [row[key] for key in ("name", "function", "page", "tier")]
        perhaps = [row[key] for key in ("experiment", "notebook") if row[key] is not None]
        if not isinstance(row["tables"], list) or not all(
            isinstance(v, str) for v in [*texts, *perhaps, *row["tables"]]
        ):
            raise ValueError(f"{path}: the entry {row['name']!r} must hold text, and a list of tables.")
        if row["tables"] and row["experiment"] is None:
            raise ValueError(f"{path}: {row['name']} has tables, but no experiment that made them.")
    entries = [Entry(**row) for row in rows]
    names = [name for entry in entries for name in (entry.name, entry.number)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{path} has {', '.join(twice)} twice.")
    for entry in entries:
        check_choice(entry.function, "function of figures/index.yml", FUNCTIONS)
        if not re.fullmatch(r"(fig|table)\d+_\w+", entry.name):
            raise ValueError(f"{path}: a name is like fig1_methods or table1_comparison, got {entry.name!r}.")
        if set(entry.tables) != set(signature(FUNCTIONS[entry.function]).parameters):
            wanted = ", ".join(signature(FUNCTIONS[entry.function]).parameters) or "none"
            raise ValueError(f"{path}: {entry.function} needs the tables {wanted}, got {entry.tables}.")
    return entries


def draw(entry: Entry, root: Path) -> list[Path]:
    """Make one figure or table in ``figures/`` with a ``.json`` beside it that names its inputs."""
    inputs: dict[str, pd.DataFrame] = {}
    record: dict[str, Any] = {
        "function": f"{FUNCTIONS[entry.function].__module__}.{entry.function}",
        "notebook": entry.notebook,
        "command": f"make figures ONLY={entry.number}",
        "inputs": {},
        "commit": None,
    }
    if entry.experiment is not None:
        manifest = read_manifest(entry.experiment, root)
        inputs = {name: read_table(entry.experiment, f"{name}.csv", root) for name in entry.tables}
        record["commit"] = manifest["run"]["commit"]  # of the sources that made the inputs, never HEAD
        record["inputs"] = {
            f"results/{entry.experiment}/{name}.csv": manifest["tables"][f"{name}.csv"] for name in entry.tables
        }
    try:
        made = FUNCTIONS[entry.function](**inputs)
    except KeyError as error:
        raise ValueError(f"a table of {entry.name} lacks the column {error}; run its experiment again.") from None
    stem = root / "figures" / entry.name
    if isinstance(made, pd.DataFrame):
        content = (list(made.columns), made.to_numpy().tolist(), 2)
        paths = [
            write_text(stem.with_suffix(suffix), write(*content) + "\n")
            for suffix, write in ((".md", markdown), (".tex", latex))
        ]
    else:
        paths = save(made, stem)
    text = json.dumps(record, indent=2, sort_keys=True) + "\n"
    return [*paths, write_text(stem.with_suffix(".json"), text)]
