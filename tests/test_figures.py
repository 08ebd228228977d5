import inspect
import itertools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex, to_rgb
from matplotlib.text import Text
from tidy import ablation

from trc import figures, results
from trc.figures.__main__ import main
from trc.figures.style import whiskers
from trc.files import sha256
from trc.results import Record, read_manifest

ROOT = Path(__file__).resolve().parent.parent
ENTRIES = figures.read_index(ROOT)
each_entry = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
mpl.use("agg")

PROBLEMS = ("double_integrator", "van_der_pol")


SETS = ("test", "wide", "wider")
STATE = ["time", "state_0", "state_1", "target_0", "target_1", "control_0"]


def tables(experiment):
    """A small table of each kind that an experiment writes."""
    if experiment not in ("comparison", "refinement_curves"):
        return ablation(experiment)
    names = list(figures.METHODS)
    pair = ("cloned_feedback", "supervised_feedback")
    metrics = ("terminal_error_iqm", "cost_iqm", "terminal_error", "success", "gap")
    steps = [("teacher", 0), *((method, k) for method in pair for k in (0, 1))]
    curves = ("cost", "reduction", "control_mse")
    columns = {
        "comparison": {
            "runs": (
                ["problem", "set", "method", "seed", "metric", "value"],
                [
                    (p, c, m, s, k, 1.0 + i + s)
                    for p in PROBLEMS
                    for c in SETS
                    for i, m in enumerate(names)
                    for s in (0, 1)
                    for k in metrics
                ],
            ),
            "summary": (
                ["problem", "set", "method", "metric", "value", "low", "high"],
                [
                    (p, c, m, k, 1.5 + i, 1.0 + i, 2.5 + i)
                    for p in PROBLEMS
                    for c in SETS
                    for i, m in enumerate(names)
                    for k in metrics
                ],
            ),
            "contrasts": (
                ["problem", "set", "contrast", "metric", "value", "low", "high"],
                [
                    (p, c, question, k, -0.01, -0.02, 0.005 if c == "wide" else -0.001)
                    for p in PROBLEMS
                    for c in SETS
                    for question in figures.QUESTIONS
                    for k in ("gap", "success")
                ],
            ),
            "training": (
                ["problem", "method", "seed", "epoch", "split", "loss"],
                [
                    (p, m, s, e, split, (s + 1) / (e + 1))
                    for p in PROBLEMS
                    for m in ("cloned", "cloned_feedback")
                    for s in (0, 1)
                    for e in range(3)
                    for split in ("train", "validation")
                ],
            ),
        },
        "refinement_curves": {
            "curves": (
                ["problem", "method", "iterate", "metric", "value", "low", "high"],
                [
                    (p, m, k, c, 2.0 - k, 1.0 - k / 2, 3.0 - k)
                    for p in PROBLEMS
                    for m in pair
                    for k in (0, 1)
                    for c in curves
                    if (k, c) != (0, "reduction")
                ],
            ),
            "runs": (
                ["problem", "method", "iterate", "seed", "metric", "value"],
                [
                    (p, m, k, s, c, 2.0 - k + s / 10)
                    for p in PROBLEMS
                    for m in pair
                    for k in (0, 1)
                    for s in (0, 1)
                    for c in curves
                    if (k, c) != (0, "reduction")
                ],
            ),
            "improvements": (
                ["from", "to", "instances", "problem", "method", "seed"],
                [(x, x + 2, 5 + s, p, m, s) for p in PROBLEMS for m in pair for s in (0, 1) for x in (80, 90)],
            ),
            "trajectories": (
                ["problem", "method", "instance", "iterate", *STATE],
                [
                    (p, m, n, k, t / 10, 1.0 - t / 3, n - t / 4, 0.25, 0.75, None if t == 3 else 0.5 * t + k)
                    for p in PROBLEMS
                    for m, k in steps
                    for n in (3, 8)
                    for t in range(4)
                ],
            ),
        },
    }[experiment]
    return {name: pd.DataFrame(rows, columns=header) for name, (header, rows) in columns.items()}


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A project with the real index and small results."""
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "claims.yml").touch()
    (tmp_path / "figures").mkdir()
    shutil.copy(ROOT / "figures" / "index.yml", tmp_path / "figures")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(results, "source_commit", lambda: ("c0ffee", False))
    for experiment in {entry.experiment for entry in ENTRIES} - {None}:
        halves = {  # half the panels, half the time
            name: table[table["problem"] == PROBLEMS[0]] for name, table in tables(experiment).items()
        }
        Record(tmp_path / "results" / experiment).write(halves, parameters={})
    return tmp_path


# The index


def test_names_and_numbers_of_figures_are_distinct():
    names = [entry.name for entry in ENTRIES]
    assert len(names) == len(set(names)) == len({entry.number for entry in ENTRIES})
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


def test_index_is_complete():
    """Every file of figures/ belongs to an entry, and every entry is shown, with its fold, on its page alone."""
    names = {entry.name for entry in ENTRIES}
    assert {path.stem for path in (ROOT / "figures").iterdir()} == names | {"index"}
    for entry in ENTRIES:
        for page in (ROOT / "book").glob("*.md"):
            text = page.read_text()
            here = f"book/{page.stem}" == entry.page
            assert (f"```{{made}} {entry.name}\n" in text) == here, f"{entry.name}, {page.name}"
            if here:
                assert f"../figures/{entry.name}." in text


def test_headline_of_the_makefile_is_that_of_the_index():
    (line,) = re.findall(r"^HEADLINE := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    wanted = {entry.experiment for entry in ENTRIES if entry.tier == "headline"} - {None}
    # the teachers' optima are what all are judged by, and the verdicts on what was promised have no figure
    assert wanted | {"teachers", "promises"} == set(line.split())


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
        ([], "must be a list of entries"),
        ([GOOD, GOOD], "has fig1, fig1_methods twice"),
        ([{**GOOD, "name": 5}], "the entry 5 must hold text"),
        ([{**GOOD, "tables": None}], "must hold text, and a list of tables"),
        ([{**GOOD, "experiment": None}], "fig1_methods has tables, but no experiment"),
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
    assert "make experiments PRESET=paper ONLY=comparison" in capsys.readouterr().err


# Drawing


def files_of(entry):
    suffixes = ("md", "tex", "json") if entry.name.startswith("table") else ("svg", "pdf", "json")
    return {f"{entry.name}.{suffix}" for suffix in suffixes}


def test_figures_repeat_byte_for_byte_and_name_their_inputs(root):
    assert main([]) == 0
    first = {path.name: path.read_bytes() for path in (root / "figures").iterdir()}
    environment = os.environ | {"PYTHONHASHSEED": "1", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", "trc.figures"], env=environment, check=True, capture_output=True)
    second = {path.name: path.read_bytes() for path in (root / "figures").iterdir()}
    assert set(first) == {"index.yml"}.union(*map(files_of, ENTRIES))
    assert [name for name in first if first[name] != second[name]] == []
    for entry in ENTRIES:
        record = yaml.safe_load(first[f"{entry.name}.json"])
        paths = [f"results/{entry.experiment}/{table}.csv" for table in entry.tables]
        assert record["inputs"] == {path: sha256(root / path) for path in paths}
        assert record["commit"] == ("c0ffee" if entry.experiment else None)
    assert not plt.get_fignums()


@pytest.mark.parametrize("by", ["name", "number"])
def test_one_figure_is_drawn_by_name_or_number(root, by):
    chosen = next(entry for entry in ENTRIES if entry.function == "architecture")
    assert main([getattr(chosen, by)]) == 0
    assert {path.name for path in (root / "figures").iterdir()} - {"index.yml"} == files_of(chosen)


def test_style_is_gone_after_drawing(tmp_path):
    before = dict(mpl.rcParams)
    figures.save(figures.learning(tables("comparison")["training"]), tmp_path / "a")
    assert dict(mpl.rcParams) == before


def test_each_method_has_its_own_colour():
    colours = [figures.color(method) for method in figures.METHODS]
    assert len(set(colours)) == len(colours)
    assert figures.label("lqr") == "saturated LQR"


def test_methods_shows_every_run_and_interval():
    frames = tables("comparison")
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
    figure = figures.learning(tables("comparison")["training"])
    assert len(figure.axes) == len(PROBLEMS)
    for ax in figure.axes:
        assert len(ax.lines) == 4  # two methods, two seeds
        assert {tuple(line.get_ydata()) for line in ax.lines} == {(1, 1 / 2, 1 / 3), (2, 1, 2 / 3)}
        assert all(list(line.get_xdata()) == [1, 2, 3] for line in ax.lines)
    plt.close(figure)


def test_iterates_shows_the_teacher_and_every_refinement():
    figure = figures.iterates(tables("refinement_curves")["trajectories"])
    assert len(figure.axes) == 3 * 2 * len(PROBLEMS)  # two methods
    controls, phase = figure.axes[0], figure.axes[2]
    assert len(controls.lines) == 3
    for line, k in zip(controls.lines, (0, 0, 1), strict=True):
        assert list(line.get_ydata()) == [0.5 * t + k for t in (0, 1, 2, 2)]  # the last control lasts to the end
    assert sum(len(line.get_xdata()) == 4 for line in phase.lines) == 2 * 3  # two instances
    crosses = [line.get_xydata().tolist() for line in phase.lines if line.get_marker() == "+"]
    assert crosses == [[[0.25, 0.75]]] * 2  # the target, not where the trajectory ends
    plt.close(figure)


def test_refinement_shows_mean_seeds_and_histogram():
    frames = tables("refinement_curves")
    figure = figures.refinement(frames["curves"], frames["runs"], frames["improvements"])
    cost, reduction, _, histogram = figure.axes[:4]
    assert {tuple(line.get_ydata()) for line in cost.lines} == {(2, 1), (2.1, 1.1)}
    drawn = [line for line in reduction.lines if line.get_marker() == "o"]
    assert [list(line.get_xydata()[0]) for line in drawn] == [[1, 100]] * 2  # the first guess takes nothing off
    assert [bar.get_height() for bar in histogram.patches] == [50] * 4
    plt.close(figure)


def test_distance_shows_the_gap_in_percent():
    figure = figures.distance(tables("comparison")["summary"])
    drawn = [list(line.get_ydata()) for line in figure.axes[0].lines]
    shown = [i for i, name in enumerate(figures.METHODS) if name not in ("random", "zero", "optimum")]
    assert drawn == [[100 * (1.5 + i)] * 3 for i in shown]
    plt.close(figure)


def test_comparison_table_has_a_row_for_each_method():
    table = figures.comparison(tables("comparison")["summary"])
    assert list(table["method"]) == [figures.label(name) for name in figures.METHODS] * 2
    assert list(table["problem"][table["problem"] != ""]) == ["Double integrator", "Van der Pol"]
    assert table["mean terminal error"][1].split() == ["2.50", "(2.00", "…", "3.50)"]


def test_contrasts_marks_what_the_data_cannot_tell():
    row = figures.contrasts(tables("comparison")["contrasts"]).iloc[0]
    assert row["gap, 1 ×"].split() == ["−1.0", "(−2.0", "…", "−0.10)"]
    assert row["gap, 1.5 ×"].endswith("+0.50) ?")


def test_interval_has_one_unit_and_one_precision():
    summary = tables("comparison")["summary"]
    gaps = summary["metric"] == "gap"
    summary.loc[gaps, ["value", "low", "high"]] = (1.95, 1.8, 2.1)
    assert figures.comparison(summary)["cost above the optimum's"][0].split() == [
        "195.00",
        "%",
        "(180.00",
        "…",
        "210.00)",
    ]
    summary.loc[gaps, ["value", "low", "high"]] = (0.0009, 0.0008, 0.0011)
    assert figures.comparison(summary)["cost above the optimum's"][0].split() == ["0.090", "%", "(0.080", "…", "0.110)"]


# What a reader sees


def seen_by(cone, hex_colour):
    """A colour as eyes without one kind of cones see it. Source: Machado, Oliveira and Fernandes (2009)."""
    matrix = {
        "protanopia": [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ],
        "deuteranopia": [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.01182, 0.04294, 0.968881],
        ],
    }[cone]
    return np.clip(np.array(matrix) @ np.array(to_rgb(hex_colour)), 0, 1)


@pytest.mark.parametrize("cone", ["protanopia", "deuteranopia"])
def test_colours_of_the_methods_can_be_told_apart_without_a_cone(cone):
    colours = {name: seen_by(cone, figures.color(name)) for name in figures.METHODS}
    close = [(a, b) for a, b in itertools.combinations(colours, 2) if np.linalg.norm(colours[a] - colours[b]) < 0.12]
    assert not close


@pytest.mark.parametrize("name", sorted(figures.FUNCTIONS))
def test_words_are_legible_at_the_width_of_the_page(name):
    entry = next(entry for entry in ENTRIES if entry.function == name)
    inputs = {} if entry.experiment is None else {k: tables(entry.experiment)[k] for k in entry.tables}
    figure = figures.FUNCTIONS[name](**inputs)
    if isinstance(figure, pd.DataFrame):
        return
    figure.canvas.draw()
    words = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
    assert figure.get_size_inches()[0] <= 7.0
    assert min(text.get_fontsize() for text in words) >= 7
    plt.close(figure)


def test_pdf_embeds_its_fonts(root):
    assert main(["fig1"]) == 0
    pdf = (root / "figures" / "fig1_methods.pdf").read_bytes()
    assert b"/FontFile2" in pdf and b"/Type3" not in pdf


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


def test_whiskers_have_no_negative_length():
    """With few resamples a value can lie outside its interval."""
    rows = pd.DataFrame({"value": [2.0, 1.0], "low": [1.5, 1.25], "high": [2.25, 1.5]})
    assert whiskers(rows).tolist() == [[0.5, 0.0], [0.25, 0.5]]
    assert whiskers(rows.loc[1]).tolist() == [[0.0], [0.5]]
