import inspect
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import pytest
import yaml
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex

from trc import figures
from trc.figures.__main__ import main
from trc.files import sha256
from trc.results import Run, read_manifest, write_manifest, write_table

ROOT = Path(__file__).resolve().parent.parent
ENTRIES = figures.read_index(ROOT)
each_entry = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
mpl.use("agg")

PROBLEMS = ("double_integrator", "van_der_pol")


def tables():
    """A small table of each kind that an experiment writes."""
    names = list(figures.METHODS)
    metrics = ("terminal_error_iqm", "cost_iqm")
    runs = [(p, m, s, k, 1.0 + i + s) for p in PROBLEMS for i, m in enumerate(names) for s in (0, 1) for k in metrics]
    summary = [(p, m, k, 1.5 + i, 1.0 + i, 2.5 + i) for p in PROBLEMS for i, m in enumerate(names) for k in metrics]
    steps = [("lqr", 0), ("cloned_feedback", 0), ("cloned_feedback", 1)]
    trajectories = [
        (p, m, n, k, t / 10, 1.0 - t / 3, n - t / 4, 0.25, 0.75, None if t == 3 else 0.5 * t + k)
        for p in PROBLEMS
        for n in (3, 8)
        for m, k in steps
        for t in range(4)
    ]
    training = [
        (p, m, s, e, split, (s + 1) / (e + 1))
        for p in PROBLEMS
        for m in ("cloned", "cloned_feedback")
        for s in (0, 1)
        for e in range(3)
        for split in ("train", "validation")
    ]
    state = ["time", "state_0", "state_1", "target_0", "target_1", "control_0"]
    columns = {
        "runs": (runs, ["problem", "method", "seed", "metric", "value"]),
        "summary": (summary, ["problem", "method", "metric", "value", "low", "high"]),
        "trajectories": (trajectories, ["problem", "method", "instance", "iterate", *state]),
        "training": (training, ["problem", "method", "seed", "epoch", "split", "loss"]),
    }
    return {name: pd.DataFrame(rows, columns=header) for name, (rows, header) in columns.items()}


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A project with the real index and small results."""
    (tmp_path / "_toc.yml").touch()
    (tmp_path / "figures").mkdir()
    shutil.copy(ROOT / "figures" / "index.yml", tmp_path / "figures")
    for experiment in {entry.experiment for entry in ENTRIES} - {None}:
        folder = tmp_path / "results" / experiment
        for name, table in tables().items():
            one = table[table["problem"] == PROBLEMS[0]]  # half the panels, half the time
            write_table(one, folder / f"{name}.csv")
        run = Run(commit="c0ffee", sources_changed=False, jobs=1, started=0.0)
        write_manifest(folder, parameters={}, tables=[f"{name}.csv" for name in tables()], run=run)
    monkeypatch.chdir(tmp_path)
    return tmp_path


# The index


def test_names_of_figures_are_distinct_file_names():
    names = [entry.name for entry in ENTRIES]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z0-9_]+", name) for name in names)


@each_entry
def test_entry_names_what_is_there(entry):
    pages = (ROOT / "_toc.yml").read_text()
    assert f"file: {entry.page}\n" in pages + "\n", f"the page {entry.page} is not in _toc.yml"
    assert entry.tier in ("headline", "ablations")
    assert list(inspect.signature(figures.FUNCTIONS[entry.function]).parameters) == entry.tables
    if entry.experiment is None:
        assert entry.notebook is None and not entry.tables
    else:
        assert entry.notebook == f"notebooks/{entry.experiment}.ipynb"
        assert (ROOT / entry.notebook).is_file()


def test_every_function_of_the_paper_is_used():
    assert {entry.function for entry in ENTRIES} == set(figures.FUNCTIONS)


@pytest.mark.parametrize("entry", [e for e in ENTRIES if e.experiment], ids=lambda entry: entry.name)
def test_committed_figure_was_drawn_from_the_committed_results(entry):
    if not (ROOT / "results" / entry.experiment / "manifest.json").is_file():
        pytest.skip(f"there are no results of {entry.experiment} yet")
    sidecar = ROOT / "figures" / f"{entry.name}.json"
    assert sidecar.is_file(), f"{entry.name} is not drawn: run `make figures`"
    recorded = yaml.safe_load(sidecar.read_text())["inputs"]
    now = read_manifest(entry.experiment, ROOT)["tables"]
    expected = {f"results/{entry.experiment}/{name}.csv": now[f"{name}.csv"] for name in entry.tables}
    assert recorded == expected, "the results have changed since: run `make figures`"


GOOD = {**vars(ENTRIES[0])}


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ([{**GOOD, "function": "sparkle"}], "unknown function of figures/index.yml 'sparkle'; known are methods"),
        ([{**GOOD, "colour": "red"}], "must be a list of entries with exactly"),
        ([{"name": "a"}], "must be a list of entries with exactly experiment, function"),
    ],
)
def test_bad_entry_ends_with_status_2_and_one_line(root, capsys, index, message):
    (root / "figures" / "index.yml").write_text(yaml.safe_dump(index))
    assert main([]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert error.startswith("trc.figures: ") and error.count("\n") == 1


def test_unknown_figure_ends_with_status_2_and_draws_nothing(root, capsys):
    assert main(["fig9_nothing", ENTRIES[0].name]) == 2
    assert capsys.readouterr().err.startswith(
        "trc.figures: there is no figure fig9_nothing; figures/index.yml has fig1"
    )
    assert [path.name for path in (root / "figures").iterdir()] == ["index.yml"]


def test_missing_results_end_with_status_2_and_the_command_that_makes_them(root, capsys):
    shutil.rmtree(root / "results")
    assert main([]) == 2
    assert "make experiments PRESET=paper ONLY=first_light" in capsys.readouterr().err


# Drawing


def test_figures_repeat_byte_for_byte_and_name_their_inputs(root, capsys):
    assert main([]) == 0
    first = {path.name: path.read_bytes() for path in (root / "figures").iterdir()}
    environment = os.environ | {"PYTHONHASHSEED": "1", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", "trc.figures"], env=environment, check=True, capture_output=True)
    second = {path.name: path.read_bytes() for path in (root / "figures").iterdir()}
    assert set(first) == {"index.yml"} | {f"{e.name}.{s}" for e in ENTRIES for s in ("svg", "pdf", "json")}
    assert [name for name in first if first[name] != second[name]] == []
    assert capsys.readouterr().out.count(".svg\n") == len(ENTRIES)
    for entry in ENTRIES:
        record = yaml.safe_load(first[f"{entry.name}.json"])
        paths = [f"results/{entry.experiment}/{table}.csv" for table in entry.tables]
        assert record["inputs"] == {path: sha256(root / path) for path in paths}
        assert record["commit"] == ("c0ffee" if entry.experiment else None)
    assert not plt.get_fignums()


def test_one_figure_is_drawn_by_name(root):
    chosen = next(entry.name for entry in ENTRIES if entry.function == "architecture")
    assert main([chosen]) == 0
    drawn = {path.name for path in (root / "figures").iterdir()} - {"index.yml"}
    assert drawn == {f"{chosen}.svg", f"{chosen}.pdf", f"{chosen}.json"}


def test_style_is_gone_after_drawing(tmp_path):
    before = dict(mpl.rcParams)
    figures.save(figures.learning(tables()["training"]), tmp_path / "a")
    assert dict(mpl.rcParams) == before


def test_each_method_has_its_own_colour():
    colours = [figures.color(method) for method in figures.METHODS]
    assert len(set(colours)) == len(colours)
    assert figures.label("lqr") == "saturated LQR"


def test_methods_shows_every_run_and_interval():
    frames = tables()
    figure = figures.methods(frames["runs"], frames["summary"])
    ax = figure.axes[0]  # double integrator, terminal error
    assert [tick.get_text() for tick in ax.get_yticklabels()] == [figures.label(m) for m in reversed(figures.METHODS)]
    points = [line for line in ax.lines if line.get_marker() == "o"]
    bars = [line for line in ax.lines if line.get_linewidth() == 5]
    by_colour = {to_hex(figures.color(m)): i for i, m in enumerate(figures.METHODS)}
    assert len(points) == len(bars) == len(figures.METHODS)
    for line in points:
        assert list(line.get_xdata()) == [1.0 + by_colour[to_hex(line.get_color())] + s for s in (0, 1)]
    for line in bars:
        assert list(line.get_xdata()) == [
            by_colour[to_hex(line.get_color())] + 1.0,
            by_colour[to_hex(line.get_color())] + 2.5,
        ]
    plt.close(figure)


def test_learning_shows_the_validation_loss_of_every_seed():
    figure = figures.learning(tables()["training"])
    assert len(figure.axes) == len(PROBLEMS)
    for ax in figure.axes:
        assert len(ax.lines) == 4  # two methods, two seeds
        assert {tuple(line.get_ydata()) for line in ax.lines} == {(1, 1 / 2, 1 / 3), (2, 1, 2 / 3)}
        assert all(list(line.get_xdata()) == [1, 2, 3] for line in ax.lines)
    plt.close(figure)


def test_iterates_shows_the_teacher_and_every_refinement():
    figure = figures.iterates(tables()["trajectories"])
    controls, phase = figure.axes[0], figure.axes[2]
    assert [line.get_label() for line in controls.lines] == ["saturated LQR", "first guess", "refinement 1"]
    for line, k in zip(controls.lines, (0, 0, 1), strict=True):
        assert list(line.get_ydata()) == [0.5 * t + k for t in range(3)]  # the final state has no control
    assert sum(len(line.get_xdata()) == 4 for line in phase.lines) == 2 * 3  # two instances
    crosses = [line.get_xydata().tolist() for line in phase.lines if line.get_marker() == "+"]
    assert crosses == [[[0.25, 0.75]]] * 2  # the target, not where the trajectory ends
    plt.close(figure)


def test_gains_shows_one_line_a_state():
    rows = [(p, t, s, t + i) for p in PROBLEMS for i, s in enumerate(("position", "velocity")) for t in range(3)]
    figure = figures.gains(pd.DataFrame(rows, columns=["problem", "time", "state", "gain"]))
    for ax in figure.axes:
        assert [list(line.get_ydata()) for line in ax.lines] == [[0, 1, 2], [1, 2, 3]]
    plt.close(figure)


def test_phase_portrait_shows_every_trajectory():
    grid = [(p, x, y, y, -x) for p in PROBLEMS for x in range(-2, 3) for y in range(-2, 3)]
    field = pd.DataFrame(grid, columns=["problem", "state_0", "state_1", "rate_0", "rate_1"])
    rows = [(p, i, i + t / 2, -t / 2, 9.0, 9.0) for p in PROBLEMS for i in (0, 1) for t in range(4)]
    trajectories = pd.DataFrame(rows, columns=["problem", "instance", "state_0", "state_1", "target_0", "target_1"])
    figure = figures.phase_portrait(field, trajectories, 5.0)
    for ax in figure.axes:
        drawn = [list(line.get_xdata()) for line in ax.lines if len(line.get_xdata()) == 4]
        assert drawn == [[0, 0.5, 1, 1.5], [1, 1.5, 2, 2.5]]
    plt.close(figure)
