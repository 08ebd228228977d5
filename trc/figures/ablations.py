"""Figures of the experiments that change one thing: the weight of the reward, the feedback, the cycles, the size."""

from __future__ import annotations

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from .style import FORMS, INK, MUTED, PROBLEM_TITLES, WIDTH, iterate_colors, log_axis, style

#: What the networks of the feedback experiment were trained with and are told, as the figure calls it.
TOLD = {
    ("none", "none"): "nothing",
    ("error", "error"): "its plan's error",
    ("shuffled", "shuffled"): "another instance's error",
    ("wrong", "wrong"): "a wrong simulator's error",
    ("error", "shuffled"): "trained with its own,\ntold another instance's",
    ("error", "wrong"): "trained with its own,\ntold a wrong simulator's",
}

#: Networks that differ from the small one along one axis, in order.
AXES = {
    "the three sizes": (["small", "medium", "large"], INK, "o"),
    "wider latent alone": (["small", "latent 128", "latent 256"], "#0072b2", "s"),
    "more blocks alone": (["1 block", "small", "3 blocks", "4 blocks"], "#d55e00", "^"),
}

PLAIN = "#777777"


def rows_where(frame: pd.DataFrame, **where: object) -> pd.DataFrame:
    """The rows with these values."""
    for column, value in where.items():
        frame = frame[frame[column] == value]
    return frame


