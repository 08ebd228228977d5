"""Make the paper's figures and tables, and their index: ``python -m trc.artifact.figures [NAME …]``.

Each has the same bytes every time, and a ``.json`` beside it that names its inputs.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd

from ...common.files import write_text
from ...common.provenance import project_root
from ...common.text import latex, markdown
from ...plots import save_vector
from ..program import program
from ..results import read_manifest, read_table
from .registry import Entry, index, paper_entries


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


@program("trc.artifact.figures")
def main(arguments: list[str] | None) -> int:
    """Draw the named figures, or all."""
    about = (__doc__ or "").partition(":")[0] + "."
    parser = argparse.ArgumentParser(prog="python -m trc.artifact.figures", description=about)
    about = "names (fig1_methods) or numbers (fig1); all by default"
    parser.add_argument("names", nargs="*", metavar="NAME", help=about)
    wanted = set(parser.parse_args(arguments).names)
    mpl.use("agg")
    root, entries = project_root(), paper_entries()
    if unknown := wanted - {name for entry in entries for name in (entry.name, entry.number)}:
        known = ", ".join(entry.name for entry in entries)
        raise ValueError(f"there is no figure {', '.join(sorted(unknown))}; there are {known}.")
    for entry in entries:
        if not wanted or {entry.name, entry.number} & wanted:
            for path in draw(entry, root):
                print(path.relative_to(root))
    path = root / "figures" / "index.yml"
    if not path.is_file() or path.read_bytes() != index().encode():  # what is as it was keeps its time
        write_text(path, index())
    return 0


if __name__ == "__main__":
    sys.exit(main())
