import itertools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex, to_rgb
from matplotlib.text import Text
from tidy import PROBLEMS, tables

from trc.artifact import figures, results
from trc.artifact.figures import FIGURES
from trc.artifact.figures.__main__ import main
from trc.artifact.figures.names import COMPARED
from trc.artifact.figures.panels import whiskers
from trc.artifact.results import Record, read_manifest
from trc.common.files import sha256
from trc.plots import save_vector, style

ROOT = Path(__file__).resolve().parent.parent
ENTRIES = figures.paper_entries()
each_entry = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
mpl.use("agg")


@pytest.fixture
def root(root, monkeypatch):
    """A project with small results; what a test registers is forgotten."""
    (root / "figures").mkdir()
    monkeypatch.setattr(results, "source_commit", lambda: ("c0ffee", False))
    for experiment in {entry.experiment for entry in ENTRIES} - {None}:
        whole = tables(experiment).items()
        halves = {name: table[table.iloc[:, 0] == table.iloc[0, 0]] for name, table in whole}  # half the time to draw
        Record(root / "results" / experiment).write(halves, parameters={})
    with patch.dict(FIGURES):
        yield root


# What decorators say


def test_committed_index_is_what_the_decorators_say():
    assert (ROOT / "figures" / "index.yml").read_text() == figures.index(), "run `make figures`"
    assert [entry["name"] for entry in yaml.safe_load(figures.index())] == [entry.name for entry in ENTRIES]
    kinds = [entry.number.rstrip("0123456789") for entry in ENTRIES]
    counted = [f"{kind}{1 + i}" for kind in ("fig", "table") for i in range(kinds.count(kind))]
    assert [entry.number for entry in ENTRIES] == counted


@each_entry
def test_entry_names_what_is_there(entry):
    pages = (ROOT / "_toc.yml").read_text()
    assert f"file: {entry.page}\n" in pages + "\n", f"the page {entry.page} is not in _toc.yml"
    assert getattr(figures, entry.function) is entry.make
    if entry.experiment is None:
        assert entry.notebook is None and not entry.tables
    else:
        assert entry.notebook == f"notebooks/{entry.experiment}.ipynb"
        assert (ROOT / entry.notebook).is_file()


def one(summary):
    figure, ax = plt.subplots()
    ax.plot(summary["value"], color=mpl.rcParams["axes.labelcolor"])
    return figure


def drawing():
    return one(pd.DataFrame({"value": [1, 2]}))


def methods(runs):
    return one(runs)


PLACE = {"page": "book/comparison", "experiment": "comparison"}


@pytest.mark.parametrize(
    ("function", "number", "place", "message"),
    [
        (one, 1, PLACE, r"there is a fig1 already \(trc\.artifact\S+\.methods\); choose another number\.$"),
        (methods, 99, PLACE, r"there is a figure or table 'methods' already \(trc\.artifact\S+\); choose another name"),
        (one, 99, {"page": "book/comparison"}, "fig99_one has tables, but no experiment that made them"),
        (one, 0, PLACE, "number of one"),
        (one, "1", PLACE, "number of one"),
        (one, 99, {**PLACE, "tier": "ablation"}, "unknown tier 'ablation'; known are headline, ablations"),
        (one, 99, {**PLACE, "name": "../evil"}, r"name is like two_levels, got '\.\./evil'"),
    ],
)
def test_decorator_that_makes_no_sense_is_refused(function, number, place, message):
    with pytest.raises(ValueError, match=message):
        figures.figure(number, **place)(function)
    assert "one" not in FIGURES and figures.methods is FIGURES["methods"].make


