"""Drawings that explain, not measure: the architecture of the network, with one latent and with two."""

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from ...plots import INK, MUTED, WIDTH
from .registry import figure

_STATE, _CONTROL, _RECURSION, _SIMULATOR = "#e8eef7", "#fdf1dc", "#dcebf7", "#e0f1ea"


@figure(2, page="book/model")
def architecture() -> Figure:
    """One refinement of Tiny Recursive Control, and what it hands to the next one."""
    figure, ax = plt.subplots(figsize=(WIDTH, 3.7))
    ax.set(xlim=(0, 14.4), ylim=(0, 7.4), aspect="equal")
    ax.axis("off")
    dashed = {"linewidth": 0.9, "linestyle": (0, (4, 3)), "edgecolor": MUTED, "facecolor": "none"}
    ax.add_patch(FancyBboxPatch((3.35, 0.35), 10.4, 5.0, boxstyle="round,pad=0,rounding_size=0.25", **dashed))
    ax.text(13.45, 5.02, "K times, same weights", ha="right", va="center", color=MUTED, fontsize=8)

    _box(ax, 0.2, 5.9, 2.6, 1.1, "$x_0$, $x_g$, time", "what is asked", _STATE)
    _box(ax, 3.9, 5.9, 2.6, 1.1, "state encoder", "perceptron", _STATE)
    _box(ax, 10.6, 5.9, 2.9, 1.1, "initial generator", "perceptron, tanh", _CONTROL)
    _box(ax, 3.7, 3.3, 2.5, 1.2, "context tokens", "problem, $u_k$, error", _STATE)
    _box(ax, 6.95, 3.3, 2.9, 1.2, "reasoning blocks", "latent $z$, $r$ times", _RECURSION)
    _box(ax, 10.6, 3.3, 2.9, 1.2, "residual decoder", "$|Δu|$ ≤ bound / 2", _CONTROL)
    _box(ax, 10.6, 0.75, 2.9, 1.2, "$u_{k+1}$", "clip($u_k + Δu$)", _CONTROL)
    _box(ax, 6.95, 0.75, 2.9, 1.2, "simulator", "$x_{t+1} = f(x_t, u_t)$", _SIMULATOR)
    _box(ax, 3.7, 0.75, 2.5, 1.2, "error", "$x_T - x_g$", _SIMULATOR)

    _arrow(ax, (2.8, 6.45), (3.9, 6.45))
    _arrow(ax, (6.5, 6.45), (10.6, 6.45), "$z_0$")
    _arrow(ax, (4.95, 5.9), (4.95, 4.5))
    _arrow(ax, (8.4, 6.45), (8.4, 4.5))
    _arrow(ax, (6.2, 3.9), (6.95, 3.9))
    _arrow(ax, (9.85, 3.9), (10.6, 3.9), "$z$")
    _arrow(ax, (12.05, 3.3), (12.05, 1.95), "$Δu$")
    _arrow(ax, (10.6, 1.35), (9.85, 1.35))
    _arrow(ax, (6.95, 1.35), (6.2, 1.35))
    _arrow(ax, (4.95, 1.95), (4.95, 3.3))
    _arrow(ax, (13.5, 6.45), (13.5, 1.35), bend="arc,angleA=0,angleB=0,armA=18,armB=18,rad=8")
    ax.text(14.2, 5.75, "$u_0$", fontsize=8, va="center")
    return figure


@figure(3, page="book/model")
def two_levels() -> Figure:
    """One H-cycle of the two-level network, its updates of ``z_L`` side by side."""
    figure, ax = plt.subplots(figsize=(WIDTH, 2.9))
    ax.set(xlim=(0, 14.4), ylim=(0, 6.0), aspect="equal")
    ax.axis("off")
    top, middle, bottom, step = 4.6, 2.45, 0.35, 1.95
    places = [2.35 + i * step for i in range(4)]
    _box(ax, 0.1, top, 1.5, 1.1, "$z_H$", "the plan", _RECURSION)
    _box(ax, 0.1, middle, 1.5, 1.1, "$z_L$", "the details", _RECURSION)
    for i, x in enumerate(places):
        _box(ax, x, middle, 1.4, 1.1, "blocks", f"L-cycle {i + 1}", _STATE)
        start = places[i - 1] + 1.4 if i else 1.6
        _arrow(ax, (start, middle + 0.55), (x, middle + 0.55))
        _arrow(ax, (x + 0.7, top + 0.55), (x + 0.7, middle + 1.1), "$+$")
        _arrow(ax, (x + 0.7, bottom + 0.9), (x + 0.7, middle))
    last = places[-1] + step
    _box(ax, places[0], bottom, places[-1] + 1.4 - places[0], 0.9, "context tokens", "problem, $u_k$, error", _STATE)
    _box(ax, last, top, 1.4, 1.1, "blocks", "no context", _STATE)
    _box(ax, last + 2.25, top, 1.75, 1.1, "decoder", "$u_{k+1}$", _CONTROL)
    ax.plot([1.6, last], [top + 0.55] * 2, color=INK, lw=0.9, zorder=0)
    _arrow(ax, (last - 0.3, top + 0.55), (last, top + 0.55))
    _arrow(ax, (last + 1.4, top + 0.55), (last + 2.25, top + 0.55), "$z_H$")
    ax.plot([places[-1] + 1.4, last + 0.7], [middle + 0.55] * 2, color=INK, lw=0.9)
    _arrow(ax, (last + 0.7, middle + 0.55), (last + 0.7, top), "$+$")
    ax.text(last + 0.9, middle + 0.55, "$z_L$, kept for the next cycle", fontsize=7.5, va="center", color=MUTED)
    return figure


def _box(ax: Axes, x: float, y: float, width: float, height: float, title: str, note: str, face: str) -> None:
    line = {"linewidth": 0.8, "edgecolor": INK, "facecolor": face}
    ax.add_patch(FancyBboxPatch((x, y), width, height, boxstyle="round,pad=0,rounding_size=0.15", **line))
    centred = {"x": x + width / 2, "ha": "center", "va": "center"}
    ax.text(y=y + height * 0.64, s=title, fontsize=8.5, fontweight="bold", **centred)
    ax.text(y=y + height * 0.28, s=note, fontsize=7.5, color=MUTED, **centred)


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], name: str = "", bend: str = "arc3") -> None:
    line = {"arrowstyle": "-|>", "mutation_scale": 9, "linewidth": 0.9, "color": INK, "shrinkA": 0, "shrinkB": 0}
    ax.add_patch(FancyArrowPatch(start, end, connectionstyle=bend, **line))
    x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
    if start[0] == end[0]:  # upright: the name to its left, not above it
        ax.text(x - 0.12, y, name, fontsize=8, ha="right", va="center")
    else:
        ax.text(x, y + 0.1, name, fontsize=8, ha="center", va="bottom")
