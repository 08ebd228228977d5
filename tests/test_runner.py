import json

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from trc.artifact import runner

PARAMETERS = 'preset = "smoke"\nseeds = ""\ncount = 2  # how many\nrate = 0.5\nresults_dir = ""'
WORK = "import sys\nprint(count, repr(seeds), rate)\nprint('noise', file=sys.stderr)"


@pytest.fixture
def write(root):
    """A function that writes a notebook of code cells, the first one tagged."""
    (root / "notebooks").mkdir()

    def notebook(*sources, tag="parameters"):
        cells = [new_markdown_cell("# Title"), *map(new_code_cell, sources)]
        cells[1].metadata["tags"] = [tag]
        kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
        path = root / "notebooks" / "tiny.ipynb"
        nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
        return path

    return notebook


@pytest.fixture
def refused(root, capsys):
    """A function that runs a notebook and gives the error; it must end with status 2 and write no file."""

    def files():
        return {path for path in root.rglob("*") if path.is_file()}

    def message(path, *arguments):
        before = files()
        assert runner.main([str(path), *arguments]) == 2
        assert files() == before
        out, error = capsys.readouterr()
        assert out == ""
        return error

    return message


def test_parameters_are_read_from_the_tagged_cell(write):
    found = runner.notebook_parameters(write(PARAMETERS, WORK))
    assert found == {"preset": "smoke", "seeds": "", "count": 2, "rate": 0.5, "results_dir": ""}


def test_values_take_the_type_of_the_default(write):
    path = write(PARAMETERS, WORK)
    assert runner.check_parameters(path, {"rate": 1}) == {"preset": "smoke", "rate": 1.0}
    assert type(runner.check_parameters(path, {"rate": 1})["rate"]) is float
    assert runner.check_parameters(path, {"seeds": 3, "preset": "paper"}) == {"preset": "paper", "seeds": "3"}


@pytest.mark.parametrize("value", ["010", "1_000", "null", "true", "1e3", "1:30"])
def test_text_given_stays_text(write, value):
    assert runner.check_parameters(write(PARAMETERS), {"seeds": value})["seeds"] == value


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-p", "cuont", "3"], "tiny.ipynb has no parameter 'cuont'; it has preset, seeds, count, rate, results_dir."),
        (["-p", "jobs", "2"], "tiny.ipynb has no parameter 'jobs'; it has"),
        (["-p", "count", "1.5"], "parameter 'count' of tiny.ipynb must be of type int, got 1.5."),
        (["-p", "count", "true"], "parameter 'count' of tiny.ipynb must be of type int, got True."),
        (["-p", "count", ": : ["], "parameter 'count' of tiny.ipynb must be of type int, got ': : ['."),
        (["-p", "rate", "fast"], "parameter 'rate' of tiny.ipynb must be of type float, got 'fast'."),
        (["--preset", "big"], "unknown preset 'big'; known are smoke, paper."),
    ],
)
def test_bad_parameters_end_with_status_2_and_one_line_and_write_nothing(write, refused, arguments, message):
    error = refused(write(PARAMETERS, WORK), *arguments)
    assert error.startswith(f"trc.artifact.runner: {message}") and error.count("\n") == 1


@pytest.mark.parametrize(
    ("cell", "tag", "message"),
    [
        (PARAMETERS, "other", "has no cell tagged 'parameters'; tag its first code cell."),
        ("count = open('ran', 'w')", "parameters", "the cell tagged 'parameters' must assign plain scalars only."),
        ("count = [1]", "parameters", "the cell tagged 'parameters' must assign plain scalars only."),
        ("count = 1", "parameters", "unknown preset None; known are smoke, paper."),
    ],
)
def test_bad_first_cell_ends_with_status_2_and_one_line_and_writes_nothing(write, refused, cell, tag, message):
    error = refused(write(cell, tag=tag))
    assert message in error and error.count("\n") == 1


NO_KERNEL = nbformat.writes(new_notebook(cells=[new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})]))


