"""Bad input is one clear sentence, and what the README shows runs; each room's own tests have most of it."""

import re
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import torch
from nbformat.v4 import new_code_cell, new_notebook

import trc
from trc.artifact import results, runner
from trc.artifact.figures.__main__ import main as figures_main
from trc.common import text

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
DI = trc.make_problem("double_integrator")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: trc.costate("v", torch.zeros(2, 2), torch.zeros(2, 15, 1), torch.zeros(2, 2)), "must be a Problem"),
        (lambda: trc.costate(DI, torch.zeros(2, 2), torch.zeros(2, 15, 1), torch.zeros(2, 2).double()), "convert one"),
        (lambda: trc.generate_dataset("v", 3, seed=0), "must be a Problem"),
        (lambda: trc.generate_dataset(DI, 3, seed=2**64), "seed must be below"),
        (lambda: trc.generate_dataset(DI, 3, seed=0, jobs=1.5), "jobs must be a whole number"),
        (lambda: trc.generate_dataset(DI, 3, seed=0, expert="oracle"), "unknown expert 'oracle'; known are "),
        (lambda: trc.evaluation_set(DI, "train"), "unknown evaluation set 'train'; known are test, wide, wider"),
        (lambda: trc.aggregate({"cost": torch.ones(4)}, torch.ones(3)), r"reference_cost must have shape \[4\]"),
    ],
)
def test_what_is_not_expected_is_said_in_a_sentence(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert str(error.value).endswith(".")


def test_numbers_at_the_edges():
    assert (text.number(99.96), text.number(999.6)) == ("100", "1\N{NO-BREAK SPACE}000")
    assert text.number(float("nan")) == "nan"
    assert text.percent(-1e-9).startswith("0.00")


# The runner and the figures


@pytest.fixture
def root(tmp_path, monkeypatch):
    for name in ("book/claims.yml", "notebooks/t.ipynb", "figures/index.yml"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(root, *cells):
    kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in cells], metadata={"kernelspec": kernel})
    notebook.cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(notebook, root / "notebooks" / "t.ipynb")
    return root / "notebooks" / "t.ipynb"


@pytest.mark.parametrize(
    ("cells", "arguments", "message"),
    [
        (["preset='smoke'", "import os; os._exit(1)"], [], "the kernel of t.ipynb died"),
        (["preset='smoke'", "raise ValueError('a\\nb')"], [], "failed in cell 3: ValueError: a b"),
        (["preset='smoke'\nx=1", "1"], ["-p", "x", ": : ["], "'x' of t.ipynb must be of type int, got ': : ['"),
        (["preset='smoke'\nx=[1]", "1"], [], "must assign plain scalars only"),
    ],
)
def test_runner_ends_with_status_2_and_one_line(root, capsys, cells, arguments, message):
    assert runner.main([str(write(root, *cells)), *arguments]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("trc.artifact.runner: ") and message in last


@pytest.mark.parametrize("value", ["010", "1_000", "null", "true", "1e3", "1:30"])
def test_text_given_to_the_runner_stays_text(root, value):
    assert runner.check_parameters(write(root, "preset='smoke'\nseeds=''"), {"seeds": value})["seeds"] == value


def test_notebook_runs_from_anywhere_but_not_without_its_kernel(root, monkeypatch, tmp_path_factory, capsys):
    path = write(root, "preset='smoke'\nresults_dir=''", "1")
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert runner.main([str(path)]) == 0
    notebook = nbformat.read(path, 4)
    notebook.metadata.clear()
    nbformat.write(notebook, path)
    assert runner.main([str(path)]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("trc.artifact.runner: ")


def test_figure_of_results_without_its_columns_ends_with_status_2(root, capsys):
    results.Record(root / "results" / "comparison").write({"training": pd.DataFrame({"a": [1]})}, parameters={})
    assert figures_main(["fig7_learning"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


# The README


def test_readme_python_runs():
    for block in re.findall(r"```python\n(.*?)```", README, re.S):
        exec(block, {})


def test_what_the_readme_names_exists():
    assert all((ROOT / path).is_file() for path in re.findall(r"\]\((figures/[^)]*)\)", README))
    parameters = set(re.findall(r"-p (\w+) ", README))
    assert parameters <= set(runner.notebook_parameters(ROOT / "notebooks" / "comparison.ipynb"))