def test_figures_and_a_table_from_outside_are_made_and_listed(root):
    figures.figure(99, **PLACE)(one)
    figures.figure(98, page="book/model")(drawing)
    figures.table(99, "values", **PLACE)(contrasts_of_mine)
    figures.figure(99, **PLACE)(one)  # a notebook's cell run again
    assert main(["fig98", "fig99", "table99_values"]) == 0
    made = {"fig98_drawing", "fig99_one", "table99_values"}
    assert {path.stem for path in (root / "figures").iterdir()} == made | {"index"}
    assert made < {entry["name"] for entry in yaml.safe_load((root / "figures" / "index.yml").read_text())}
    record = yaml.safe_load((root / "figures" / "fig99_one.json").read_text())
    assert record["function"] == "test_figures.one" and list(record["inputs"]) == ["results/comparison/summary.csv"]
    assert (root / "figures" / "table99_values.md").read_text() == "| a | b |\n| --- | --- |\n| 1 % | 2 |\n"
    assert r"1 \% & 2 \\" in (root / "figures" / "table99_values.tex").read_text()


def contrasts_of_mine(contrasts):
    return pd.DataFrame({"a": ["1 %"], "b": ["2"]})


def test_index_is_written_only_when_it_changes(root):
    assert main(["table1"]) == 0
    path = root / "figures" / "index.yml"
    os.utime(path, (1, 1))
    assert main(["table1"]) == 0 and path.stat().st_mtime == 1
    path.write_text("- old")
    assert main(["table1"]) == 0 and path.read_text() == figures.index()


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
    assert wanted | {"teachers"} == set(line.split())  # the teachers' optima are what all are judged by


@each_entry
def test_committed_figure_was_drawn_from_the_committed_results(entry):
    sidecar = ROOT / "figures" / f"{entry.name}.json"
    assert sidecar.is_file(), f"{entry.name} is not drawn: run `make figures`"
    record = yaml.safe_load(sidecar.read_text())
    assert record["function"] == entry.path, "its function has another name now: run `make figures`"
    if entry.experiment is not None:
        now = read_manifest(entry.experiment, ROOT)["tables"]
        expected = {f"results/{entry.experiment}/{name}.csv": now[f"{name}.csv"] for name in entry.tables}
        assert record["inputs"] == expected, "the results have changed since: run `make figures`"


# Drawing


def test_unknown_figure_ends_with_status_2_and_draws_nothing(root, capsys):
    assert main(["fig9_nothing", ENTRIES[0].name]) == 2
    assert capsys.readouterr().err.startswith("trc.artifact.figures: there is no figure fig9_nothing; there are fig1_")
    assert not list((root / "figures").iterdir())


def test_missing_results_end_with_status_2_and_the_command_that_makes_them(root, capsys):
    shutil.rmtree(root / "results")
    assert main([]) == 2
    assert "make experiments PRESET=paper ONLY=comparison" in capsys.readouterr().err


