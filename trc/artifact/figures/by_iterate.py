"""What happens between the first guess and the answer, and beyond it."""

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ...plots import INK, MUTED
from ..rows import select
from .names import ONE_BY_ONE, UNROLLED_THROUGH, Look, iterate_colors, present, title
from .panels import GAP, band, legend_below, lines_of, log_axis, side_by_side, stacked
from .registry import figure

#: Drawn wide and pale behind the iterates.
TEACHER = "#f6c9a8"


@figure(4, page="book/refinement_curves", experiment="refinement_curves", tier="ablations")
def refinement(curves: pd.DataFrame, runs: pd.DataFrame, improvements: pd.DataFrame) -> Figure:
    """Four views of refinement: cost, reduction and distance to the teacher by iterate, and what it all is worth.

    `curves` and `runs` are by ``problem, method, iterate, metric`` with the metrics ``cost``, ``reduction`` (as a share
    of the iterate before, so not of the first guess) and ``control_mse``; `improvements` has ``problem, method, seed,
    from, to, instances``: histograms of the share of its cost (%) that an instance loses.
    """
    metrics = {"cost": ("cost  $J$", 1), "reduction": ("taken off (%)", 100), "control_mse": ("control error²", 1)}
    shown = present(ONE_BY_ONE, curves["method"])
    figure, rows = stacked(curves["problem"], 4, 1.9, 0.6)
    for problem, row in rows.items():
        for ax, (metric, (name, unit)) in zip(row, metrics.items(), strict=False):
            for method, look in shown.items():
                where = {"problem": problem, "method": method, "metric": metric}
                band(ax, curves, runs, where, unit, 0.5, color=look.color, marker="o", markersize=3)
            ax.set_title(name, fontweight="normal")
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
            if metric != "reduction":
                log_axis(ax, "y")
        row[1].axhline(0, color=MUTED, linewidth=0.7)
        _histograms(row[3], select(improvements, problem=problem), shown)
        row[3].set_title("instances (%)", fontweight="normal")
        row[0].set_ylabel(title(problem), fontweight="bold", fontsize=9.5)
    for ax in row[:3]:
        ax.set_xlabel("iterate")
    row[3].set_xlabel("taken off in all (%)")
    legend_below(figure, lines_of(shown, markersize=3))
    return figure


def _histograms(ax: Axes, counts: pd.DataFrame, shown: dict[str, Look]) -> None:
    """Histograms of all seeds together, each in percent of its method's instances."""
    middles = counts.assign(middle=(counts["from"] + counts["to"]) / 2)
    drawn = {"x": "middle", "weights": "instances", "bins": sorted({*counts["from"], *counts["to"]})}
    colors = {method: look.color for method, look in shown.items()}
    kinds = {"hue": "method", "hue_order": list(shown), "palette": colors, "stat": "percent", "common_norm": False}
    line = {"element": "step", "alpha": 0.4, "linewidth": 0.8}
    sns.histplot(middles, **drawn, **kinds, **line, legend=False, ax=ax)
    ax.set(xlabel="", ylabel="")


@figure(5, page="book/refinement_curves", experiment="refinement_curves", tier="ablations")
def iterates(trajectories: pd.DataFrame) -> Figure:
    """Controls and phase plane over the iterates of a few instances, with their teacher behind.

    `trajectories` has ``problem, method, instance, iterate, time, state_0, state_1, target_0, target_1, control_0``;
    the method ``teacher`` lies behind, and a trajectory's last control is missing, since the final state has none.
    """
    shown = present(ONE_BY_ONE, trajectories["method"])
    pairs = [(problem, method) for problem in dict.fromkeys(trajectories["problem"]) for method in shown]
    figure, rows = stacked(pairs, 3, 1.75, 0.4)
    for (problem, method), row in rows.items():
        drawn = select(trajectories, problem=problem)
        drawn = drawn[drawn["method"].isin([method, "teacher"])]
        for ax, letter, instance in zip(row, "ab", dict.fromkeys(drawn["instance"]), strict=False):
            _instance(ax, row[2], select(drawn, instance=instance), letter)
            ax.set_title(f"control, {letter}", fontweight="normal")
        row[2].set_title("phase plane", fontweight="normal")
        row[0].set_ylabel(f"{title(problem)}\n{shown[method].title.partition(', ')[0]}", fontweight="bold")
    for ax, name in zip(row, ("time  $t$ (s)", "time  $t$ (s)", "position, velocity upwards"), strict=True):
        ax.set_xlabel(name)
    last = int(trajectories["iterate"].max())
    names = ["first guess", *(f"refinement {k}" for k in range(1, last + 1))]
    lines = {name: {"color": shade} for name, shade in zip(names, iterate_colors(last + 1), strict=True)}
    legend_below(figure, {"teacher": {"color": TEACHER, "linewidth": 4}, **lines})
    return figure


def _instance(controls: Axes, phase: Axes, frame: pd.DataFrame, letter: str) -> None:
    """Controls and states of one instance: the teacher's, and on them those of each iterate."""
    teacher, network = frame[frame["method"] == "teacher"], frame[frame["method"] != "teacher"]
    iterates = [rows for _, rows in network.groupby("iterate")]
    shades = [TEACHER, *iterate_colors(len(iterates))]
    for rows, shade in zip([teacher, *iterates], shades, strict=True):
        width, held = 4 if rows is teacher else 1.1, rows.ffill()  # the final state has no control of its own
        controls.step(held["time"], held["control_0"], where="post", color=shade, linewidth=width)
        phase.plot(rows["state_0"], rows["state_1"], color=shade, linewidth=width)
    start = teacher.iloc[0]
    phase.plot(start["state_0"], start["state_1"], "o", color=INK, markersize=4)
    phase.annotate(letter, (start["state_0"], start["state_1"]), textcoords="offset points", xytext=(5, 4))
    phase.plot(start["target_0"], start["target_1"], "+", color=INK, markersize=7)


@figure(10, page="book/counting", experiment="counting", tier="ablations")
def iteration_curves(curves: pd.DataFrame, curve_runs: pd.DataFrame) -> Figure:
    """Gap by iterate, far beyond the number that the networks were unrolled through.

    `curves` and `curve_runs` are by ``problem, variant, iterate, metric``.
    """
    trained = present(UNROLLED_THROUGH, curves["variant"])
    shades = dict(zip(trained, iterate_colors(len(trained)), strict=True))
    figure, panels = side_by_side(curves, 2.9, x="iterate", y=GAP)
    for problem, ax in panels.items():
        for name, shade in shades.items():
            band(ax, curves, curve_runs, {"problem": problem, "variant": name}, 100, 0.4, color=shade)
            end = select(curves, problem=problem, variant=name, iterate=trained[name])
            ax.plot(end["iterate"], 100 * end["value"], "o", color=shade, markeredgecolor=INK, markersize=5)
        log_axis(ax, "y")
    lines = {f"trained with {trained[name]}": {"color": shade} for name, shade in shades.items()}
    dot = {"color": MUTED, "linestyle": "none", "marker": "o", "markeredgecolor": INK}
    legend_below(figure, {**lines, "that many iterates": dot})
    return figure