@pytest.mark.parametrize("text", ["hello", '{"cells": 3}', NO_KERNEL], ids=["text", "other json", "no kernel"])
def test_file_that_is_no_notebook_or_names_no_kernel_is_refused(write, refused, text):
    path = write(PARAMETERS)
    path.write_text(text)
    error = refused(path)
    assert "tiny.ipynb is not a notebook (" in error and error.count("\n") == 1


def test_missing_notebook_is_refused(refused):
    message = "no notebook at notebooks/none.ipynb; name one of notebooks/*.ipynb."
    assert refused("notebooks/none.ipynb") == f"trc.artifact.runner: {message}\n"


def test_executed_notebook_lies_beside_its_results_and_repeats_byte_for_byte_from_anywhere(
    root, write, capsys, monkeypatch, tmp_path_factory
):
    path, executed = write(PARAMETERS, WORK), root / "out" / "tiny" / "tiny.ipynb"
    found = []
    for place in (root, tmp_path_factory.mktemp("elsewhere")):
        monkeypatch.chdir(place)
        arguments = ["-p", "count", "5", "-p", "seeds", "0,1", "-p", "results_dir", "out"]
        assert runner.main([str(path), *arguments]) == 0
        assert "wrote out/tiny/tiny.ipynb" in capsys.readouterr().out
        found.append(executed.read_bytes())
        executed.unlink()
    assert found[0] == found[1]
    assert str(root) not in found[0].decode()
    cells = json.loads(found[0])["cells"]
    assert cells[-1]["outputs"] == [{"name": "stdout", "output_type": "stream", "text": ["5 '0,1' 0.5\n"]}]


@pytest.mark.parametrize(
    ("work", "message"),
    [
        ("x = 1\nraise ValueError('a\\nb')", "tiny.ipynb failed in cell 3: ValueError: a b"),
        ("import os; os._exit(1)", "the kernel of tiny.ipynb died; is there enough memory?"),
    ],
)
def test_failing_cell_ends_with_status_2_and_leaves_nothing(write, refused, work, message):
    assert refused(write(PARAMETERS, work)).splitlines()[-1] == f"trc.artifact.runner: {message}"


def test_folder_that_cannot_be_written_is_noticed_before_the_work(root, write, refused):
    (root / "taken").write_text("a file")
    error = refused(write(PARAMETERS, "raise KeyError('work')"), "-p", "results_dir", "taken")
    assert error.startswith("trc.artifact.runner: can't make the folder of ") and error.count("\n") == 1
    assert (root / "taken").read_text() == "a file"


def test_scrubbing_removes_what_differs_from_run_to_run():
    cell = new_code_cell("1", execution_count=1, metadata={"tags": ["keep"], "execution": {"a": "1"}, "papermill": {}})
    cell.outputs = [new_output("stream", name=name, text=name) for name in ("stdout", "stderr")]
    when = {"input_path": "a", "output_path": "b", "start_time": "c", "end_time": "d", "duration": 1.0}
    metadata = {"papermill": when | {"parameters": {"count": 1}}}
    metadata["language_info"] = {"name": "python", "version": "3.11.7"}
    scrubbed = runner.scrub(new_notebook(cells=[cell], metadata=metadata))
    assert scrubbed.metadata == {"papermill": {"parameters": {"count": 1}}, "language_info": {"name": "python"}}
    assert scrubbed.cells[0].metadata == {"tags": ["keep"]}
    assert scrubbed.cells[0].id == "cell-0"
    assert [output.text for output in scrubbed.cells[0].outputs] == ["stdout"]


def test_jobs_go_to_a_notebook_that_has_them_and_no_other_minds(root, write, monkeypatch):
    seen = []
    monkeypatch.setattr(runner, "run", lambda path, parameters: seen.append(parameters) or root / "x")
    for cell in ("preset = 'smoke'", "preset = 'smoke'\njobs = 1"):
        assert runner.main([str(write(cell, "1")), "--jobs", "2"]) == 0
    assert seen == [{}, {"jobs": 2}]
