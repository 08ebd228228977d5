"""The paper's figures, one function a figure: tidy tables in, a figure out."""

from __future__ import annotations

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .style import METHODS, PROBLEM_TITLES, WIDTH, color, label, log_axis, style

#: A method whose gap stays below this has no place on a logarithmic axis.
SMALLEST_GAP = 1e-6


def methods(runs: pd.DataFrame, summary: pd.DataFrame) -> Figure:
    """Terminal error and cost by method: interval, interquartile mean, and one point a seed.

    Parameters
    ----------
    runs : DataFrame
        ``problem, set, method, seed, metric, value``; the set ``test`` is drawn.
    summary : DataFrame
        ``problem, set, method, metric, value, low, high``.
    """
    runs, summary = (frame[frame["set"] == "test"] for frame in (runs, summary))
    panels = (("terminal_error_iqm", "terminal error  ‖$x_T - x_g$‖"), ("cost_iqm", "cost  $J$"))
    problems = list(dict.fromkeys(runs["problem"]))
    with style():
        figure, axes = plt.subplots(
            len(problems), 2, figsize=(WIDTH, 0.5 + 1.75 * len(problems)), sharey=True, squeeze=False
        )
        for row, problem in zip(axes, problems, strict=True):
            for ax, (metric, title) in zip(row, panels, strict=True):
                _method_dots(ax, _only(runs, problem, metric), _only(summary, problem, metric))
                log_axis(ax)
                ax.grid(axis="y", visible=False)
                if problem == problems[-1]:
                    ax.set_xlabel(title)
            row[0].set_title(PROBLEM_TITLES[problem])
        return figure


def _only(frame: pd.DataFrame, problem: str, metric: str) -> pd.DataFrame:
    return frame[(frame["problem"] == problem) & (frame["metric"] == metric)]


def _method_dots(ax: Axes, runs: pd.DataFrame, summary: pd.DataFrame) -> None:
    names = [name for name in METHODS if name in set(runs["method"])]
    for height, name in enumerate(reversed(names)):
        shade = color(name)
        seeds = runs.loc[runs["method"] == name, "value"]
        total = summary[summary["method"] == name].iloc[0]
        ax.plot(
            [total["low"], total["high"]], [height, height], color=shade, linewidth=5, alpha=0.3, solid_capstyle="butt"
        )
        ax.plot([total["value"]], [height], "|", color=shade, markersize=13, markeredgewidth=2)
        spread = [height + 0.16 * (i - (len(seeds) - 1) / 2) for i in range(len(seeds))]
        ax.plot(seeds, spread, "o", color=shade, markersize=4.2, markeredgecolor="white", markeredgewidth=0.6)
    ax.set_yticks(range(len(names)), [label(name) for name in reversed(names)])
    ax.set_ylim(-0.6, len(names) - 0.4)


def distance(summary: pd.DataFrame) -> Figure:
    """Gap to the optimum as the initial states begin further out than those of the training.

    Parameters
    ----------
    summary : DataFrame
        ``problem, set, method, metric, value, low, high``.
    """
    scales = {"test": 1.0, "wide": 1.5, "wider": 2.0}
    gaps = summary[(summary["metric"] == "gap") & ~summary["method"].isin(["random", "zero", "optimum"])]
    problems = list(dict.fromkeys(gaps["problem"]))
    names = [name for name in METHODS if name in set(gaps["method"])]
    with style():
        figure, axes = plt.subplots(1, len(problems), figsize=(WIDTH, 3.0), squeeze=False)
        for ax, problem in zip(axes[0], problems, strict=True):
            for name in names:
                rows = gaps[(gaps["problem"] == problem) & (gaps["method"] == name)]
                if (rows["value"] < SMALLEST_GAP).all():
                    note = f"{label(name)}: below {100 * SMALLEST_GAP:.4f} %"
                    ax.annotate(note, (0.97, 0.04), xycoords="axes fraction", ha="right", color=color(name))
                    continue
                scale = rows["set"].map(scales)
                ax.plot(scale, 100 * rows["value"], "o-", color=color(name), markersize=3.5)
                low, high = (100 * rows[end].clip(lower=SMALLEST_GAP) for end in ("low", "high"))
                ax.fill_between(scale, low, high, color=color(name), alpha=0.2, linewidth=0)
            log_axis(ax, "y")
            ax.set_xticks(list(scales.values()), ["1", "1.5", "2"])
            ax.set_title(PROBLEM_TITLES[problem])
            ax.set_xlabel("initial states, times the training's range")
        axes[0, 0].set_ylabel("gap to the optimum (%)")
        handles = [plt.Line2D([], [], color=color(name), marker="o", markersize=3.5) for name in names]
        figure.legend(handles, [label(name) for name in names], loc="outside lower center", ncols=3)
        return figure


def learning(training: pd.DataFrame) -> Figure:
    """Validation loss of the cloned networks by epoch, one line a seed.

    Parameters
    ----------
    training : DataFrame
        ``problem, method, seed, epoch, split, loss``. With a reward the loss is another one, and can be negative.
    """
    cloned = training["method"].isin(["cloned", "cloned_feedback"])
    held_out = training[cloned & (training["split"] == "validation")]
    problems = list(dict.fromkeys(held_out["problem"]))
    with style():
        figure, axes = plt.subplots(1, len(problems), figsize=(WIDTH, 2.4), sharey=True, squeeze=False)
        for ax, problem in zip(axes[0], problems, strict=True):
            chosen = held_out[held_out["problem"] == problem]
            for (method, _seed), rows in chosen.groupby(["method", "seed"]):
                ax.plot(rows["epoch"] + 1, rows["loss"], color=color(method), linewidth=1.1)
            ax.set_yscale("log")
            ax.set_title(PROBLEM_TITLES[problem])
            ax.set_xlabel("epoch")
        axes[0, 0].set_ylabel("validation loss")
        names = [name for name in METHODS if name in set(held_out["method"])]
        handles = [plt.Line2D([], [], color=color(name)) for name in names]
        figure.legend(handles, [label(name) for name in names], loc="outside lower center", ncols=len(names))
        return figure
