"""Figures of a single run, drawn where it was made."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from .style import INK, MUTED, color, style


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
        ax.legend()
    return figure
