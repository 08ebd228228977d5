"""Run an experiment's notebook with papermill, strictly: ``python -m trc.artifact.runner notebooks/NAME.ipynb``.

papermill only warns about a parameter that the notebook does not have and goes on with the defaults. Here that is
an error, and so is a value of another type. The executed notebook goes beside the results, its paths and
timestamps scrubbed, so that the same run gives the same file.
"""

import argparse
import ast
import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
import papermill
import yaml
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from ..common.files import make_folder_of, require_file, write_text
from ..common.provenance import project_root
from .presets import PRESETS
from .program import program
from .results import experiment_folder


def notebook_parameters(path: Path) -> dict[str, Any]:
    """Names and default values of a notebook's parameters, the first cell tagged ``parameters``."""
    require_file(path, "notebook", "name one of notebooks/*.ipynb")
    try:
        found = papermill.inspect_notebook(str(path))
    except Exception as error:  # papermill raises many kinds for a file that is no notebook
        raise ValueError(f"{path} is not a notebook ({type(error).__name__}); name one of notebooks/*.ipynb.") from None
    if not found:
        raise ValueError(f"{path} has no cell tagged 'parameters'; tag its first code cell.")
    try:
        values = {name: ast.literal_eval(one["default"]) for name, one in found.items()}
        if not all(isinstance(value, str | int | float) for value in values.values()):
            raise ValueError("a value is no scalar")
    except (SyntaxError, ValueError):
        raise ValueError(f"{path}: the cell tagged 'parameters' must assign plain scalars only.") from None
    return values


def check_parameters(path: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """`given` with its values in the types of the notebook's defaults; text is read as YAML where none is wanted."""
    defaults = notebook_parameters(path)
    checked = {}
    for name, value in given.items():
        if name not in defaults:
            raise ValueError(f"{path.name} has no parameter {name!r}; it has {', '.join(defaults)}.")
        wanted = type(defaults[name])
        if wanted is str:
            value = str(value)
        elif isinstance(value, str):
            with contextlib.suppress(yaml.YAMLError):  # what can't be read stays text, and is refused below
                value = yaml.safe_load(value)
        if wanted is float and type(value) is int:
            value = float(value)
        if type(value) is not wanted:
            raise ValueError(f"parameter {name!r} of {path.name} must be of type {wanted.__name__}, got {value!r}.")
        checked[name] = value
    return {"preset": defaults.get("preset"), **checked}


def run(path: str | Path, parameters: Mapping[str, Any]) -> Path:
    """Execute a notebook, whose name is the experiment's, and put the executed copy beside its results; its path.

    A ``ValueError`` on bad parameters, or when a cell fails (the message says which and why).
    """
    parameters, path = check_parameters(Path(path), parameters), Path(path).resolve()
    folder = experiment_folder(path.stem, parameters["preset"], parameters.get("results_dir", ""), root=path.parent)
    make_folder_of(folder / path.name)  # before hours of work that could not be written
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read by the kernel that is started next
    os.environ["JUPYTER_PATH"] = str(
        Path(sys.prefix) / "share" / "jupyter"
    )  # this Python's kernel, whatever else is there
    kernel = {"kernel_name": "python3", "language": "python", "cwd": str(path.parent), "stderr_file": sys.stderr}
    kernel["extra_arguments"] = ["--IPKernelApp.log_level=CRITICAL"]  # it reports an interrupt with a traceback
    with tempfile.TemporaryDirectory() as scratch:
        executed = Path(scratch) / path.name
        try:
            papermill.execute_notebook(str(path), str(executed), parameters=parameters, **kernel)
        except DeadKernelError:
            raise ValueError(f"the kernel of {path.name} died; is there enough memory?") from None
        except PapermillExecutionError as error:
            raise ValueError(f"{path.name} failed in cell {error.exec_count}: {error.ename}: {error.evalue}") from None
        notebook = scrub(nbformat.read(executed, as_version=4))
    return write_text(folder / path.name, nbformat.writes(notebook) + "\n")


def scrub(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Drop what differs from run to run: papermill's paths and times, cells' timestamps, and progress bars."""
    for key in ("input_path", "output_path", "start_time", "end_time", "duration"):
        notebook.metadata.get("papermill", {}).pop(key, None)
    notebook.metadata.get("language_info", {}).pop("version", None)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return notebook


@program("trc.artifact.runner", again="models that are done are kept, run it again to go on")
def main(arguments: list[str] | None) -> int:
    """Run the notebook that the command's arguments name."""
    parser = argparse.ArgumentParser(
        prog="python -m trc.artifact.runner", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("notebook", help="notebooks/NAME.ipynb")
    parser.add_argument("--preset", help=f"{' or '.join(PRESETS)} (default: the notebook's own)")
    about = "a parameter of the notebook's first cell; the value is YAML"
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help=about)
    parser.add_argument("--jobs", type=int, help="processes of one thread each, for a notebook that trains models")
    options = parser.parse_args(arguments)
    parameters: dict[str, Any] = dict(options.p)
    if options.preset is not None:
        parameters["preset"] = options.preset
    if options.jobs is not None and "jobs" in notebook_parameters(Path(options.notebook)):
        parameters["jobs"] = options.jobs
    executed = run(options.notebook, parameters)
    root = project_root(Path(options.notebook).resolve().parent)
    print(f"wrote {executed.relative_to(root) if executed.is_relative_to(root) else executed}")
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as with Ctrl-C: nothing is left behind
    sys.exit(main())
