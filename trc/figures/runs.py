"""Figures of a single run, drawn where it was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from .style import INK, MUTED, WIDTH, color, style


def training_curves(train_loss: Sequence[float], validation_loss: Sequence[float]) -> Figure:
    """Training and validation loss by epoch; the epoch whose weights were kept is marked."""
    best = min(range(len(validation_loss)), key=validation_loss.__getitem__)
    with style():
        figure, ax = plt.subplots(figsize=(5.2, 3.0))
        epochs = range(1, len(train_loss) + 1)
        ax.plot(epochs, train_loss, color=color("cloned"), label="training")
        ax.plot(epochs, validation_loss, color=color("cloned_feedback"), label="validation")
        ax.plot(best + 1, validation_loss[best], "o", color=INK, ms=4)
        ax.annotate(
            f"kept: epoch {best + 1}",
            (best + 1, validation_loss[best]),
            xytext=(0, 8),
            textcoords="offset points",
            ha="right" if best > len(train_loss) / 2 else "left",
            color=MUTED,
        )
        if min(*train_loss, *validation_loss) > 0:  # rewards can make a loss negative
            ax.set_yscale("log")
        ax.set(xlabel="epoch", ylabel="loss")
        _whole_numbers(ax)
        ax.legend()
    return figure


def refinement_panels(runs: Mapping[str, tuple[Tensor, Tensor | None]]) -> Figure:
    """Four views of the refinement of one or more models.

    Mean cost by iterate with a few single instances, the improvement of each refinement, the mean squared difference to
    the teacher's controls, and the distribution of what all refinements together take off each instance's cost; where
    they more than double it, it is drawn at -100 %.

    Parameters
    ----------
    runs : mapping of name to (costs, control_mse)
        Both ``[B, K+1]``, the second one optional.
    """
    shades = [color(method) for method in ("cloned_feedback", "untrained", "lqr", "optimum", "cloned")]
    with style():
        figure, axes = plt.subplots(2, 2, figsize=(WIDTH, 4.6))
        (cost, improvement), (distance, total) = axes
        width = 0.8 / len(runs)
        for i, ((name, (costs, control_mse)), shade) in enumerate(zip(runs.items(), cycle(shades), strict=False)):
            means, iterates = costs.mean(0).numpy(), range(costs.shape[1])
            for single in costs[:6]:
                cost.plot(iterates, single, color=shade, lw=0.5, alpha=0.35)
            cost.plot(iterates, means, "o-", color=shade, ms=3, label=name)
            places = [k + (i - (len(runs) - 1) / 2) * width for k in iterates[1:]]
            improvement.bar(places, means[:-1] - means[1:], width, color=shade)
            if control_mse is not None:
                distance.plot(iterates, control_mse.mean(0).numpy(), "o-", color=shade, ms=3)
            gone = 100 * (1 - costs[:, -1] / costs[:, 0])
            total.hist(gone.clamp(min=-100).numpy(), bins=40, range=(-100, 100), color=shade, alpha=0.6)
        cost.set(title="Cost", xlabel="iterate", ylabel="cost $J$", yscale="log")
        improvement.set(title="Improvement", xlabel="iterate", ylabel="fall of the mean cost")
        improvement.axhline(0, color=MUTED, lw=0.7)
        distance.set(title="Distance to the teacher", xlabel="iterate", ylabel="mean squared control error")
        if any(control_mse is not None for _, control_mse in runs.values()):
            distance.set_yscale("log")
        total.set(title="All refinements together", xlabel="cost taken off (%)", ylabel="instances")
        for ax in (cost, improvement, distance):
            _whole_numbers(ax)
        if len(runs) > 1:
            cost.legend()
    return figure


def _whole_numbers(ax: Axes) -> None:
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
