"""The paper's figures, one function a figure: tidy tables in, a figure out."""

from __future__ import annotations

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .style import INK, METHODS, PROBLEM_TITLES, WIDTH, color, iterate_colors, label, log_axis, style


def methods(runs: pd.DataFrame, summary: pd.DataFrame) -> Figure:
    """Terminal error and cost by method: interval, interquartile mean, and one point a seed.

    Parameters
    ----------
    runs : DataFrame
        ``problem, method, seed, metric, value``.
    summary : DataFrame
        ``problem, method, metric, value, low, high``.
    """
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


def iterates(trajectories: pd.DataFrame) -> Figure:
    """Controls and phase plane over the iterates of a few instances, with saturated LQR behind.

    Parameters
    ----------
    trajectories : DataFrame
        ``problem, method, instance, iterate, time, state_0, state_1, target_0, target_1, control_0``; the last
        control of a trajectory is missing, since the final state has none.
    """
    problems = list(dict.fromkeys(trajectories["problem"]))
    with style():
        figure, axes = plt.subplots(len(problems), 3, figsize=(WIDTH, 2.3 * len(problems)), squeeze=False)
        for row, problem in zip(axes, problems, strict=True):
            chosen = trajectories[trajectories["problem"] == problem]
            instances = list(dict.fromkeys(chosen["instance"]))[:2]
            for ax, name, instance in zip(row, "ab", instances, strict=False):
                _controls(ax, chosen[chosen["instance"] == instance])
                ax.set_title(f"{PROBLEM_TITLES[problem]}, {name}" if name == "a" else name)
                ax.set_xlabel("time  $t$ (s)")
            row[0].set_ylabel("control  $u$")
            for name, instance in zip("ab", instances, strict=False):
                _phase(row[2], chosen[chosen["instance"] == instance], name)
            row[2].set_title("phase plane")
            row[2].set_xlabel("position")
            row[2].set_ylabel("velocity")
        handles, names = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=len(handles))
        return figure


def _by_iterate(frame: pd.DataFrame) -> list[tuple[str, str | tuple[float, ...], pd.DataFrame]]:
    """Label, colour and rows of each iterate, the first one first."""
    network = frame[frame["method"] != "lqr"]
    steps = sorted(set(network["iterate"]))
    names = ["first guess", *(f"refinement {k}" for k in steps[1:])]
    return [
        (name, shade, network[network["iterate"] == k])
        for name, shade, k in zip(names, iterate_colors(len(steps)), steps, strict=True)
    ]


def _controls(ax: Axes, frame: pd.DataFrame) -> None:
    teacher = frame[frame["method"] == "lqr"].dropna(subset="control_0")
    ax.step(
        teacher["time"],
        teacher["control_0"],
        where="post",
        color=color("lqr"),
        linewidth=4,
        alpha=0.35,
        label=label("lqr"),
    )
    for name, shade, rows in _by_iterate(frame):
        rows = rows.dropna(subset="control_0")
        ax.step(rows["time"], rows["control_0"], where="post", color=shade, label=name)


def _phase(ax: Axes, frame: pd.DataFrame, name: str) -> None:
    teacher = frame[frame["method"] == "lqr"]
    ax.plot(teacher["state_0"], teacher["state_1"], color=color("lqr"), linewidth=4, alpha=0.35)
    for _, shade, rows in _by_iterate(frame):
        ax.plot(rows["state_0"], rows["state_1"], color=shade)
    start = teacher.iloc[0]
    ax.plot(start["state_0"], start["state_1"], "o", color=INK, markersize=4)
    ax.annotate(name, (start["state_0"], start["state_1"]), textcoords="offset points", xytext=(5, 4))
    ax.plot(start["target_0"], start["target_1"], "+", color=INK, markersize=7)


def learning(training: pd.DataFrame) -> Figure:
    """Validation loss by epoch, one line a seed.

    Parameters
    ----------
    training : DataFrame
        ``problem, method, seed, epoch, split, loss``.
    """
    held_out = training[training["split"] == "validation"]
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
