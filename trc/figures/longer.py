"""What a longer training changes."""

from __future__ import annotations

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..tables import select, value_of
from .style import PROBLEM_TITLES, VARIANTS, WIDTH, log_axis, style, upright


def convergence(summary: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """Gap after the paper's training and after a longer one, variant by variant.

    Parameters
    ----------
    summary : DataFrame
        ``problem, epochs, variant, metric, value, low, high``; variants at half their rate are left out.
    runs : DataFrame
        The same for each ``seed``, without interval.
    """
    problems, lengths = list(dict.fromkeys(summary["problem"])), sorted(set(summary["epochs"]))
    names = {name for name in summary["variant"] if not name.endswith("-half")}
    shown = {name: how for name, how in VARIANTS.items() if name in names}
    with style():
        figure, axes = plt.subplots(1, len(problems), figsize=(WIDTH, 3.4), squeeze=False)
        for ax, problem in zip(axes[0], problems, strict=True):
            for i, (variant, (_, shade, marker)) in enumerate(shown.items()):
                where = {"problem": problem, "variant": variant, "metric": "gap"}
                places = [place + 0.05 * (i - len(shown) / 2) for place in range(len(lengths))]
                values = [value_of(summary, **where, epochs=epochs) for epochs in lengths]
                ax.plot(places, [100 * value for value in values], color=shade, linewidth=0.8, alpha=0.6)
                for place, epochs in zip(places, lengths, strict=True):
                    (total,) = select(summary, **where, epochs=epochs).to_dict("records")
                    upright(ax, place, total, select(runs, **where, epochs=epochs)["value"], shade, marker)
            log_axis(ax, "y")
            ax.set_xticks(range(len(lengths)), [f"{epochs} epochs" for epochs in lengths])
            ax.set_title(PROBLEM_TITLES[problem])
        axes[0, 0].set_ylabel("gap to the optimum (%)")
        handles = [plt.Line2D([], [], color=shade, marker=marker) for _, shade, marker in shown.values()]
        figure.legend(handles, [name for name, *_ in shown.values()], loc="outside lower center", ncols=4)
        return figure


def stability(training: pd.DataFrame) -> Figure:
    """Validation loss by epoch of the longest training, one line a seed.

    Parameters
    ----------
    training : DataFrame
        ``problem, epochs, variant, seed, epoch, loss``; the variants ``base`` and ``K7…`` are drawn.
    """
    longest = select(training, epochs=training["epochs"].max())
    problems = list(dict.fromkeys(longest["problem"]))
    shown = {name: how for name, how in VARIANTS.items() if name == "base" or name.startswith("K7")}
    with style():
        figure, axes = plt.subplots(1, len(problems), figsize=(WIDTH, 2.6), sharey=True, squeeze=False)
        for ax, problem in zip(axes[0], problems, strict=True):
            for variant, (_, shade, _) in shown.items():
                for _, rows in select(longest, problem=problem, variant=variant).groupby("seed"):
                    ax.plot(rows["epoch"] + 1, rows["loss"], color=shade, linewidth=1.1)
            ax.set_yscale("log")
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
            ax.set_title(PROBLEM_TITLES[problem])
            ax.set_xlabel("epoch")
        axes[0, 0].set_ylabel("validation loss")
        handles = [plt.Line2D([], [], color=shade) for _, shade, _ in shown.values()]
        figure.legend(handles, [name for name, *_ in shown.values()], loc="outside lower center", ncols=len(shown))
        return figure
