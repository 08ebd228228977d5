import json
import shutil
import subprocess

import pandas as pd
import pytest

from trc.artifact import results
from trc.common.files import sha256
from trc.common.provenance import project_root, source_commit

FRAME = pd.DataFrame({"problem": ["a", "b"], "seed": [0, 1], "value": [1 / 3, float("nan")]})


@pytest.fixture
def folder(root):
    """Results of an experiment called `tiny`."""
    folder = root / "results" / "tiny"
    write(folder, jobs=2)
    return folder


def write(folder, jobs):
    record = results.Record(folder, jobs)
    record.time(phase="training", seconds=0.5)
    record.time(phase="evaluation", seconds=1.5)
    record.write({"runs": FRAME}, parameters={"seeds": [0, 1]})


def test_table_is_written_with_ten_digits_whatever_the_system(tmp_path):
    path = results.write_table(FRAME, tmp_path / "runs.csv")
    assert path.read_bytes() == b"problem,seed,value\na,0,0.3333333333\nb,1,\n"


def test_table_comes_back(folder):
    pd.testing.assert_frame_equal(results.read_table("tiny", "runs.csv"), FRAME, rtol=1e-9)


def test_manifest_says_what_the_tables_hold_and_how_they_were_made(folder):
    manifest = results.read_manifest("tiny")
    assert manifest["parameters"] == {"seeds": [0, 1]}
    assert manifest["tables"] == {"runs.csv": sha256(folder / "runs.csv")}
    assert manifest["run"]["jobs"] == 2
    assert manifest["run"]["seconds"] >= 0
    assert manifest["run"]["commit"] is None  # this project is no git checkout
    assert {"torch", "numpy", "python"} <= set(manifest["packages"])


def test_manifest_records_the_notebook_and_the_files_that_were_read(root):
    (root / "notebooks").mkdir()
    code = {"cell_type": "code", "source": ["x = 1\n", "x"], "metadata": {}}
    words = {"cell_type": "markdown", "source": "# A title"}
    notebook = root / "notebooks" / "tiny.ipynb"
    notebook.write_text(json.dumps({"cells": [words, code]}))
    (root / "read.csv").write_text("a\n1\n")
    record = results.Record(root / "results" / "tiny")
    record.write({"runs": FRAME}, parameters={}, inputs=["read.csv"])
    inputs = results.read_manifest("tiny")["inputs"]
    assert set(inputs) == {"notebooks/tiny.ipynb", "read.csv"}
    assert inputs["read.csv"] == sha256(root / "read.csv")
    picture = code | {"source": "draw(x)", "metadata": {"tags": ["plot"]}}
    for cells in (  # what does not decide the numbers: prose, comments, layout, pictures
        [words | {"source": "# Another"}, code],
        [words, code | {"source": "# one\nx  =  1\nx  # again"}],
        [words, code, picture],
    ):
        notebook.write_text(json.dumps({"cells": cells}))
        assert results.input_digests(root, list(inputs)) == inputs
    notebook.write_text(json.dumps({"cells": [words, code | {"source": "x = 2\nx"}]}))
    assert results.input_digests(root, list(inputs)) != inputs
    with pytest.raises(FileNotFoundError, match=r"missing\.csv"):
        record.write({"runs": FRAME}, parameters={}, inputs=["missing.csv"])


def test_project_is_found_from_inside_and_another_book_is_not_taken_for_it(folder, root, monkeypatch, tmp_path_factory):
    monkeypatch.chdir(folder)
    assert project_root() == root
    assert len(results.read_table("tiny", "runs.csv")) == 2
    another = tmp_path_factory.mktemp("another")
    (another / "_toc.yml").touch()
    monkeypatch.chdir(another)
    with pytest.raises(FileNotFoundError, match=r"no project at or above .* work inside a clone"):
        project_root(another)
    assert project_root() == results.Path(results.__file__).resolve().parents[2]  # that of the library
    assert len(results.read_table("tiny", "runs.csv", root)) == 2


def test_edited_table_is_refused(folder):
    with (folder / "runs.csv").open("a") as file:
        file.write("c,2,0\n")
    with pytest.raises(ValueError, match=r"runs.csv is not the file that its manifest records .*edited.*ONLY=tiny"):
        results.read_table("tiny", "runs.csv")


def test_table_that_no_manifest_records_is_read_on_demand_only(folder):
    with pytest.raises(ValueError, match=r"timings.csv is not the file that its manifest records"):
        results.read_table("tiny", "timings.csv")
    assert len(results.read_table("tiny", "timings.csv", check=False)) == 2