def test_results_without_their_columns_end_with_status_2_and_one_line(root, capsys):
    Record(root / "results" / "costate").write({"training": pd.DataFrame({"a": [1]})}, parameters={})
    assert main(["fig7_learning"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def files_of(entry):
    suffixes = ("md", "tex", "json") if entry.name.startswith("table") else ("svg", "pdf", "json")
    return {f"{entry.name}.{suffix}" for suffix in suffixes}


def test_figures_repeat_byte_for_byte_name_their_inputs_and_embed_their_fonts(root):
    assert main([]) == 0
    first = {path.name: path.read_bytes() for path in (root / "figures").iterdir()}
    environment = os.environ | {"PYTHONHASHSEED": "1", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", "trc.artifact.figures"], env=environment, check=True, capture_output=True)
    second = {path.name: path.read_bytes() for path in (root / "figures").iterdir()}
    assert set(first) == {"index.yml"}.union(*map(files_of, ENTRIES))
    assert [name for name in first if first[name] != second[name]] == []
    for entry in ENTRIES:
        record = yaml.safe_load(first[f"{entry.name}.json"])
        paths = [f"results/{entry.experiment}/{table}.csv" for table in entry.tables]
        assert record["inputs"] == {path: sha256(root / path) for path in paths}
        assert record["function"] == entry.path
        assert record["commit"] == ("c0ffee" if entry.experiment else None)
    for pdf in (content for name, content in first.items() if name.endswith(".pdf")):
        assert b"/FontFile2" in pdf and b"/Type3" not in pdf
    assert not plt.get_fignums()


@pytest.mark.parametrize("by", ["name", "number"])
def test_one_figure_is_drawn_by_name_or_number(root, by):
    first = ENTRIES[0]  # fig1, and not fig10 with it
    assert main([getattr(first, by)]) == 0
    assert {path.name for path in (root / "figures").iterdir()} - {"index.yml"} == files_of(first)


def test_style_is_gone_after_drawing(tmp_path):
    before = dict(mpl.rcParams)
    save_vector(figures.learning(tables("costate")["training"]), tmp_path / "a")
    assert dict(mpl.rcParams) == before


def test_methods_shows_every_run_and_interval():
    frames = tables("comparison")
    figure = figures.methods(frames["runs"], frames["summary"])
    ax = figure.axes[0]  # double integrator, terminal error
    assert [tick.get_text() for tick in ax.get_yticklabels()] == [COMPARED[m].title for m in reversed(COMPARED)]
    points = [line for line in ax.lines if line.get_marker() == "o"]
    bars = [line for line in ax.lines if line.get_linewidth() == 5]
    by_colour = {to_hex(COMPARED[m].color): i for i, m in enumerate(COMPARED)}
    assert len(points) == len(bars) == len(COMPARED)
    for line in points:
        assert list(line.get_xdata()) == [1.0 + by_colour[to_hex(line.get_color())] + s for s in (0, 1)]
    for line in bars:
        assert list(line.get_xdata()) == [by_colour[to_hex(line.get_color())] + end for end in (1.0, 2.5)]
    plt.close(figure)


def test_learning_shows_the_validation_loss_of_every_seed():
    figure = figures.learning(tables("costate")["training"])
    assert len(figure.axes) == 2 * len(PROBLEMS)  # two kinds of network
    for ax in figure.axes:
        assert len(ax.lines) == 2  # seeds
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
    for steps in histogram.collections:  # half of the instances in each of two bins
        heights = dict(steps.get_paths()[0].vertices.tolist())
        assert max(heights.values()) == pytest.approx(50) and histogram.get_title("left") == "instances (%)"
    assert len(histogram.collections) == 2
    plt.close(figure)


def test_untrained_shows_a_distribution_a_size_and_start_with_its_mean():
    figure = figures.untrained(tables("size_ablation")["untrained_runs"])
    assert len(figure.axes) == len(PROBLEMS)
    for ax in figure.axes:
        assert [tick.get_text() for tick in ax.get_xticklabels()] == ["small", "medium", "large"]
        assert len(ax.collections) == 2 * 3
        means = [y for line in ax.lines if line.get_marker() == "o" for y in line.get_ydata()]
        assert means == pytest.approx([0.025] * 6)
    plt.close(figure)


def test_distance_shows_the_gap_in_percent():
    figure = figures.distance(tables("comparison")["summary"])
    drawn = [list(line.get_ydata()) for line in figure.axes[0].lines]
    shown = [i for i, name in enumerate(COMPARED) if name not in ("random", "zero", "optimum")]
    assert drawn == [[100 * (1.5 + i)] * 3 for i in shown]
    plt.close(figure)


def test_comparison_table_has_a_row_for_each_method():
    table = figures.comparison(tables("comparison")["summary"])
    assert list(table["method"]) == [COMPARED[name].title for name in COMPARED] * 2
    assert list(table["problem"][table["problem"] != ""]) == ["Double integrator", "Van der Pol"]
    assert table["mean terminal error"][1].split() == "2.50 (2.00 … 3.50)".split()


def test_contrasts_marks_what_the_data_cannot_tell():
    row = figures.contrasts(tables("comparison")["contrasts"]).iloc[0]
    assert row["gap, 1 ×"].split() == "−1.0 (−2.0 … −0.10)".split()
    assert row["gap, 1.5 ×"].endswith("+0.50) ?")


def test_interval_has_one_unit_and_one_precision():
    summary = tables("comparison")["summary"]
    gaps = summary["metric"] == "gap"
    summary.loc[gaps, ["value", "low", "high"]] = (1.95, 1.8, 2.1)
    assert figures.comparison(summary)["cost above the optimum's"][0].split() == "195.00 % (180.00 … 210.00)".split()
    summary.loc[gaps, ["value", "low", "high"]] = (0.0009, 0.0008, 0.0011)
    assert figures.comparison(summary)["cost above the optimum's"][0].split() == "0.090 % (0.080 … 0.110)".split()


# What a reader sees


def seen_by(cone, hex_colour):
    """A colour as eyes without one kind of cones see it. Source: Machado, Oliveira and Fernandes (2009)."""
    rows = {
        "protanopia": (0.152286, 1.052583, -0.204868, 0.114503, 0.786281, 0.099216, -0.003882, -0.048116, 1.051998),
        "deuteranopia": (0.367322, 0.860646, -0.227968, 0.280085, 0.672501, 0.047413, -0.01182, 0.04294, 0.968881),
    }[cone]
    return np.clip(np.reshape(rows, (3, 3)) @ np.array(to_rgb(hex_colour)), 0, 1)


@pytest.mark.parametrize("cone", ["protanopia", "deuteranopia"])
def test_colours_of_the_methods_can_be_told_apart_without_a_cone(cone):
    colours = {name: seen_by(cone, COMPARED[name].color) for name in COMPARED}
    close = [(a, b) for a, b in itertools.combinations(colours, 2) if np.linalg.norm(colours[a] - colours[b]) < 0.12]
    assert not close


@pytest.mark.parametrize("entry", [e for e in ENTRIES if e.name.startswith("fig")], ids=lambda entry: entry.name)
def test_words_are_legible_at_the_width_of_the_page(entry):
    figure = entry.make(**{name: tables(entry.experiment)[name] for name in entry.tables})
    figure.canvas.draw()
    words = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
    assert figure.get_size_inches()[0] <= 7.0
    assert min(text.get_fontsize() for text in words) >= 7
    plt.close(figure)


def test_whiskers_have_no_negative_length():
    """With few resamples a value can lie outside its interval."""
    rows = pd.DataFrame({"value": [2.0, 1.0], "low": [1.5, 1.25], "high": [2.25, 1.5]})
    assert whiskers(rows).tolist() == [[0.5, 0.0], [0.25, 0.5]]
    assert whiskers(rows.loc[1]).tolist() == [[0.0], [0.5]]


def test_the_user_s_matplotlibrc_changes_no_byte(tmp_path):
    def drawn(name):
        with style():
            figure, ax = plt.subplots()
            ax.plot([0, 1])
        return save_vector(figure, tmp_path / name)[0].read_bytes()

    own = drawn("own")
    with mpl.rc_context({"lines.linewidth": 9, "axes.facecolor": "black", "text.usetex": True}):
        assert drawn("theirs") == own


def test_last_digits_of_numbers_which_depend_on_the_processor_change_no_byte(tmp_path):
    chance, files = np.random.default_rng(0), {}
    data = chance.normal(size=(4, 30))
    for name in ("one", "other"):
        shaken = data * (1 + chance.integers(-2, 3, data.shape) * 2.0**-52)
        with style():
            figure, axes = plt.subplots(1, 2)
            for values in shaken:
                axes[0].plot(np.full(30, values[0]) + values - values, values, "o", ms=3)
                axes[1].errorbar(values, values**2, yerr=np.abs(values), fmt="s-", capsize=2)
        files[name] = [path.read_bytes() for path in save_vector(figure, tmp_path / name)]
    assert files["one"] == files["other"]
