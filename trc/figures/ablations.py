"""Figures of the experiments that change one thing: the feedback, the cycles, the size."""

from __future__ import annotations

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..tables import select
from .style import (
    INK,
    MUTED,
    PLAIN,
    PLAIN_NAMES,
    PROBLEM_TITLES,
    WIDTH,
    cycles_label,
    iterate_colors,
    log_axis,
    style,
    upright,
)

#: What the networks of the feedback experiment were trained with and are told, as the figure calls it.
TOLD = {
    ("none", "none"): "nothing",
    ("error", "error"): "its plan's error",
    ("shuffled", "shuffled"): "another instance's error",
    ("wrong", "wrong"): "a wrong simulator's error",
    ("error", "shuffled"): "its own, later another's",
    ("error", "wrong"): "its own, later a wrong one",
}

#: Networks that differ from the small one along one axis, in order.
AXES = {
    "the three sizes": (["small", "medium", "large"], INK, "o"),
    "wider latent alone": (["small", "latent-128", "latent-256"], "#0072b2", "s"),
    "more blocks alone": (["blocks-1", "small", "blocks-3", "blocks-4"], "#d55e00", "^"),
}

#: Where the names stand that would lie on each other otherwise: offset in points, and alignment.
LABELS = {
    "K3-n3": ((-7, -9), "right"),
    "K3-n5": ((0, 18), "center"),
    "K5-n3": ((-7, -9), "right"),
    "K7-n3": ((8, 8), "left"),
    "K3-n3-alone": ((-8, -2), "right"),
    "plain-arithmetic": ((8, -12), "left"),
}

#: How untrained networks start.
STARTS = {"near-zero": ("near zero, as here", MUTED), "pytorch": ("as PyTorch draws it", "#e69f00")}


