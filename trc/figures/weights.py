"""The figure of the experiment on process supervision: form and weight of the loss."""

from __future__ import annotations

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from ..tables import select
from .style import FORMS, MUTED, PROBLEM_TITLES, WIDTH, log_axis, style, whiskers


def process_weight(summary: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """What becomes of the answer and of the first guess as the iterates' costs count more in the loss.

    Parameters
    ----------
    summary : DataFrame
        ``problem, set, size, form, weight, metric, value, low, high``; the set ``test`` is drawn.
    runs : DataFrame
        The same for each ``seed``, without interval.
    """
    panels = {
        "gap": ("gap of the answer (%)", lambda values: 100 * values),
        "first_gap": ("cost of the first guess (×)", lambda values: 1 + values),  # as a multiple of the optimum's
        "monotone_share": ("never rising (%)", lambda values: 100 * values),
        "success": ("success (%)", lambda values: 100 * values),
    }
    summary, runs = (select(frame, set="test") for frame in (summary, runs))
    problems = sorted(set(summary["problem"]), reverse=True)  # the one with all forms first
    with style():
        figure, axes = plt.subplots(len(problems), 4, figsize=(WIDTH, 0.7 + 1.9 * len(problems)), squeeze=False)
        for row, problem in zip(axes, problems, strict=True):
            for ax, (metric, (title, drawn)) in zip(row, panels.items(), strict=True):
                one, seeds = (select(frame, problem=problem, metric=metric) for frame in (summary, runs))
                ends = drawn(one[["value", "low", "high"]])
                _weights(ax, one.assign(**ends), seeds.assign(value=drawn(seeds["value"])))
                ax.set_title(title, fontweight="normal", fontsize=8.5)
                if "gap" in metric:
                    log_axis(ax, "y")
            row[0].set_ylabel(PROBLEM_TITLES[problem], fontweight="bold", fontsize=9.5)
        for ax in axes[-1]:
            ax.set_xlabel("weight")
        shown = [name for name in FORMS if name in set(summary["form"])]
        handles = [plt.Line2D([], [], color=FORMS[name][1], marker=FORMS[name][2], markersize=3.5) for name in shown]
        names = [FORMS[name][0] for name in shown]
        if "medium" in set(summary["size"]):
            handles.append(plt.Line2D([], [], color=MUTED, linestyle="none", marker="D", markerfacecolor="white"))
            names.append("medium network")
        figure.legend(handles, names, loc="outside lower center", ncols=3)
        return figure


def _weights(ax: Axes, summary: pd.DataFrame, runs: pd.DataFrame) -> None:
    """One panel; all forms start from the weight 0, which is cloning alone."""
    small = select(summary, size="small")
    cloned = small[small["weight"] == 0]
    for form, (_, shade, marker) in FORMS.items():
        chosen = small[(small["form"] == form) & (small["weight"] > 0)]
        if chosen.empty:
            continue
        chosen = pd.concat([cloned, chosen])
        ax.errorbar(
            chosen["weight"],
            chosen["value"],
            whiskers(chosen),
            color=shade,
            marker=marker,
            markersize=3.5,
            elinewidth=0.8,
        )
    first = select(runs, size="small", form="first")
    ax.plot(first["weight"], first["value"], "o", color=FORMS["first"][1], markersize=1.8, alpha=0.5)
    for _, one in select(summary, size="medium").iterrows():
        shade = FORMS[one["form"]][1] if one["weight"] else MUTED
        ax.errorbar(
            [one["weight"]],
            [one["value"]],
            whiskers(one),
            color=shade,
            marker="D",
            markersize=4.5,
            markerfacecolor="white",
        )
    ax.set_xscale("symlog", linthresh=0.01, linscale=0.6)
    ax.xaxis.set_major_locator(FixedLocator([0, 0.01, 0.1, 1, 10]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticklabels(["0", ".01", ".1", "1", "10"])
