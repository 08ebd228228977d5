"""Tidy results with provenance: CSV files beside a manifest that says how they were made and what they hold."""

import ast
import hashlib
import json
import os
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ..common.checks import as_json, check_choice, plain, shown
from ..common.files import as_path, make_folder_of, readable, require_file, sha256, write_text
from ..common.provenance import package_versions, processor, project_root, source_commit
from .presets import PRESETS

MANIFEST = "manifest.json"


def experiment_folder(name: str, preset: str, results_dir: str | Path = "", root: str | Path | None = None) -> Path:
    """Where an experiment writes: ``results/NAME`` for the paper, ``_build/smoke/NAME`` for a trial.

    `results_dir`, relative to the project's folder, takes the place of ``results`` or ``_build/smoke``; `root` lies in
    the project. A ``ValueError`` if the preset is unknown, or a trial would overwrite committed results.
    """
    check_choice(preset, "preset", PRESETS)
    place = os.fspath(results_dir) if isinstance(results_dir, os.PathLike) else str(results_dir)
    place = place or ("results" if preset == "paper" else "_build/smoke")
    project = project_root(root)
    folder = project / as_path(place) / name
    if preset != "paper" and folder.resolve().is_relative_to(project.resolve() / "results"):
        raise ValueError(f"results/ holds the paper preset's results; name another results_dir for {preset!r}.")
    return folder


def parse_seeds(seeds: int | str | Iterable[int], default: str) -> list[int]:
    """Seeds as a notebook's parameter gives them: ``"0,1,2"``, a number or several, or ``""`` for the default."""
    given = plain(seeds)
    given = default if isinstance(given, str) and not given else given
    if isinstance(given, Iterable) and not isinstance(given, str):
        given = ",".join(str(plain(seed)) for seed in given)
    parts = str(given).replace(" ", "").split(",")
    if not all(part.isdecimal() for part in parts) or len(set(map(int, parts))) < len(parts):
        raise ValueError(f"seeds must be different whole numbers, 0 or more, for example 0,1,2, got {shown(seeds)}.")
    return [int(part) for part in parts]


def write_table(frame: pd.DataFrame, path: str | Path) -> Path:
    """Write a tidy table as CSV, ten significant digits a number."""
    return write_text(path, frame.to_csv(index=False, float_format="%.10g", lineterminator="\n"))


class Record:
    """A run of an experiment on its way to its folder: tables, times, and the manifest that says how they were made.

    Make it first: it notes commit and time, and the sources may change while a long run goes on. The last part of its
    folder, see :func:`experiment_folder`, is the experiment's name; `jobs` are noted in the manifest.
    """

    def __init__(self, folder: str | Path, jobs: int = 1) -> None:
        self.folder, self.jobs = Path(folder), jobs
        make_folder_of(self.folder / MANIFEST)  # before hours of work that could not be written
        self.commit, self.sources_changed = source_commit()
        self._started = time.perf_counter()
        self._timings: list[dict[str, Any]] = []

    def time(self, **row: Any) -> None:
        """Note a row of ``timings.csv``: what took how long. Times are outside every equality check."""
        self._timings.append(row)

    def write(
        self, tables: Mapping[str, pd.DataFrame], *, parameters: Mapping[str, Any], inputs: Sequence[str] = ()
    ) -> Path:
        """Write ``NAME.csv`` for each table, ``timings.csv``, and last ``manifest.json``.

        `parameters` are everything that the numbers depend on, seeds included; `inputs` the files that were read,
        relative to the project, whose SHA-256 is recorded, and that of the notebook's code.
        """
        paths = [write_table(table, self.folder / f"{name}.csv") for name, table in tables.items()]
        if self._timings:
            write_table(pd.DataFrame(self._timings), self.folder / "timings.csv")
        root = project_root()
        run = {"commit": self.commit, "sources_changed": self.sources_changed, "jobs": self.jobs}
        run |= {"seconds": round(time.perf_counter() - self._started, 1), "processor": processor()}
        packages = package_versions("torch", "numpy", "pandas", "matplotlib")
        manifest = {
            "parameters": dict(parameters),
            "tables": {path.name: sha256(path) for path in paths},
            "inputs": input_digests(root, [f"notebooks/{self.folder.name}.ipynb", *inputs]),
            "packages": packages | {"python": platform.python_version()},
            "run": run,
        }
        return write_text(
            self.folder / MANIFEST, json.dumps(manifest, indent=2, sort_keys=True, default=as_json) + "\n"
        )


def input_digests(root: Path, names: Sequence[str]) -> dict[str, str]:
    """SHA-256 of files that a run reads; of a notebook of what decides its numbers alone, see :func:`deciding_code`."""
    found = {}
    for name in names:
        path = root / name
        if path.suffix != ".ipynb":
            found[name] = sha256(path)
        elif path.is_file():
            found[name] = hashlib.sha256(deciding_code(path).encode()).hexdigest()
    return found


def deciding_code(notebook: Path) -> str:
    """A notebook's settings and comparison: its code without comments, layout, and cells that are tagged ``plot``."""
    code = [cell for cell in json.loads(notebook.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]
    deciding = [cell for cell in code if "plot" not in cell["metadata"].get("tags", [])]
    return "\n".join(ast.unparse(ast.parse("".join(cell["source"]))) for cell in deciding)


def read_manifest(experiment: str, root: str | Path | None = None) -> dict[str, Any]:
    """The manifest of an experiment's committed results."""
    path = _require(experiment, MANIFEST, root)
    try:
        manifest = json.loads(path.read_text("utf-8"))
        if not isinstance(manifest["tables"], dict) or not {"commit", "seconds"} <= manifest["run"].keys():
            raise KeyError("tables")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError(f"{path} is not a manifest; {_remedy(experiment)}.") from None
    return manifest


def read_table(experiment: str, table: str, root: str | Path | None = None, *, check: bool = True) -> pd.DataFrame:
    """Read a table of an experiment's committed results, for example ``runs.csv``, as its manifest records it.

    A ``FileNotFoundError`` if it or the manifest is missing, a ``ValueError`` if it is another one; no manifest records
    times, which are read without `check`. `root` is the project's folder, found from the working folder by default.
    """
    path = _require(experiment, table, root)
    recorded = read_manifest(experiment, root)["tables"].get(table)
    if check and recorded != sha256(path):
        wrong = f"{path} is not the file that its manifest records (edited, or of another run)"
        raise ValueError(f"{wrong}; {_remedy(experiment)}.")
    with readable(path, "table", _remedy(experiment)):
        return pd.read_csv(path)


def _require(experiment: str, name: str, root: str | Path | None) -> Path:
    path = (Path(root) if root else project_root()) / "results" / experiment / name
    return require_file(path, "results file", _remedy(experiment))


def _remedy(experiment: str) -> str:
    commands = {name: f"make {name} PRESET=paper" for name in ("bench", "peers")}
    commands["targets"] = "python benchmarks/times.py --write"
    command = commands.get(experiment, f"make experiments PRESET=paper ONLY={experiment}")
    return f"restore it with git, or make it with `{command}`"
