"""Networks that differ in one thing: what they are told, their cycles, their size, how long they were trained."""

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ...plots import INK
from ..rows import select, value_of
from .names import AXES, STARTS, TOLD, VARIANTS, cycles, present, title
from .panels import GAP, compared, legend_below, lines_of, log_axis, losses, side_by_side, stacked, upright
from .registry import figure

#: Where the names stand that would lie on each other otherwise: offset in points, and alignment.
LABELS = {
    "K3-n3": ((-7, -9), "right"),
    "K3-n5": ((0, 18), "center"),
    "K5-n3": ((-7, -9), "right"),
    "K7-n3": ((8, 8), "left"),
    "K3-n3-alone": ((-8, -2), "right"),
    "plain-arithmetic": ((8, -12), "left"),
}


@figure(8, page="book/feedback", experiment="feedback", tier="ablations")
def feedback(summary: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """Gap and success on the test set by what networks are told, by ``problem, set, trained, told, metric``."""
    summary, runs = (select(frame, set="test") for frame in (summary, runs))
    metrics = {"gap": GAP, "success": "success (%)"}
    figure, rows = compared(summary, runs, TOLD, ["trained", "told"], metrics)
    for left, _ in rows.values():
        log_axis(left)
    return figure


@figure(11, page="book/iterations", experiment="iterations", tier="ablations")
def arithmetic(summary: pd.DataFrame, runs: pd.DataFrame, networks: pd.DataFrame) -> Figure:
    """Gap by the arithmetic of one answer: recursive networks beside plain ones.

    By ``problem, variant, metric``; `networks` has ``problem, variant, parameters, flops``.
    """
    figure, panels = side_by_side(networks, 3.4, x="million operations an answer", y=GAP)
    for problem, ax in panels.items():
        for network in select(networks, problem=problem).itertuples():
            where = {"problem": problem, "variant": network.variant, "metric": "gap"}
            x, look = network.flops / 1e6, cycles(network.variant)
            upright(ax, x, summary, runs, where, look)
            name, place = look.title.replace(", ", ",\n"), (x, 100 * value_of(summary, **where))
            shift, side = LABELS.get(network.variant, ((7, 3), "left"))
            ax.annotate(name, place, textcoords="offset points", xytext=shift, ha=side, fontsize=7, color=look.color)
        log_axis(ax, "xy")
        ax.margins(x=0.15)
    return figure


@figure(12, page="book/size_ablation", experiment="size_ablation", tier="ablations")
def sizes(summary: pd.DataFrame, runs: pd.DataFrame, networks: pd.DataFrame) -> Figure:
    """Gap by the number of parameters and by arithmetic, along three ways to have more of them.

    By ``problem, set, variant, metric``; the set ``test`` is drawn. `networks` is as in :func:`arithmetic`.
    """
    summary, runs = (select(frame, set="test", metric="gap") for frame in (summary, runs))
    costs = {"parameters": "million parameters", "flops": "million operations an answer"}
    figure, rows = stacked(networks["problem"], len(costs), 2.4)
    for problem, row in rows.items():
        values = select(summary, problem=problem).set_index("variant")
        for ax, (cost, name) in zip(row, costs.items(), strict=True):
            counts = select(networks, problem=problem).set_index("variant")[cost]
            for (*variants,), look in AXES.items():
                ax.plot(counts[variants], 100 * values.loc[variants, "value"], color=look.color, linewidth=1, alpha=0.6)
                for variant in variants:
                    upright(ax, counts[variant], summary, runs, {"problem": problem, "variant": variant}, look)
            log_axis(ax, "xy")
            ax.xaxis.set_major_formatter(lambda value, _: f"{value / 1e6:g}")
            ax.set(title=title(problem), xlabel=name)
        row[0].set_ylabel(GAP)
    legend_below(figure, lines_of(AXES))
    return figure


@figure(13, page="book/size_ablation", experiment="size_ablation", tier="ablations")
def untrained(untrained_runs: pd.DataFrame) -> Figure:
    """Mean terminal errors of untrained networks over their initial weights, by ``problem, start, size, metric``."""
    x, y, shades = "network", "mean terminal error", {start: look.color for start, look in STARTS.items()}
    errors = select(untrained_runs, metric="terminal_error").rename(columns={"size": x, "value": y})
    figure, panels = side_by_side(errors, 2.8)
    shape = {"palette": shades, "saturation": 1, "alpha": 0.5, "linewidth": 0.8, "inner": None, "cut": 0, "gap": 0.1}
    middle = {"palette": dict.fromkeys(shades, INK), "errorbar": ("pi", 50), "dodge": 0.4, "linestyle": "none"}
    for problem, ax in panels.items():
        drawn = {"data": select(errors, problem=problem), "x": x, "y": y, "hue": "start", "ax": ax, "legend": False}
        sns.violinplot(**drawn, **shape, density_norm="width")
        sns.pointplot(**drawn, **middle, markersize=2.5, err_kws={"linewidth": 1})
    lines = {look.title: {"color": look.color, "linewidth": 6, "alpha": 0.5} for look in STARTS.values()}
    dot = {"color": INK, "linewidth": 1, "marker": "o", "markersize": 3}
    legend_below(figure, {**lines, "mean, and the middle half": dot})
    return figure


@figure(14, page="book/convergence", experiment="convergence", tier="ablations")
def convergence(summary: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """Gap after the paper's training and after a longer one, variant by variant.

    By ``problem, epochs, variant, metric``; variants at half their rate are left out.
    """
    lengths = sorted(set(summary["epochs"]))
    shown = present(VARIANTS, {name for name in summary["variant"] if not name.endswith("-half")})
    figure, panels = side_by_side(summary, 3.4, y=GAP)
    for problem, ax in panels.items():
        for i, (variant, look) in enumerate(shown.items()):
            where = [{"problem": problem, "variant": variant, "metric": "gap", "epochs": epochs} for epochs in lengths]
            places = [place + 0.05 * (i - len(shown) / 2) for place in range(len(lengths))]
            values = [100 * value_of(summary, **each) for each in where]
            ax.plot(places, values, color=look.color, linewidth=0.8, alpha=0.6)
            for place, each in zip(places, where, strict=True):
                upright(ax, place, summary, runs, each, look)
        log_axis(ax, "y")
        ax.set_xticks(range(len(lengths)), [f"{epochs} epochs" for epochs in lengths])
    legend_below(figure, lines_of(shown), 4)
    return figure


@figure(15, page="book/convergence", experiment="convergence", tier="ablations")
def stability(training: pd.DataFrame) -> Figure:
    """Validation loss by epoch of the longest training, one line a seed.

    `training` has ``problem, epochs, variant, seed, epoch, loss``; the variants ``base`` and ``K7…`` are drawn.
    """
    longest = select(training, epochs=training["epochs"].max())
    shown = {name: look for name, look in VARIANTS.items() if name == "base" or name.startswith("K7")}
    figure, panels = losses(longest, "variant", shown, 2.6)
    for ax in panels.values():
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure
