import ast
from pathlib import Path

import jupytext
import nbformat
import pytest

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
NAMES = sorted({path.stem for path in NOTEBOOKS.glob("*") if path.suffix in (".md", ".ipynb")})
each_name = pytest.mark.parametrize("name", NAMES)


def remedy(name):
    return f"make it again with `jupytext --to ipynb notebooks/{name}.md`"


def read(name):
    assert (NOTEBOOKS / f"{name}.ipynb").is_file(), f"notebooks/{name}.ipynb is missing: {remedy(name)}"
    return nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)


def content(notebook):
    return [(cell.cell_type, cell.source, cell.metadata.get("tags", [])) for cell in notebook.cells]


@each_name
def test_text_and_ipynb_hold_the_same_cells_and_were_executed_for_the_book(name):
    made = f"results/{name}/{name}"
    assert (NOTEBOOKS.parent / f"{made}.ipynb").is_file(), f"run `make experiments PRESET=paper ONLY={name}`"
    assert f"{made}\n" in (NOTEBOOKS.parent / "_toc.yml").read_text(), f"list {made} in _toc.yml, below its page"
    text = jupytext.read(NOTEBOOKS / f"{name}.md")
    assert content(read(name)) == content(text), f"notebooks/{name}.ipynb is not its text twin: {remedy(name)}"


@each_name
def test_ipynb_is_valid_holds_no_outputs_and_runs_on_any_machines_python(name):
    notebook = read(name)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs, f"notebooks/{name}.ipynb holds outputs: {remedy(name)}"
            assert cell.execution_count is None, f"notebooks/{name}.ipynb was executed in place: {remedy(name)}"
    assert notebook.metadata.kernelspec.name == "python3", f"choose the kernel python3, then {remedy(name)}"


@each_name
def test_first_code_cell_holds_the_parameters_as_plain_scalars(name):
    first = next(cell for cell in read(name).cells if cell.cell_type == "code")
    where = f"the first code cell of notebooks/{name}.md"
    assert "parameters" in first.metadata.get("tags", []), f"{where} must have the line `:tags: [parameters]`"
    found = {}
    for statement in ast.parse(first.source).body:
        assert isinstance(statement, ast.Assign), f"{where} must hold `name = scalar` lines only"
        value = ast.literal_eval(statement.value)
        assert isinstance(value, str | int | float | bool), f"{where}: papermill is given scalars, got {value!r}"
        found[statement.targets[0].id] = value
    assert found.get("preset") == "smoke", f"{where} must set preset to smoke"
    assert found.get("results_dir") == "", f"{where} must set results_dir to an empty string"
    trains = any(".train(" in cell.source for cell in read(name).cells)
    assert not trains or "seeds" in found, f"{where} must set seeds: it trains models"
