"""The files of a figure or a table, the same bytes every time, with a ``.json`` beside them that names the inputs."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from ...common.files import write_text
from ...common.text import latex, markdown
from ...plots import save_vector
from ..results import read_manifest, read_table
from .registry import Entry


def draw(entry: Entry, root: Path) -> list[Path]:
    """Make one figure (``.svg`` and ``.pdf``) or table (``.md`` and ``.tex``) of the paper in ``figures/``."""
    record: dict[str, Any] = {"function": entry.path, "notebook": entry.notebook, "inputs": {}, "commit": None}
    record["command"] = f"make figures ONLY={entry.number}"
    inputs: dict[str, pd.DataFrame] = {}
    if entry.experiment is not None:
        manifest = read_manifest(entry.experiment, root)
        record["commit"] = manifest["run"]["commit"]  # of the sources that made the inputs, never HEAD
        for name in entry.tables:
            inputs[name] = read_table(entry.experiment, f"{name}.csv", root)
            record["inputs"][f"results/{entry.experiment}/{name}.csv"] = manifest["tables"][f"{name}.csv"]
    try:
        made = entry.make(**inputs)
    except KeyError as error:
        raise ValueError(f"a table of {entry.name} lacks the column {error}; run its experiment again.") from None
    stem = root / "figures" / entry.name
    if isinstance(made, pd.DataFrame):
        content = (list(made.columns), made.to_numpy().tolist(), 2)
        writers = {".md": markdown, ".tex": latex}
        paths = [write_text(stem.with_suffix(suffix), f"{text(*content)}\n") for suffix, text in writers.items()]
    else:
        paths = save_vector(made, stem)
    text = json.dumps(record, indent=2, sort_keys=True) + "\n"
    return [*paths, write_text(stem.with_suffix(".json"), text)]
