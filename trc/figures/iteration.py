"""Figures of what happens between the first guess and the answer."""

from __future__ import annotations

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .style import INK, METHODS, MUTED, PROBLEM_TITLES, WIDTH, color, iterate_colors, label, log_axis, style

#: Drawn wide and pale behind the iterates.
TEACHER = "#f6c9a8"


def refinement(curves: pd.DataFrame, runs: pd.DataFrame, improvements: pd.DataFrame) -> Figure:
    """Four views of refinement: cost, reduction and distance to the teacher by iterate, and what it all is worth.

    Parameters
    ----------
    curves : DataFrame
        ``problem, method, iterate, metric, value, low, high`` with the metrics ``cost``, ``reduction`` (as a share of
        the iterate before, so not of the first guess) and ``control_mse``.
    runs : DataFrame
        The same for each ``seed``, without interval.
    improvements : DataFrame
        ``problem, method, seed, from, to, instances``: histograms of the share of its cost (%) that an instance loses.
    """
    problems = list(dict.fromkeys(curves["problem"]))
    names = [name for name in METHODS if name in set(curves["method"])]
    panels = (
        ("cost", "cost  $J$", 1),
        ("reduction", "taken off (%)", 100),
        ("control_mse", "control error²", 1),
    )
    with style():
        figure, axes = plt.subplots(len(problems), 4, figsize=(WIDTH, 0.6 + 1.9 * len(problems)), squeeze=False)
        for row, problem in zip(axes, problems, strict=True):
            for ax, (metric, title, unit) in zip(row, panels, strict=False):
                for name in names:
                    where = {"problem": problem, "method": name, "metric": metric}
                    _band(ax, _rows(curves, where), _rows(runs, where), unit, color(name))
                ax.set_title(title, fontweight="normal")
                ax.xaxis.set_major_locator(MaxNLocator(integer=True))
                if metric != "reduction":
                    log_axis(ax, "y")
            row[1].axhline(0, color=MUTED, linewidth=0.7)
            for name in names:
                _histogram(row[3], _rows(improvements, {"problem": problem, "method": name}), color(name))
            row[3].set_title("instances (%)", fontweight="normal")
            row[0].set_ylabel(PROBLEM_TITLES[problem], fontweight="bold", fontsize=9.5)
        for ax in axes[-1, :3]:
            ax.set_xlabel("iterate")
        axes[-1, 3].set_xlabel("taken off in all (%)")
        handles = [plt.Line2D([], [], color=color(name), marker="o", markersize=3) for name in names]
        figure.legend(handles, [label(name) for name in names], loc="outside lower center", ncols=len(names))
        return figure


def _rows(frame: pd.DataFrame, where: dict[str, str]) -> pd.DataFrame:
    for column, value in where.items():
        frame = frame[frame[column] == value]
    return frame


def _band(ax: Axes, curve: pd.DataFrame, runs: pd.DataFrame, unit: float, shade: str) -> None:
    for _, seed in runs.groupby("seed"):
        ax.plot(seed["iterate"], unit * seed["value"], color=shade, linewidth=0.5, alpha=0.5)
    ax.fill_between(curve["iterate"], unit * curve["low"], unit * curve["high"], color=shade, alpha=0.2, linewidth=0)
    ax.plot(curve["iterate"], unit * curve["value"], "o-", color=shade, markersize=3)


def _histogram(ax: Axes, table: pd.DataFrame, shade: str) -> None:
    counts = table.groupby(["from", "to"])["instances"].sum().reset_index()
    share = 100 * counts["instances"] / counts["instances"].sum()
    ax.bar(counts["from"], share, counts["to"] - counts["from"], align="edge", color=shade, alpha=0.55, linewidth=0)


def iterates(trajectories: pd.DataFrame) -> Figure:
    """Controls and phase plane over the iterates of a few instances, with their teacher behind.

    Parameters
    ----------
    trajectories : DataFrame
        ``problem, method, instance, iterate, time, state_0, state_1, target_0, target_1, control_0``; the method
        ``teacher`` lies behind, and the last control of a trajectory is missing, since the final state has none.
    """
    problems = list(dict.fromkeys(trajectories["problem"]))
    names = [name for name in METHODS if name in set(trajectories["method"])]
    last = int(trajectories["iterate"].max())
    with style():
        figure, axes = plt.subplots(
            len(problems) * len(names), 3, figsize=(WIDTH, 1.75 * len(problems) * len(names) + 0.4), squeeze=False
        )
        for row, (problem, name) in zip(axes, [(p, n) for p in problems for n in names], strict=True):
            drawn = trajectories[(trajectories["problem"] == problem) & trajectories["method"].isin([name, "teacher"])]
            instances = list(dict.fromkeys(drawn["instance"]))
            for ax, letter, instance in zip(row, "ab", instances, strict=False):
                _controls(ax, drawn[drawn["instance"] == instance])
                ax.set_title(f"control, {letter}", fontweight="normal")
            for letter, instance in zip("ab", instances, strict=False):
                _phase(row[2], drawn[drawn["instance"] == instance], letter)
            row[2].set_title("phase plane", fontweight="normal")
            method = label(name).partition(", ")[0]
            row[0].set_ylabel(f"{PROBLEM_TITLES[problem]}\n{method}", fontweight="bold")
        axes[-1, 0].set_xlabel("time  $t$ (s)")
        axes[-1, 1].set_xlabel("time  $t$ (s)")
        axes[-1, 2].set_xlabel("position, velocity upwards")
        handles = [plt.Line2D([], [], color=TEACHER, linewidth=4)]
        handles += [plt.Line2D([], [], color=shade) for shade in iterate_colors(last + 1)]
        titles = ["teacher", "first guess", *(f"refinement {k}" for k in range(1, last + 1))]
        figure.legend(handles, titles, loc="outside lower center", ncols=len(handles))
        return figure


def _by_iterate(frame: pd.DataFrame) -> list[tuple[tuple[float, ...], pd.DataFrame]]:
    """Colour and rows of each iterate, the first one first."""
    network = frame[frame["method"] != "teacher"]
    steps = sorted(set(network["iterate"]))
    return [
        (shade, network[network["iterate"] == k]) for shade, k in zip(iterate_colors(len(steps)), steps, strict=True)
    ]


def _controls(ax: Axes, frame: pd.DataFrame) -> None:
    # the last control lasts until the final state, which has none of its own
    teacher = frame[frame["method"] == "teacher"].ffill()
    ax.step(teacher["time"], teacher["control_0"], where="post", color=TEACHER, linewidth=4)
    for shade, rows in _by_iterate(frame):
        rows = rows.ffill()
        ax.step(rows["time"], rows["control_0"], where="post", color=shade, linewidth=1.1)


def _phase(ax: Axes, frame: pd.DataFrame, letter: str) -> None:
    teacher = frame[frame["method"] == "teacher"]
    ax.plot(teacher["state_0"], teacher["state_1"], color=TEACHER, linewidth=4)
    for shade, rows in _by_iterate(frame):
        ax.plot(rows["state_0"], rows["state_1"], color=shade, linewidth=1.1)
    start = teacher.iloc[0]
    ax.plot(start["state_0"], start["state_1"], "o", color=INK, markersize=4)
    ax.annotate(letter, (start["state_0"], start["state_1"]), textcoords="offset points", xytext=(5, 4))
    ax.plot(start["target_0"], start["target_1"], "+", color=INK, markersize=7)
