"""What several figures are built of: panels by problem, intervals with one point a seed, bands, axes, the legend."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from ...plots import WIDTH
from ..rows import row_of, select
from .names import Look, title

K = TypeVar("K")

GAP = "gap to the optimum (%)"


def side_by_side(
    frame: pd.DataFrame, height: float, *, x: str = "", y: str = "", sharey: bool = False
) -> tuple[Figure, dict[str, Axes]]:
    """A panel for each problem of a table, in one row, with titles and names of the axes."""
    problems = list(dict.fromkeys(frame["problem"]))
    figure, ((*axes,),) = plt.subplots(1, len(problems), figsize=(WIDTH, height), sharey=sharey, squeeze=False)
    panels = dict(zip(problems, axes, strict=True))
    for problem, ax in panels.items():
        ax.set(title=title(problem), xlabel=x)
    axes[0].set_ylabel(y)
    return figure, panels


def stacked(
    rows: Iterable[K], columns: int, height: float, extra: float = 0.5, *, sharey: bool = False
) -> tuple[Figure, dict[K, list[Axes]]]:
    """A row of panels for each problem (or other name), `height` inches each; `extra` is for what stands below."""
    names = list(dict.fromkeys(rows))
    size = (WIDTH, extra + height * len(names))
    figure, axes = plt.subplots(len(names), columns, figsize=size, sharey=sharey, squeeze=False)
    return figure, {name: list(row) for name, row in zip(names, axes, strict=True)}


def legend_below(figure: Figure, lines: Mapping[str, Mapping[str, Any]], columns: int = 0) -> None:
    """A legend of lines below all panels, in one row or so many columns."""
    handles = [plt.Line2D([], [], **line) for line in lines.values()]
    figure.legend(handles, list(lines), loc="outside lower center", ncols=columns or len(lines))


def lines_of(looks: Mapping[Any, Look], **line: Any) -> dict[str, dict[str, Any]]:
    """Lines of a legend that shows looks, each with its marker."""
    return {look.title: {"color": look.color, "marker": look.marker, **line} for look in looks.values()}


def log_axis(ax: Axes, which: str = "x") -> None:
    """Make an axis logarithmic (``x``, ``y`` or ``xy``), its ticks labelled in plain numbers; call it after drawing."""
    for name in which:
        axis = getattr(ax, f"{name}axis")
        getattr(ax, f"set_{name}scale")("log")
        low, high = getattr(ax, f"get_{name}lim")()
        steps = (1.0,) if high / low > 300 else (1.0, 3.0) if high / low > 20 else (1.0, 2.0, 5.0)
        axis.set_major_locator(LogLocator(subs=steps, numticks=20))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_locator(NullLocator())


def whiskers(rows: Mapping[str, Any] | pd.DataFrame) -> np.ndarray:
    """Lengths ``[2, N]`` of error bars below and above; a value that lies outside its few resamples has none there."""
    return np.reshape([rows["value"] - rows["low"], rows["high"] - rows["value"]], (2, -1)).clip(0)


def upright(ax: Axes, x: float, summary: pd.DataFrame, runs: pd.DataFrame, where: dict[str, Any], look: Look) -> None:
    """Interval, value and one point a seed of what `where` chooses, standing, in percent."""
    total, seeds = row_of(summary, **where), select(runs, **where)["value"]
    line = {"color": look.color, "marker": look.marker, "markersize": 5, "elinewidth": 1}
    ax.errorbar([x], [100 * total["value"]], 100 * whiskers(total), **line)
    ax.plot([x] * len(seeds), 100 * seeds, "o", color=look.color, markersize=2, alpha=0.6)


def compared(
    summary: pd.DataFrame,
    runs: pd.DataFrame,
    looks: Mapping[tuple[str, ...], Look],
    columns: Sequence[str],
    metrics: Mapping[str, str],
    *,
    unit: float = 100,
    height: float = 1.75,
    spread: float = 0.14,
    size: float = 3.8,
    cap: str = "projecting",
) -> tuple[Figure, dict[str, list[Axes]]]:
    """A row of panels a problem, one a metric; in each a lying interval with its value and seeds for each look.

    `looks` are by what stands in `columns`; `metrics` have the names of their axes. A row is `height` inches high.
    """
    figure, rows = stacked(summary["problem"], len(metrics), height, sharey=True)
    for problem, row in rows.items():
        for ax, (metric, axis) in zip(row, metrics.items(), strict=True):
            for y, (key, look) in enumerate(reversed(looks.items())):
                where = {"problem": problem, "metric": metric, **dict(zip(columns, key, strict=True))}
                if select(summary, **where).empty:  # not tried on this problem
                    continue
                total, seeds = row_of(summary, **where), select(runs, **where)["value"]
                ends, color = [unit * total["low"], unit * total["high"]], look.color
                ax.plot(ends, [y, y], color=color, linewidth=5, alpha=0.3, solid_capstyle=cap)
                ax.plot([unit * total["value"]], [y], "|", color=color, markersize=13, markeredgewidth=2)
                ys = [y + spread * (i - (len(seeds) - 1) / 2) for i in range(len(seeds))]
                edge = {"markersize": size, "markeredgecolor": "white", "markeredgewidth": 0.6}
                ax.plot(unit * seeds, ys, "o", color=color, **edge)
            ax.grid(axis="y", visible=False)
            if problem == list(rows)[-1]:
                ax.set_xlabel(axis)
        row[0].set_yticks(range(len(looks)), [look.title for look in reversed(looks.values())])
        row[0].set_title(title(problem))
    return figure, rows


def band(
    ax: Axes, curves: pd.DataFrame, runs: pd.DataFrame, where: dict[str, str], unit: float, thin: float, **line: Any
) -> None:
    """Value by iterate with its interval, and a thin line a seed, of the rows that `where` chooses."""
    curve, color = select(curves, **where), line["color"]
    for _, seed in select(runs, **where).groupby("seed"):
        ax.plot(seed["iterate"], unit * seed["value"], color=color, linewidth=thin, alpha=0.5)
    ax.fill_between(curve["iterate"], unit * curve["low"], unit * curve["high"], color=color, alpha=0.2, linewidth=0)
    ax.plot(curve["iterate"], unit * curve["value"], **line)


def losses(frame: pd.DataFrame, by: str, looks: Mapping[str, Look], height: float) -> tuple[Figure, dict[str, Axes]]:
    """Validation losses by epoch, one line a seed, in the colour of what the column `by` names."""
    figure, panels = side_by_side(frame, height, x="epoch", y="validation loss", sharey=True)
    for problem, ax in panels.items():
        for name, look in looks.items():
            for _, rows in select(frame, problem=problem, **{by: name}).groupby("seed"):
                ax.plot(rows["epoch"] + 1, rows["loss"], color=look.color, linewidth=1.1)
        ax.set_yscale("log")
    legend_below(figure, {look.title: {"color": look.color} for look in looks.values()})
    return figure, panels
