"""Process supervision: the answer and the first guess by form and weight of the loss."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from ...plots import MUTED
from ..rows import select
from .names import FORMS, SETTINGS, present, title
from .panels import compared, legend_below, lines_of, log_axis, stacked, whiskers
from .registry import figure

#: What is drawn: its name, and how a value is turned into it; the first guess is a multiple of the optimum's cost.
PANELS = {
    "gap": ("gap of the answer (%)", lambda values: 100 * values),
    "first_gap": ("cost of the first guess (×)", lambda values: 1 + values),
    "monotone_share": ("never rising (%)", lambda values: 100 * values),
    "success": ("success (%)", lambda values: 100 * values),
}


@figure(9, "weight", page="book/process_weight", experiment="process_weight", tier="ablations")
def process_weight(summary: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """Answer and first guess by loss on the test set, by ``problem, set, size, form, weight, metric``."""
    summary, runs = (select(frame, set="test") for frame in (summary, runs))
    problems = sorted(set(summary["problem"]), reverse=True)  # the one with all forms first
    figure, rows = stacked(problems, len(PANELS), 1.9, 0.7)
    for problem, row in rows.items():
        for ax, (metric, (name, shown)) in zip(row, PANELS.items(), strict=True):
            totals, seeds = (select(frame, problem=problem, metric=metric) for frame in (summary, runs))
            ends = shown(totals[["value", "low", "high"]])
            _weights(ax, totals.assign(**ends), seeds.assign(value=shown(seeds["value"])))
            ax.set_title(name, fontweight="normal", fontsize=8.5)
            if "gap" in metric:
                log_axis(ax, "y")
        row[0].set_ylabel(title(problem), fontweight="bold", fontsize=9.5)
    for ax in row:
        ax.set_xlabel("weight")
    lines = lines_of(present(FORMS, summary["form"]), markersize=3.5)
    if "medium" in set(summary["size"]):
        lines["medium network"] = {"color": MUTED, "linestyle": "none", "marker": "D", "markerfacecolor": "white"}
    legend_below(figure, lines, 3)
    return figure


@figure(16, "setting", page="book/process_weight", experiment="published_setting", tier="ablations")
def published_setting(summary: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """Success and gap in the published setting and with what the reward may replace, by ``variant, weight``."""
    metrics = {"success": "success (%)", "gap": "gap to the optimum (%)"}
    figure, _ = compared(summary, runs, SETTINGS, ("variant", "weight"), metrics, height=3.6, spread=0.05, size=3)
    return figure


def _weights(ax: Axes, summary: pd.DataFrame, runs: pd.DataFrame) -> None:
    """One panel; all forms start from the weight 0, which is cloning alone."""
    small = select(summary, size="small")
    cloned, weighted = small[small["weight"] == 0], small[small["weight"] > 0]
    for form, look in present(FORMS, weighted["form"]).items():
        rows = pd.concat([cloned, select(weighted, form=form)])
        line = {"color": look.color, "marker": look.marker, "markersize": 3.5, "elinewidth": 0.8}
        ax.errorbar(rows["weight"], rows["value"], whiskers(rows), **line)
    first = select(runs, size="small", form="first")
    ax.plot(first["weight"], first["value"], "o", color=FORMS["first"].color, markersize=1.8, alpha=0.5)
    for _, row in select(summary, size="medium").iterrows():
        shade = FORMS[row["form"]].color if row["weight"] else MUTED
        line = {"color": shade, "marker": "D", "markersize": 4.5, "markerfacecolor": "white"}
        ax.errorbar([row["weight"]], [row["value"]], whiskers(row), **line)
    ax.set_xscale("symlog", linthresh=0.01, linscale=0.6)
    ax.xaxis.set_major_locator(FixedLocator([0, 0.01, 0.1, 1, 10]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticklabels(["0", ".01", ".1", "1", "10"])