@pytest.mark.parametrize("text", ["", "a,b\n1\n1,2,3\n", b"\xff\xfe"])
def test_file_that_is_no_table_is_refused(folder, text):
    (folder / "timings.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=r"timings\.csv is not a readable table \(.*\); restore it with git, or .*\.$"):
        results.read_table("tiny", "timings.csv", check=False)


@pytest.mark.parametrize("missing", ["runs.csv", "manifest.json"])
def test_missing_file_is_named_with_the_command_that_makes_it(folder, missing):
    (folder / missing).unlink()
    message = rf"no results file at .*{missing}; restore it with git, or .*`make experiments PRESET=paper ONLY=tiny`"
    with pytest.raises(FileNotFoundError, match=message):
        results.read_table("tiny", "runs.csv")


NO_MANIFESTS = ["", "[]", "{}", "\x00", "[" * 100_000, '{"tables": [], "run": {}}', '{"tables": {}}']
NO_MANIFESTS += ['{"tables": {}, "run": ["commit", "seconds"]}']


@pytest.mark.parametrize("text", NO_MANIFESTS, ids=lambda text: repr(text[:40]))
def test_file_that_is_no_manifest_is_refused(folder, text):
    (folder / "manifest.json").write_text(text)
    with pytest.raises(ValueError, match=r"manifest.json is not a manifest; restore it with git"):
        results.read_manifest("tiny")


def test_presets_write_to_their_places_from_everywhere_in_the_project(root, monkeypatch):
    monkeypatch.chdir(root / "book")
    assert results.experiment_folder("tiny", "paper") == root / "results" / "tiny"
    assert results.experiment_folder("tiny", "smoke") == root / "_build" / "smoke" / "tiny"
    assert results.experiment_folder("tiny", "paper", "results") == root / "results" / "tiny"
    assert results.experiment_folder("tiny", "smoke", "/elsewhere") == results.Path("/elsewhere/tiny")
    assert results.experiment_folder("tiny", "smoke", 5) == root / "5" / "tiny"  # as papermill reads `-p results_dir 5`
    assert results.experiment_folder("tiny", "smoke", "out") == root / "out" / "tiny"
    assert results.experiment_folder("tiny", "smoke", results.Path("out")) == root / "out" / "tiny"
    monkeypatch.setenv("HOME", "/home/someone")
    assert results.experiment_folder("tiny", "smoke", "~/out") == results.Path("/home/someone/out/tiny")


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
def test_run_notes_the_commit_and_whether_the_sources_differ_from_it(root):
    def git(*arguments):
        settings = ("-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false")
        return subprocess.run(["git", *settings, *arguments], check=True, capture_output=True, text=True).stdout.strip()

    (root / "trc").mkdir()
    (root / "trc" / "a.py").write_text("1")
    git("init")
    git("add", ".")
    git("commit", "--no-verify", "-m", "first")
    run = results.Record(root)
    assert (run.commit, run.sources_changed) == (git("rev-parse", "HEAD"), False)
    (root / "results.txt").write_text("no source")
    assert results.Record(root).sources_changed is False
    (root / "trc" / "a.py").write_text("2")
    assert results.Record(root).sources_changed is True


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
def test_commit_is_never_that_of_another_repository(root, monkeypatch, tmp_path_factory):
    def git(*arguments, cwd=root):
        settings = ("-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *settings, *arguments], cwd=cwd, check=True, capture_output=True)

    unpacked = root / "unpacked"  # from an archive, inside a repository
    shutil.copytree(root / "book", unpacked / "book")
    (unpacked / "trc").mkdir()
    (unpacked / "trc" / "a.py").write_text("1")
    git("init")
    for tracked in ("book", "unpacked"):  # whether that one keeps a copy of the project or not
        git("add", tracked)
        git("commit", "--no-verify", "-m", tracked)
        monkeypatch.chdir(unpacked)
        assert source_commit() == (None, None)
    monkeypatch.chdir(root)
    assert source_commit() == (None, None)  # this one has no sources
    another = tmp_path_factory.mktemp("another")
    git("init", cwd=unpacked)
    git("init", cwd=another)
    git("commit", "--no-verify", "--allow-empty", "-m", "no sources", cwd=another)
    monkeypatch.chdir(unpacked)
    monkeypatch.setenv("GIT_DIR", str(another / ".git"))  # as in a hook of git's
    assert source_commit() == (None, None)  # nothing is committed yet
    monkeypatch.delenv("GIT_DIR")
    git("add", ".", cwd=unpacked)
    git("commit", "--no-verify", "-m", "first", cwd=unpacked)
    mine = source_commit()
    monkeypatch.setenv("GIT_DIR", str(another / ".git"))
    assert source_commit() == mine and mine[1] is False and len(mine[0]) == 40


def test_manifest_is_the_same_but_for_the_run(folder):
    first = json.loads((folder / "manifest.json").read_text())
    write(folder, jobs=1)
    second = json.loads((folder / "manifest.json").read_text())
    assert first["run"] != second["run"]
    assert first | {"run": None} == second | {"run": None}


@pytest.mark.parametrize(("seeds", "expected"), [("", [0, 1]), (3, [3]), (0, [0]), ("0, 2", [0, 2])])
def test_seeds_may_be_a_number_a_list_or_the_default(seeds, expected):
    assert results.parse_seeds(seeds, "0,1") == expected


@pytest.mark.parametrize("seeds", ["x", "0,0", "-1", "1.5", "None", ","])
def test_bad_seeds_are_refused(seeds):
    with pytest.raises(ValueError, match="seeds must be different whole numbers"):
        results.parse_seeds(seeds, "0")


@pytest.mark.parametrize("place", ["results", "results/../results"])
def test_trial_never_writes_over_committed_results(root, place):
    with pytest.raises(ValueError, match="results/ holds the paper preset's results; name another results_dir"):
        results.experiment_folder("tiny", "smoke", place)


def test_record_that_could_not_be_written_is_refused_at_once(root):
    (root / "taken").touch()
    with pytest.raises(OSError, match="can't make the folder"):
        results.Record(root / "taken" / "tiny")
