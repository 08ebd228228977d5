"""Methods side by side: how far they come, and how far from home."""

import pandas as pd
from matplotlib.figure import Figure

from ..rows import select
from .names import COMPARED, present
from .panels import GAP, compared, legend_below, lines_of, log_axis, side_by_side
from .registry import figure

#: A method whose gap stays below this has no place on a logarithmic axis.
SMALLEST_GAP = 1e-6


@figure(1, page="book/comparison", experiment="comparison")
def methods(runs: pd.DataFrame, summary: pd.DataFrame) -> Figure:
    """Terminal error and cost on the test set, with one point a seed, by ``problem, set, method, metric``."""
    runs, summary = (select(frame, set="test") for frame in (runs, summary))
    metrics = {"terminal_error_iqm": "terminal error  ‖$x_T - x_g$‖", "cost_iqm": "cost  $J$"}
    shown = {(method,): look for method, look in present(COMPARED, runs["method"]).items()}
    dots = {"unit": 1, "spread": 0.16, "size": 4.2, "cap": "butt"}
    figure, _ = compared(summary, runs, shown, ["method"], metrics, **dots)
    for ax in figure.axes:
        log_axis(ax)
        ax.set_ylim(-0.6, len(shown) - 0.4)
    return figure


@figure(6, page="book/comparison", experiment="comparison")
def distance(summary: pd.DataFrame) -> Figure:
    """Gap to the optimum as initial states begin further out than in training, by ``problem, set, method, metric``."""
    scales = {"test": 1.0, "wide": 1.5, "wider": 2.0}
    gaps = summary[(summary["metric"] == "gap") & ~summary["method"].isin(["random", "zero", "optimum"])]
    shown = present(COMPARED, gaps["method"])
    figure, panels = side_by_side(gaps, 3.0, x="initial states, times the training's range", y=GAP)
    for problem, ax in panels.items():
        notes = 0
        for method, look in shown.items():
            rows = select(gaps, problem=problem, method=method)
            if rows.empty:  # not tried on this problem
                continue
            if (rows["value"] < SMALLEST_GAP).all():
                note = f"{look.title}: below {100 * SMALLEST_GAP:.4f} %"
                ax.annotate(note, (0.97, 0.04 + 0.07 * notes), xycoords="axes fraction", ha="right", color=look.color)
                notes += 1
                continue
            scale = rows["set"].map(scales)
            value, low, high = (100 * rows[end].clip(lower=SMALLEST_GAP) for end in ("value", "low", "high"))
            ax.plot(scale, value, "o-", color=look.color, markersize=3.5)
            ax.fill_between(scale, low, high, color=look.color, alpha=0.2, linewidth=0)
        log_axis(ax, "y")
        ax.set_xticks(list(scales.values()), ["1", "1.5", "2"])
    legend_below(figure, lines_of(shown, markersize=3.5), 3)
    return figure