def process_weight(summary: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """What becomes of the answer and of the first guess as the iterates' costs count more in the loss.

    Parameters
    ----------
    summary : DataFrame
        ``problem, set, size, form, weight, metric, value, low, high``; the set ``test`` is drawn.
    runs : DataFrame
        The same for each ``seed``, without interval.
    """
    panels = (
        ("gap", "gap of the answer (%)", 100),
        ("first_gap", "gap of the first guess (×)", 1),
        ("monotone_share", "never rising (%)", 100),
        ("success", "success (%)", 100),
    )
    summary, runs = (rows_where(frame, set="test") for frame in (summary, runs))
    problems = sorted(set(summary["problem"]), reverse=True)  # the one with all forms first
    with style():
        figure, axes = plt.subplots(len(problems), 4, figsize=(WIDTH, 0.7 + 1.9 * len(problems)), squeeze=False)
        for row, problem in zip(axes, problems, strict=True):
            for ax, (metric, title, unit) in zip(row, panels, strict=True):
                where = {"problem": problem, "metric": metric}
                _weights(ax, rows_where(summary, **where), rows_where(runs, **where), unit)
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


def _weights(ax: Axes, summary: pd.DataFrame, runs: pd.DataFrame, unit: float) -> None:
    """One panel; all forms start from the weight 0, which is cloning alone."""
    small = rows_where(summary, size="small")
    cloned = small[small["weight"] == 0]
    for form, (_, shade, marker) in FORMS.items():
        chosen = small[(small["form"] == form) & (small["weight"] > 0)]
        if chosen.empty:
            continue
        chosen = pd.concat([cloned, chosen])
        low, high = unit * (chosen["value"] - chosen["low"]), unit * (chosen["high"] - chosen["value"])
        ax.errorbar(
            chosen["weight"],
            unit * chosen["value"],
            [low, high],
            color=shade,
            marker=marker,
            markersize=3.5,
            elinewidth=0.8,
        )
    first = rows_where(runs, size="small", form="first")
    ax.plot(first["weight"], unit * first["value"], "o", color=FORMS["first"][1], markersize=1.8, alpha=0.5)
    for _, one in rows_where(summary, size="medium").iterrows():
        shade = FORMS[one["form"]][1] if one["weight"] else MUTED
        ends = [[unit * (one["value"] - one["low"])], [unit * (one["high"] - one["value"])]]
        ax.errorbar(
            [one["weight"]],
            [unit * one["value"]],
            ends,
            color=shade,
            marker="D",
            markersize=4.5,
            markerfacecolor="white",
        )
    ax.set_xscale("symlog", linthresh=0.01, linscale=0.6)
    ax.xaxis.set_major_locator(FixedLocator([0, 0.01, 0.1, 1, 10]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticklabels(["0", ".01", ".1", "1", "10"])


def feedback(summary: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """Gap and success of networks by what the simulator tells them.

    Parameters
    ----------
    summary : DataFrame
        ``problem, set, trained, told, metric, value, low, high``; the set ``test`` is drawn.
    runs : DataFrame
        The same for each ``seed``, without interval.
    """
    summary, runs = (rows_where(frame, set="test") for frame in (summary, runs))
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
                    (total,) = rows_where(summary, **where).to_dict("records")
                    _across(ax, height, total, rows_where(runs, **where)["value"], shade)
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


def iteration_curves(curves: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """Gap by iterate, far beyond the number that the networks were trained with.

    Parameters
    ----------
    curves : DataFrame
        ``problem, variant, iterate, metric, value, low, high``; variants ``K=… n=3`` are drawn.
    runs : DataFrame
        The same for each ``seed``, without interval.
    """
    problems = list(dict.fromkeys(curves["problem"]))
    names = sorted({name for name in curves["variant"] if name.endswith(" n=3")}, key=_outer_cycles)
    with style():
        figure, axes = plt.subplots(1, len(problems), figsize=(WIDTH, 2.9), squeeze=False)
        for ax, problem in zip(axes[0], problems, strict=True):
            for name, shade in zip(names, iterate_colors(len(names)), strict=True):
                curve = rows_where(curves, problem=problem, variant=name)
                for _, seed in rows_where(runs, problem=problem, variant=name).groupby("seed"):
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
    return int(variant.partition("K=")[2].partition(" ")[0])


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
            for _, network in rows_where(networks, problem=problem).iterrows():
                where = {"problem": problem, "variant": network["variant"], "metric": "gap"}
                kind = network["variant"].partition(",")[0]
                shade, marker = (PLAIN, "s") if kind == "plain" else ("#0072b2", "o")
                if network["variant"].endswith("no feedback"):
                    shade = "#56b4e9"
                (total,) = rows_where(summary, **where).to_dict("records")
                x = network["flops"] / 1e6
                _upright(ax, x, total, rows_where(runs, **where)["value"], shade, marker)
                text = network["variant"].replace(", ", ",\n")
                ax.annotate(text, (x, 100 * total["value"]), textcoords="offset points", xytext=(6, 3), fontsize=7)
            log_axis(ax)
            log_axis(ax, "y")
            ax.margins(x=0.15)
            ax.set_title(PROBLEM_TITLES[problem])
            ax.set_xlabel("million operations an answer")
        axes[0, 0].set_ylabel("gap to the optimum (%)")
        return figure


def _upright(
    ax: Axes, x: float, total: dict[str, float], seeds: pd.Series, shade: str, marker: str, unit: float = 100
) -> None:
    """Interval, value and one point a seed, standing."""
    ends = [[unit * (total["value"] - total["low"])], [unit * (total["high"] - total["value"])]]
    ax.errorbar([x], [unit * total["value"]], ends, color=shade, marker=marker, markersize=5, elinewidth=1)
    ax.plot([x] * len(seeds), unit * seeds, "o", color=shade, markersize=2, alpha=0.6)


def sizes(summary: pd.DataFrame, runs: pd.DataFrame, networks: pd.DataFrame) -> Figure:
    """Gap by the number of parameters, along three ways to have more of them.

    Parameters
    ----------
    summary : DataFrame
        ``problem, set, variant, metric, value, low, high``; the set ``test`` is drawn.
    runs : DataFrame
        The same for each ``seed``, without interval.
    networks : DataFrame
        ``problem, variant, parameters, flops``.
    """
    summary, runs = (rows_where(frame, set="test", metric="gap") for frame in (summary, runs))
    problems = list(dict.fromkeys(networks["problem"]))
    with style():
        figure, axes = plt.subplots(1, len(problems), figsize=(WIDTH, 3.0), squeeze=False)
        for ax, problem in zip(axes[0], problems, strict=True):
            counts = rows_where(networks, problem=problem).set_index("variant")["parameters"]
            values = rows_where(summary, problem=problem).set_index("variant")
            for names, shade, marker in AXES.values():
                ax.plot(counts[names], 100 * values.loc[names, "value"], color=shade, linewidth=1, alpha=0.6)
                for name in names:
                    seeds = rows_where(runs, problem=problem, variant=name)["value"]
                    _upright(ax, counts[name], values.loc[name].to_dict(), seeds, shade, marker)
            log_axis(ax)
            log_axis(ax, "y")
            ax.xaxis.set_major_formatter(lambda value, _: f"{value / 1e6:g}")
            ax.set_title(PROBLEM_TITLES[problem])
            ax.set_xlabel("million parameters")
        axes[0, 0].set_ylabel("gap to the optimum (%)")
        handles = [plt.Line2D([], [], color=shade, marker=marker) for _, shade, marker in AXES.values()]
        figure.legend(handles, list(AXES), loc="outside lower center", ncols=len(handles))
        return figure


def untrained(runs: pd.DataFrame) -> Figure:
    """How the mean terminal error of untrained networks is distributed over their initial weights.

    Parameters
    ----------
    runs : DataFrame
        ``problem, start, size, seed, metric, value``.
    """
    errors = rows_where(runs, metric="terminal_error")
    problems, starts, names = (list(dict.fromkeys(errors[column])) for column in ("problem", "start", "size"))
    with style():
        figure, axes = plt.subplots(1, len(problems), figsize=(WIDTH, 2.6), squeeze=False)
        shades = dict(zip(starts, (MUTED, "#e69f00"), strict=False))
        for ax, problem in zip(axes[0], problems, strict=True):
            drawn = rows_where(errors, problem=problem)
            for i, size in enumerate(names):
                for start, shift in zip(starts, (-0.2, 0.2), strict=False):
                    values = rows_where(drawn, size=size, start=start)["value"]
                    body = ax.violinplot(values, [i + shift], widths=0.36, showextrema=False)["bodies"][0]
                    body.set(facecolor=shades[start], alpha=0.5)
                    ax.plot([i + shift - 0.12, i + shift + 0.12], [values.mean()] * 2, color=INK, linewidth=1.6)
            ax.set_xticks(range(len(names)), names)
            ax.set_title(PROBLEM_TITLES[problem])
        axes[0, 0].set_ylabel("mean terminal error")
        handles = [
            plt.Line2D([], [], color=shade, linestyle="none", marker="o", markersize=4) for shade in shades.values()
        ]
        handles.append(plt.Line2D([], [], color=INK))
        figure.legend(handles, [f"start {start}" for start in starts] + ["mean"], loc="outside lower center", ncols=3)
        return figure
