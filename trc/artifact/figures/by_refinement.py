"""Does it refine: gaps by refinement, by what that costs, from elsewhere, further out, and after a disturbance."""

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ...plots import INK, MUTED
from ..rows import select
from .names import BEGINNINGS, BOTH, DESCENTS, FURTHER, RULES, TELLS, TRAININGS, WAYS, Look, present, title
from .panels import GAP, band, legend_below, lines_of, log_axis, side_by_side, stacked
from .registry import figure

#: Gaps below this, in percent, are drawn there: it is rounding.
LEAST = 1e-9

#: Radii beyond this are drawn there.
EDGE = 1.15

#: Refinements are drawn over their number plus one, so that the first guess has a place on a logarithmic axis.
SHIFT = 1

#: What curves at equal cost are drawn over.
COST = "simulations and passes backwards, +1"


@figure(17, "told", page="book/costate", experiment="costate")
def told(summary: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """Gap by refinement and by what the simulator tells, by ``problem, told, iterate, metric``."""
    return _curves(summary, runs, "told", {name: look for name, look in TELLS.items() if name != "plain"}, 3.2)


@figure(18, "equal_cost", page="book/costate", experiment="costate")
def equal_cost(at_equal_cost: pd.DataFrame) -> Figure:
    """Gap by simulations and passes backwards together: networks, alone and before a solver, and descent without one.

    `at_equal_cost` has ``problem, method, step, rollouts, adjoints, gap, median``.
    """
    networks = present(TELLS | BOTH, at_equal_cost["method"])
    looks = networks | DESCENTS
    figure, panels = side_by_side(at_equal_cost, 3.8, x=COST, y=GAP)
    for problem, ax in panels.items():
        for name, look in looks.items():
            _by_cost(ax, select(at_equal_cost, problem=problem, method=name), look, name in networks)
        ax.set_xlim(0.8, 400)
        log_axis(ax, "xy")
    legend_below(figure, lines_of(looks, markersize=3.5), 3)
    return figure


@figure(7, page="book/training", experiment="costate")
def learning(training: pd.DataFrame) -> Figure:
    """Validation loss by epoch and by what the simulator tells, by ``problem, told, seed, epoch``; a line a seed."""
    return _learning(training, "told", present(TELLS, training["told"]))


@figure(19, "starts", page="book/test_time", experiment="test_time")
def starts(from_starts: pd.DataFrame) -> Figure:
    """Gap by refinement from several starts, by ``problem, told, start, seed, iterate``: a line a seed."""

    def draw(ax: Axes, problem: str, told: str) -> None:
        for start, look in BEGINNINGS.items():
            _seeds(ax, select(from_starts, problem=problem, told=told, start=start), look.color)

    return _grid(_problems(from_starts), _told(from_starts), draw, _legend(BEGINNINGS), legend_columns=3)


@figure(20, "contraction", page="book/test_time", experiment="test_time")
def contraction(rates: pd.DataFrame) -> Figure:
    """The factor that refinements shrink changes by: of the map at its fixed point, and as observed.

    `rates` has ``problem, told, seed, instance, radius, observed``.
    """
    figure, panels = side_by_side(rates, 2.9, x="spectral radius of the map", y="observed factor")
    shown = present(TELLS, rates["told"])
    for problem, ax in panels.items():
        for name, look in shown.items():
            rows = select(rates, problem=problem, told=name)
            ax.plot(rows["radius"].clip(upper=EDGE), rows["observed"], ".", color=look.color, markersize=2.5, alpha=0.4)
        ax.plot([0, 1.1], [0, 1.1], color=MUTED, linewidth=0.8)
        ax.axvline(1, color=INK, linewidth=0.8, linestyle=":")
        ax.set(xlim=(0, EDGE), ylim=(0, EDGE))
    legend_below(figure, {look.title: {"color": look.color, "marker": ".", "linestyle": ""} for look in shown.values()})
    return figure


@figure(21, "healing", page="book/test_time", experiment="test_time")
def healing(healing: pd.DataFrame) -> Figure:
    """Gap by refinement after a disturbance, by ``problem, told, size, seed, iterate``: a line a seed."""
    shades = dict(zip(sorted(set(healing["size"])), ("#9ecae1", "#4292c6", "#084594"), strict=False))

    def draw(ax: Axes, problem: str, told: str) -> None:
        for size, shade in shades.items():
            _seeds(ax, select(healing, problem=problem, told=told, size=size), shade)

    legend = {f"noise of {100 * size:g} % of the bounds": {"color": shade} for size, shade in shades.items()}
    return _grid(_problems(healing), _told(healing), draw, legend)


@figure(22, "further_out", page="book/outside", experiment="outside")
def further_out(summary: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """Gap by refinement at 1.5 times the range, by ``problem, set, way, range, told, iterate, metric``."""
    summary, runs = (select(frame, set="wide", range="own", metric="gap") for frame in (summary, runs))

    def draw(ax: Axes, problem: str, told: str) -> None:
        for way, look in WAYS.items():
            _band(ax, summary, runs, {"problem": problem, "told": told, "way": way}, look)

    return _grid(_problems(summary), _told(summary), draw, _legend(WAYS))


@figure(27, "further_cost", page="book/outside", experiment="outside")
def further_cost(at_equal_cost: pd.DataFrame, summary: pd.DataFrame, spent: pd.DataFrame) -> Figure:
    """Gap by simulations and passes backwards further out: networks, and what one does without one.

    `at_equal_cost` has ``set, method, step, rollouts, adjoints, gap``, `summary` gaps by ``problem, set, way, range,
    told, iterate``, and `spent` simulations and passes by the same and ``seed``.
    """
    keys = ["problem", "set", "way", "range", "told", "iterate"]
    gaps = select(summary, metric="gap_of_seeds").rename(columns={"value": "gap"})
    networks = spent.groupby(keys, as_index=False)[["rollouts", "adjoints"]].mean().merge(gaps, on=keys)

    def draw(ax: Axes, problem: str, name: str) -> None:
        for (way, extent, told), look in FURTHER.items():
            where = {"problem": problem, "set": name, "way": way, "range": extent, "told": told}
            _by_cost(ax, select(networks, **where), look, True)
        for method, look in DESCENTS.items():
            _by_cost(ax, select(at_equal_cost, set=name, method=method), look, False)

    sets = {"wide": "1.5 × the range", "wider": "2 × the range"}
    legend = lines_of(FURTHER | DESCENTS, markersize=3.5)
    return _grid(_problems(summary), present(sets, summary["set"]), draw, legend, legend_columns=2, height=3.8, x=COST)


@figure(23, "plants", page="book/outside", experiment="outside")
def plants(plants: pd.DataFrame) -> Figure:
    """Gap by refinement for plants that were not trained for, by ``mu, way, told, seed, iterate``: a line a seed."""

    def draw(ax: Axes, mu: float, told: str) -> None:
        for way, look in WAYS.items():
            _seeds(ax, select(plants, mu=mu, told=told, way=way), look.color)

    rows = {mu: f"μ = {mu:g}" for mu in sorted(set(plants["mu"]))}
    return _grid(rows, _told(plants), draw, _legend(WAYS), height=1.8)


@figure(24, "halting", page="book/halting", experiment="halting")
def halting(rules: pd.DataFrame) -> Figure:
    """Gap by the mean number of refinements and by rule, in the training's range and at 1.5 times it, mean of seeds.

    `rules` has ``problem, told, set, rule, seed, wanted, refinements, simulations, gap``.
    """
    where = {"test": "in range", "wide": "1.5 ×"}
    columns = {
        (told, name): f"{heading.removeprefix('told the ').removeprefix('terminal ')}, {extent}"
        for told, heading in _told(rules).items()
        for name, extent in where.items()
    }

    def draw(ax: Axes, problem: str, column: tuple[str, str]) -> None:
        for rule, look in RULES.items():
            some = select(rules, problem=problem, told=column[0], set=column[1], rule=rule)
            points = some.groupby("wanted")[["refinements", "gap"]].mean()
            ax.plot(points["refinements"], _percent(points["gap"]), color=look.color, marker=".", linewidth=1)

    legend = lines_of(RULES, markersize=3.5)
    return _grid(_problems(rules), columns, draw, legend, x="mean refinements", legend_columns=3)


@figure(25, "counting", page="book/counting", experiment="counting", tier="ablations")
def counting(summary: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """Gap by refinement after several trainings, by ``problem, variant, iterate, metric``."""
    return _curves(summary, runs, "variant", TRAININGS, 3.8, columns=3)


@figure(26, "counting_learning", page="book/counting", experiment="counting", tier="ablations")
def counting_learning(training: pd.DataFrame) -> Figure:
    """Validation loss by epoch of the base, by ``problem, variant, seed, epoch``; a line a seed."""
    return _learning(training, "variant", {"deep": TRAININGS["deep"]})


def _learning(training: pd.DataFrame, by: str, looks: Mapping[str, Look]) -> Figure:
    """A row of panels a problem, one for each of what the column `by` names, with axes of its own: losses differ."""
    figure, rows = stacked(training["problem"], len(looks), 1.5, 0.3)
    for problem, row in rows.items():
        for ax, (name, look) in zip(row, looks.items(), strict=True):
            some = select(training, problem=problem, **{by: name})
            if some.empty:  # not tried on this problem
                ax.set_axis_off()
                continue
            for _, one in some.groupby("seed"):
                ax.plot(one["epoch"] + 1, one["loss"], color=look.color, linewidth=1, marker=".", markersize=3)
            ax.set_title(look.title.removeprefix("told ").removeprefix("the "), fontweight="normal", fontsize=8)
            ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
        row[0].set_ylabel(f"{title(problem)}\nvalidation loss")
    for ax in row:
        ax.set_xlabel("epoch")
    return figure


def _grid(
    rows: Mapping[Any, str],
    columns: Mapping[Any, str],
    draw: Callable[..., None],
    legend: Mapping[str, Mapping[str, Any]],
    *,
    height: float = 2.1,
    x: str = "refinements, +1",
    legend_columns: int = 0,
) -> Figure:
    """Gaps in a row of panels for each of `rows`, a column for each of `columns`, by their titles.

    Each panel is drawn by ``draw(ax, row, column)``; all have the same logarithmic axes.
    """
    figure, panels = stacked(rows, len(columns), height, 0.6, sharey=True)
    for row, axes in panels.items():
        for ax, (column, heading) in zip(axes, columns.items(), strict=True):
            draw(ax, row, column)
            ax.set_title(heading, fontweight="normal")
        for ax in axes:
            log_axis(ax, "xy")
        axes[0].set_ylabel(f"{rows[row]}\n{GAP}")
    for ax in axes:
        ax.set_xlabel(x)
    legend_below(figure, legend, legend_columns)
    return figure


def _problems(frame: pd.DataFrame) -> dict[str, str]:
    """Titles of the problems of a table."""
    return {problem: title(problem) for problem in dict.fromkeys(frame["problem"])}


def _told(frame: pd.DataFrame) -> dict[str, str]:
    """What the networks of a table are told, and how that is called."""
    return {told: look.title for told, look in present(TELLS, frame["told"]).items()}


def _legend(looks: Mapping[str, Look]) -> dict[str, dict[str, Any]]:
    """Lines of a legend without markers."""
    return {look.title: {"color": look.color} for look in looks.values()}


def _curves(
    summary: pd.DataFrame, runs: pd.DataFrame, by: str, looks: Mapping[str, Look], height: float, columns: int = 0
) -> Figure:
    """A panel a problem, a band for each of what the column `by` names."""
    shown = present(looks, summary[by])
    figure, panels = side_by_side(summary, height, x="refinements, +1", y=GAP)
    for problem, ax in panels.items():
        for name, look in shown.items():
            _band(ax, summary, runs, {"problem": problem, by: name, "metric": "gap"}, look)
        log_axis(ax, "xy")
    legend_below(figure, _legend(shown), columns)
    return figure


def _band(ax: Axes, summary: pd.DataFrame, runs: pd.DataFrame, where: Mapping[str, str], look: Look) -> None:
    """Gap by refinement with its interval, and a thin line a seed."""
    clipped = [_shifted(select(frame, **where)) for frame in (summary, runs)]
    if len(clipped[0]):
        band(ax, *clipped, {}, 1, 0.4, color=look.color)


def _by_cost(ax: Axes, rows: pd.DataFrame, look: Look, network: bool) -> None:
    """Gap by simulations and passes backwards together; networks stand out."""
    line = {"color": look.color, "marker": look.marker, "markersize": 4 if network else 2}
    line |= {"linewidth": 1.8, "zorder": 3} if network else {"linewidth": 0.9, "alpha": 0.8}
    ax.plot(rows["rollouts"] + rows["adjoints"] + SHIFT, _percent(rows["gap"]), **line)


def _shifted(rows: pd.DataFrame) -> pd.DataFrame:
    """The same with gaps in percent, none below the least, and the iterates moved by one."""
    gaps = {name: _percent(rows[name]) for name in ("value", "low", "high") if name in rows}
    return rows.assign(iterate=rows["iterate"] + SHIFT, **gaps)


def _seeds(ax: Axes, rows: pd.DataFrame, color: str) -> None:
    """A line a seed."""
    for _, one in rows.groupby("seed"):
        ax.plot(one["iterate"] + SHIFT, _percent(one["gap"]), color=color, linewidth=1, alpha=0.8)


def _percent(gaps: pd.Series) -> pd.Series:
    return (100 * gaps).clip(lower=LEAST)
