"""The style sheet of every figure: one colour a method, fonts that embed, files that repeat byte for byte."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from ..files import writing

#: Okabe and Ito's colour-blind-safe palette, one colour a method everywhere; greys are methods that know nothing.
METHODS: dict[str, tuple[str, str]] = {
    "random": ("random controls", "#9a9a9a"),
    "zero": ("zero controls", "#5c5c5c"),
    "untrained": ("untrained network", "#e69f00"),
    "cloned": ("cloned, no feedback", "#56b4e9"),
    "cloned_feedback": ("cloned, feedback", "#0072b2"),
    "supervised": ("process-supervised, no feedback", "#d793bb"),
    "supervised_feedback": ("process-supervised, feedback", "#882255"),
    "lqr": ("saturated LQR", "#009e73"),
    "optimum": ("optimum", "#d55e00"),
}

#: Losses that look at all iterates: name, colour and marker.
FORMS: dict[str, tuple[str, str, str]] = {
    "first": ("reward as proposed", "#882255", "o"),
    "first-detached": ("reward, first cost detached", "#44aa99", "s"),
    "teacher": ("reward, relative to the teacher", "#cc6677", "^"),
    "discounted": ("discounted sum", "#332288", "v"),
    "hinge": ("hinge on rises", "#aa8800", "P"),
}

#: Feed-forward networks of the experiment on iterations.
PLAIN = "#777777"
PLAIN_NAMES = {
    "plain-parameters": "plain, same parameters",
    "plain-arithmetic": "plain, same arithmetic",
    "plain-longer": "plain, trained longer",
}

PROBLEM_TITLES = {"double_integrator": "Double integrator", "van_der_pol": "Van der Pol"}

INK, MUTED, RULE = "#222222", "#6b6b6b", "#d9d9d9"

#: Full text width of the paper, in inches.
WIDTH = 7.0

#: Networks that are trained otherwise, for longer or with other rates: name, colour and marker.
VARIANTS: dict[str, tuple[str, str, str]] = {
    "base": ("small, feedback", "#0072b2", "o"),
    "alone": ("no feedback", "#56b4e9", "s"),
    "shuffled": ("another's error", "#cc6677", "P"),
    "reward-0.1": ("reward, weight 0.1", "#ddaa33", "<"),
    "reward-1": ("reward, weight 1", "#882255", "D"),
    "K1": ("one refinement", "#aad9a0", "v"),
    "K7": ("seven refinements", "#d55e00", "^"),
    "K7-half": ("seven, half the rate", "#44aa99", "d"),
    "two-level": ("two levels", "#aa4499", "h"),
    "blocks-4": ("four blocks", "#999933", ">"),
    "latent-256": ("latent of 256", "#661100", "8"),
    "medium": ("medium network", INK, "X"),
    "large": ("large network", MUTED, "p"),
    "plain": ("plain network", PLAIN, "*"),
}

_RC = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8.5,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "lines.linewidth": 1.4,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.constrained_layout.use": True,
    "figure.dpi": 110,
    "savefig.facecolor": "white",
    "svg.hashsalt": "trc",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
}


@contextmanager
def style() -> Iterator[None]:
    """Draw in the house style; the caller's settings come back afterwards."""
    with mpl.rc_context(_RC):
        yield
        interactive = mpl.is_interactive()  # the first figure of a notebook turns it on, for all that follow
    mpl.interactive(interactive)


def label(method: str) -> str:
    """Name of a method as printed."""
    return METHODS[method][0]


def color(method: str) -> str:
    """Colour of a method."""
    return METHODS[method][1]


def cycles_label(variant: str) -> str:
    """``3 × 5`` for a network of three outer and five inner cycles."""
    outer, _, inner = variant.removeprefix("K").partition("-n")
    return PLAIN_NAMES.get(variant) or f"{outer} × {inner.replace('-alone', ', no feedback')}"


def iterate_colors(count: int) -> list[tuple[float, ...]]:
    """One colour an iterate: from pale to deep blue, the last one the darkest."""
    shades = plt.get_cmap("YlGnBu")
    return [shades(0.3 + 0.65 * k / max(count - 1, 1)) for k in range(count)]


def log_axis(ax: Axes, which: str = "x") -> None:
    """Make an axis logarithmic, its ticks labelled in plain numbers; call it after drawing."""
    axis = ax.xaxis if which == "x" else ax.yaxis
    (ax.set_xscale if which == "x" else ax.set_yscale)("log")
    low, high = ax.get_xlim() if which == "x" else ax.get_ylim()
    steps = (1.0,) if high / low > 300 else (1.0, 3.0) if high / low > 20 else (1.0, 2.0, 5.0)
    axis.set_major_locator(LogLocator(subs=steps, numticks=20))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def whiskers(rows: Mapping[str, Any] | pd.DataFrame) -> np.ndarray:
    """Lengths ``[2, N]`` of error bars below and above; a value that lies outside its few resamples has none there."""
    return np.reshape([rows["value"] - rows["low"], rows["high"] - rows["value"]], (2, -1)).clip(0)


def upright(
    ax: Axes, x: float, total: dict[str, float], seeds: pd.Series, shade: str, marker: str, unit: float = 100
) -> None:
    """Interval, value and one point a seed, standing."""
    ax.errorbar(
        [x], [unit * total["value"]], unit * whiskers(total), color=shade, marker=marker, markersize=5, elinewidth=1
    )
    ax.plot([x] * len(seeds), unit * seeds, "o", color=shade, markersize=2, alpha=0.6)


def save(figure: Figure, stem: str | Path) -> list[Path]:
    """Write a figure as ``.svg`` and ``.pdf``, without dates, whole or not at all."""
    stem = Path(stem)
    paths = []
    with style():
        for suffix, metadata in ((".svg", {"Date": None}), (".pdf", {"CreationDate": None, "ModDate": None})):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=suffix[1:], metadata=metadata)
            with writing(stem.with_suffix(suffix)) as file:
                file.write(buffer.getvalue())
            paths.append(stem.with_suffix(suffix))
    plt.close(figure)
    return paths


def save_png(figure: Figure, path: str | Path) -> Path:
    """Write a figure as ``.png``, whole or not at all."""
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    with writing(path) as file:
        file.write(buffer.getvalue())
    plt.close(figure)
    return Path(path)
