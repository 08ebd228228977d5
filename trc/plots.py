"""Pictures of a run of one's own, in the style that all figures share."""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.backends import backend_pdf
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from .common.files import as_path, writing

INK, MUTED, RULE = "#222222", "#6b6b6b", "#d9d9d9"

#: Full text width of the paper, in inches.
WIDTH = 7.0

#: Colours of what is drawn side by side, safe for the colour-blind (Okabe and Ito).
SHADES = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9")

_RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8.5,
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
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
_RC |= dict.fromkeys(("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), INK)
_RC |= dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), MUTED)
_RC |= dict.fromkeys(("axes.spines.top", "axes.spines.right"), False)

#: What would differ from one drawing to the next.
_UNDATED = {"png": ("Software",), "svg": ("Date",), "pdf": ("CreationDate", "ModDate")}


@contextmanager
def style() -> Iterator[None]:
    """Draw in the house style; the caller's settings come back afterwards."""
    with plt.style.context(["default", _RC]):  # whatever the user's matplotlibrc says
        yield
        interactive = mpl.is_interactive()  # the first figure of a notebook turns it on, for all that follow
    mpl.interactive(interactive)


def save_png(figure: Figure, path: str | Path) -> Path:
    """Write a figure as ``.png``, whole or not at all, and close it."""
    return _save(figure, {"png": as_path(path)})[0]


def save_vector(figure: Figure, stem: str | Path) -> list[Path]:
    """Write a figure as ``.svg`` and ``.pdf``, without dates, whole or not at all, and close it."""
    return _save(figure, {kind: as_path(f"{stem}.{kind}") for kind in ("svg", "pdf")})


def _save(figure: Figure, paths: Mapping[str, Path]) -> list[Path]:
    with style():
        for kind, path in paths.items():
            buffer = io.BytesIO()
            dpi = 150 if kind == "png" else "figure"
            with _rounded():
                figure.savefig(buffer, format=kind, dpi=dpi, metadata=dict.fromkeys(_UNDATED[kind]))
            with writing(path) as file:
                file.write(_renamed(buffer.getvalue()) if kind == "svg" else buffer.getvalue())
    plt.close(figure)
    return list(paths.values())


def _renamed(svg: bytes) -> bytes:
    """An SVG without what the last digit of a number decides, which depends on the processor.

    Clip paths are named by where they lie, to the last digit, and zeros have a sign.
    """
    for number, name in enumerate(dict.fromkeys(re.findall(rb'<clipPath id="(\w+)"', svg))):
        svg = svg.replace(name, b"clip%d" % number)
    return re.sub(rb"(?<![\w.-])-0(?![\w.-])", b"0", svg)


@contextmanager
def _rounded() -> Iterator[None]:
    """Let matplotlib write a PDF's numbers with as many digits as an SVG's: it writes ten, the last by chance."""
    written = backend_pdf.pdfRepr

    def rounded(thing: Any) -> bytes:
        return written(round(float(thing), 6) + 0.0 if isinstance(thing, float | np.floating) else thing)

    backend_pdf.pdfRepr = rounded
    try:
        yield
    finally:
        backend_pdf.pdfRepr = written


def training_curves(train_loss: Sequence[float], validation_loss: Sequence[float]) -> Figure:
    """Training and validation loss by epoch; the epoch whose weights were kept is marked."""
    best = min(range(len(validation_loss)), key=validation_loss.__getitem__)
    with style():
        figure, ax = plt.subplots(figsize=(5.2, 3.0))
        epochs = range(1, len(train_loss) + 1)
        ax.plot(epochs, train_loss, color=SHADES[4], label="training")
        ax.plot(epochs, validation_loss, color=SHADES[0], label="validation")
        ax.plot(best + 1, validation_loss[best], "o", color=INK, ms=4, label=f"kept: epoch {best + 1}")
        if min(*train_loss, *validation_loss) > 0:  # rewards can make a loss negative
            ax.set_yscale("log")
        ax.set(xlabel="epoch", ylabel="loss")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.legend()
    return figure


def refinement_panels(runs: Mapping[str, tuple[Tensor, Tensor | None]]) -> Figure:
    """Four views of the refinement of models by name, each with costs and perhaps ``control_mse`` ``[B, K+1]``.

    Mean cost by iterate with a few single instances, the improvement of each refinement, the mean squared difference to
    the teacher's controls, and the distribution of what all refinements together take off each instance's cost; where
    they more than double it, it is drawn at -100 %.
    """
    import seaborn as sns  # it takes a second to import; most runs draw their training alone

    with style():
        figure, axes = plt.subplots(2, 2, figsize=(WIDTH, 4.6))
        (cost, improvement), (distance, total) = axes
        width = 0.8 / len(runs)
        for i, ((name, (costs, control_mse)), shade) in enumerate(zip(runs.items(), cycle(SHADES), strict=False)):
            means, iterates = costs.mean(0).numpy(), range(costs.shape[1])
            for single in costs[:6]:
                cost.plot(iterates, single, color=shade, lw=0.5, alpha=0.35)
            cost.plot(iterates, means, "o-", color=shade, ms=3, label=name)
            places = [k + (i - (len(runs) - 1) / 2) * width for k in iterates[1:]]
            improvement.bar(places, means[:-1] - means[1:], width, color=shade)
            if control_mse is not None:
                distance.plot(iterates, control_mse.mean(0).numpy(), "o-", color=shade, ms=3)
            gone = (100 * (1 - costs[:, -1] / costs[:, 0])).clamp(min=-100).numpy()
            how = {"color": shade, "element": "step", "alpha": 0.4, "linewidth": 0.8}
            sns.histplot(gone, bins=40, binrange=(-100, 100), ax=total, **how)
        cost.set(title="Cost", xlabel="iterate", ylabel="cost $J$", yscale="log")
        improvement.set(title="Improvement", xlabel="iterate", ylabel="fall of the mean cost")
        improvement.axhline(0, color=MUTED, lw=0.7)
        distance.set(title="Distance to the teacher", xlabel="iterate", ylabel="mean squared control error")
        if any(control_mse is not None for _, control_mse in runs.values()):
            distance.set_yscale("log")
        total.set(title="All refinements together", xlabel="cost taken off (%)", ylabel="instances")
        for ax in (cost, improvement, distance):
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        if len(runs) > 1:
            cost.legend()
    return figure