def feedback(summary: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """Gap and success of networks by what the simulator tells them.

    Parameters
    ----------
    summary : DataFrame
        ``problem, set, trained, told, metric, value, low, high``; the set ``test`` is drawn.
    runs : DataFrame
        The same for each ``seed``, without interval.
    """
    summary, runs = (select(frame, set="test") for frame in (summary, runs))
    problems = list(dict.fromkeys(summary["problem"]))
    with style():
        figure, axes = plt.subplots(
            len(problems), 2, figsize=(WIDTH, 0.5 + 1.75 * len(problems)), sharey=True, squeeze=False
        )
        for row, problem in zip(axes, problems, strict=True):
            for ax, metric in zip(row, ("gap", "success"), strict=True):
                for height, (trained, told) in enumerate(reversed(TOLD)):
                    where = {"problem": problem, "metric": metric, "trained": trained, "told": told}
                    shade = MUTED if trained == "none" else "#0072b2" if trained == told == "error" else "#cc6677"
                    (total,) = select(summary, **where).to_dict("records")
                    _across(ax, height, total, select(runs, **where)["value"], shade)
                ax.grid(axis="y", visible=False)
            log_axis(row[0])
            row[0].set_yticks(range(len(TOLD)), list(reversed(TOLD.values())))
            row[0].set_title(PROBLEM_TITLES[problem])
        axes[-1, 0].set_xlabel("gap to the optimum (%)")
        axes[-1, 1].set_xlabel("success (%)")
        return figure


def _across(ax: Axes, height: float, total: dict[str, float], seeds: pd.Series, shade: str) -> None:
    """Interval, value and one point a seed, lying, in percent."""
    ax.plot([100 * total["low"], 100 * total["high"]], [height, height], color=shade, linewidth=5, alpha=0.3)
    ax.plot([100 * total["value"]], [height], "|", color=shade, markersize=13, markeredgewidth=2)
    spread = [height + 0.14 * (i - (len(seeds) - 1) / 2) for i in range(len(seeds))]
    ax.plot(100 * seeds, spread, "o", color=shade, markersize=3.8, markeredgecolor="white", markeredgewidth=0.6)


def iteration_curves(curves: pd.DataFrame, curve_runs: pd.DataFrame) -> Figure:
    """Gap by iterate, far beyond the number that the networks were trained with.

    Parameters
    ----------
    curves : DataFrame
        ``problem, variant, iterate, metric, value, low, high``; variants ``K…-n3`` are drawn.
    curve_runs : DataFrame
        The same for each ``seed``, without interval.
    """
    problems = list(dict.fromkeys(curves["problem"]))
    names = sorted({name for name in curves["variant"] if name.endswith("-n3")}, key=_outer_cycles)
    with style():
        figure, axes = plt.subplots(1, len(problems), figsize=(WIDTH, 2.9), squeeze=False)
        for ax, problem in zip(axes[0], problems, strict=True):
            for name, shade in zip(names, iterate_colors(len(names)), strict=True):
                curve = select(curves, problem=problem, variant=name)
                for _, seed in select(curve_runs, problem=problem, variant=name).groupby("seed"):
                    ax.plot(seed["iterate"], 100 * seed["value"], color=shade, linewidth=0.4, alpha=0.5)
                low, high = (100 * curve[end] for end in ("low", "high"))
                ax.fill_between(curve["iterate"], low, high, color=shade, alpha=0.2, linewidth=0)
                ax.plot(curve["iterate"], 100 * curve["value"], color=shade)
                trained = curve[curve["iterate"] == _outer_cycles(name)]
                ax.plot(trained["iterate"], 100 * trained["value"], "o", color=shade, markeredgecolor=INK, markersize=5)
            log_axis(ax, "y")
            ax.set_title(PROBLEM_TITLES[problem])
            ax.set_xlabel("iterate")
        axes[0, 0].set_ylabel("gap to the optimum (%)")
        handles = [plt.Line2D([], [], color=shade) for shade in iterate_colors(len(names))]
        titles = [f"trained with {_outer_cycles(name)}" for name in names]
        handles.append(plt.Line2D([], [], color=MUTED, linestyle="none", marker="o", markeredgecolor=INK))
        figure.legend(handles, [*titles, "that many iterates"], loc="outside lower center", ncols=len(handles))
        return figure


def _outer_cycles(variant: str) -> int:
    return int(variant.removeprefix("K").partition("-")[0])


def arithmetic(summary: pd.DataFrame, runs: pd.DataFrame, networks: pd.DataFrame) -> Figure:
    """Gap by the arithmetic of one answer: recursive networks beside plain ones.

    Parameters
    ----------
    summary : DataFrame
        ``problem, variant, metric, value, low, high``.
    runs : DataFrame
        The same for each ``seed``, without interval.
    networks : DataFrame
        ``problem, variant, parameters, flops``.
    """
    problems = list(dict.fromkeys(networks["problem"]))
    with style():
        figure, axes = plt.subplots(1, len(problems), figsize=(WIDTH, 3.4), squeeze=False)
        for ax, problem in zip(axes[0], problems, strict=True):
            for _, network in select(networks, problem=problem).iterrows():
                name, x = network["variant"], network["flops"] / 1e6
                where = {"problem": problem, "variant": name, "metric": "gap"}
                shade, marker = (PLAIN, "s") if name in PLAIN_NAMES else ("#0072b2", "o")
                shade = "#56b4e9" if name.endswith("alone") else shade
                (total,) = select(summary, **where).to_dict("records")
                upright(ax, x, total, select(runs, **where)["value"], shade, marker)
                text, place = cycles_label(name).replace(", ", ",\n"), (x, 100 * total["value"])
                shift, side = LABELS.get(name, ((7, 3), "left"))
                ax.annotate(text, place, textcoords="offset points", xytext=shift, ha=side, fontsize=7, color=shade)
            log_axis(ax)
            log_axis(ax, "y")
            ax.margins(x=0.15)
            ax.set_title(PROBLEM_TITLES[problem])
            ax.set_xlabel("million operations an answer")
        axes[0, 0].set_ylabel("gap to the optimum (%)")
        return figure


def sizes(summary: pd.DataFrame, runs: pd.DataFrame, networks: pd.DataFrame) -> Figure:
    """Gap by the number of parameters and by arithmetic, along three ways to have more of them.

    Parameters
    ----------
    summary : DataFrame
        ``problem, set, variant, metric, value, low, high``; the set ``test`` is drawn.
    runs : DataFrame
        The same for each ``seed``, without interval.
    networks : DataFrame
        ``problem, variant, parameters, flops``.
    """
    summary, runs = (select(frame, set="test", metric="gap") for frame in (summary, runs))
    problems = list(dict.fromkeys(networks["problem"]))
    costs = {"parameters": "million parameters", "flops": "million operations an answer"}
    with style():
        figure, axes = plt.subplots(len(problems), 2, figsize=(WIDTH, 0.5 + 2.4 * len(problems)), squeeze=False)
        for row, problem in zip(axes, problems, strict=True):
            values = select(summary, problem=problem).set_index("variant")
            for ax, (cost, title) in zip(row, costs.items(), strict=True):
                counts = select(networks, problem=problem).set_index("variant")[cost]
                for names, shade, marker in AXES.values():
                    ax.plot(counts[names], 100 * values.loc[names, "value"], color=shade, linewidth=1, alpha=0.6)
                    for name in names:
                        seeds = select(runs, problem=problem, variant=name)["value"]
                        upright(ax, counts[name], values.loc[name].to_dict(), seeds, shade, marker)
                log_axis(ax)
                log_axis(ax, "y")
                ax.xaxis.set_major_formatter(lambda value, _: f"{value / 1e6:g}")
                ax.set_title(PROBLEM_TITLES[problem])
                ax.set_xlabel(title)
            row[0].set_ylabel("gap to the optimum (%)")
        handles = [plt.Line2D([], [], color=shade, marker=marker) for _, shade, marker in AXES.values()]
        figure.legend(handles, list(AXES), loc="outside lower center", ncols=len(handles))
        return figure


def untrained(untrained_runs: pd.DataFrame) -> Figure:
    """How the mean terminal error of untrained networks is distributed over their initial weights.

    Parameters
    ----------
    untrained_runs : DataFrame
        ``problem, start, size, seed, metric, value``.
    """
    errors = select(untrained_runs, metric="terminal_error")
    problems, names = (list(dict.fromkeys(errors[column])) for column in ("problem", "size"))
    with style():
        figure, axes = plt.subplots(1, len(problems), figsize=(WIDTH, 2.6), squeeze=False)
        for ax, problem in zip(axes[0], problems, strict=True):
            drawn = select(errors, problem=problem)
            for i, size in enumerate(names):
                for (start, (_, shade)), shift in zip(STARTS.items(), (-0.2, 0.2), strict=True):
                    values = select(drawn, size=size, start=start)["value"]
                    body = ax.violinplot(values, [i + shift], widths=0.36, showextrema=False)["bodies"][0]
                    body.set(facecolor=shade, alpha=0.5)
                    ax.plot([i + shift - 0.12, i + shift + 0.12], [values.mean()] * 2, color=INK, linewidth=1.6)
            ax.set_xticks(range(len(names)), names)
            ax.set_title(PROBLEM_TITLES[problem])
        axes[0, 0].set_ylabel("mean terminal error")
        handles = [plt.Line2D([], [], color=shade, linewidth=6, alpha=0.5) for _, shade in STARTS.values()]
        handles.append(plt.Line2D([], [], color=INK))
        figure.legend(handles, [*(title for title, _ in STARTS.values()), "mean"], loc="outside lower center", ncols=3)
        return figure
