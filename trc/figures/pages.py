"""Figures that a page of the book makes for itself: tidy tables in, a figure out."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .style import INK, MUTED, PROBLEM_TITLES, WIDTH, color, label, style


def phase_portrait(field: pd.DataFrame, trajectories: pd.DataFrame, horizon: float) -> Figure:
    """Uncontrolled flow and controlled trajectories of the two problems.

    Parameters
    ----------
    field : DataFrame
        ``problem, state_0, state_1, rate_0, rate_1`` on a grid.
    trajectories : DataFrame
        ``problem, instance, state_0, state_1, target_0, target_1`` in order of time.
    horizon : float
        Seconds that the trajectories last; for the caption's reader, printed in the legend.
    """
    problems = list(dict.fromkeys(field["problem"]))
    with style():
        figure, axes = plt.subplots(1, len(problems), figsize=(WIDTH, 3.1), squeeze=False)
        for ax, problem in zip(axes[0], problems, strict=True):
            grid = field[field["problem"] == problem].pivot(index="state_1", columns="state_0")
            x, y = grid["rate_0"].columns.to_numpy(), grid.index.to_numpy()
            ax.streamplot(
                x,
                y,
                grid["rate_0"].to_numpy(),
                grid["rate_1"].to_numpy(),
                color="#c4c4c4",
                linewidth=0.7,
                arrowsize=0.7,
                density=0.9,
            )
            for _, rows in trajectories[trajectories["problem"] == problem].groupby("instance"):
                ax.plot(rows["state_0"], rows["state_1"], color=color("lqr"), linewidth=1.2)
                ax.plot(rows["state_0"].iloc[0], rows["state_1"].iloc[0], "o", color=color("lqr"), markersize=3.5)
                ax.plot(rows["target_0"].iloc[0], rows["target_1"].iloc[0], "+", color=INK, markersize=7)
            ax.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]), xlabel="position", ylabel="velocity")
            ax.set_title(PROBLEM_TITLES[problem])
            ax.grid(visible=False)
        handles = [
            plt.Line2D([], [], color="#c4c4c4"),
            plt.Line2D([], [], color=color("lqr"), marker="o", markersize=4),
        ]
        figure.legend(
            handles, ["without control", f"saturated LQR, {horizon:g} s"], loc="outside lower center", ncols=2
        )
        return figure


def gains(table: pd.DataFrame) -> Figure:
    """LQR feedback gains over the horizon.

    Parameters
    ----------
    table : DataFrame
        ``problem, time, state, gain``.
    """
    problems = list(dict.fromkeys(table["problem"]))
    dashes = ("-", (0, (4, 2)))
    with style():
        figure, axes = plt.subplots(1, len(problems), figsize=(WIDTH, 2.3), squeeze=False)
        for ax, problem in zip(axes[0], problems, strict=True):
            chosen = table[table["problem"] == problem]
            for dash, (state, rows) in zip(dashes, chosen.groupby("state", sort=False), strict=True):
                ax.plot(rows["time"], rows["gain"], linestyle=dash, color=color("lqr"), label=f"gain on {state}")
            ax.set_xlabel("time  $t$ (s)")
            ax.set_title(PROBLEM_TITLES[problem])
        axes[0, 0].set_ylabel("gain  $K_t$", color=INK)
        handles, names = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=2, labelcolor=MUTED)
        return figure


def stationarity(table: pd.DataFrame, bound: float) -> Figure:
    """Controls, the gradient of the cost with respect to them, and the costate, of two methods.

    Parameters
    ----------
    table : DataFrame
        ``method, time, control, gradient, costate_0, costate_1``; the last control and gradient are missing.
    bound : float
        Largest magnitude of the control.
    """
    dashes = ("-", (0, (4, 2)))
    with style():
        figure, (left, middle, right) = plt.subplots(1, 3, figsize=(WIDTH, 2.5))
        for method, rows in table.groupby("method", sort=False):
            steps = rows.dropna(subset="control")
            left.step(steps["time"], steps["control"], where="post", color=color(method), label=label(method))
            middle.step(steps["time"], steps["gradient"], where="post", color=color(method))
            for dash, name in zip(dashes, ("costate_0", "costate_1"), strict=True):
                right.plot(rows["time"], rows[name], linestyle=dash, color=color(method))
        for side in (-bound, bound):
            left.axhline(side, color=MUTED, linewidth=0.8, linestyle=":")
        for ax, title in ((left, "control  $u_t$"), (middle, "gradient  $∂J/∂u_t$"), (right, "costate  $λ_t$")):
            ax.set_title(title)
            ax.set_xlabel("time  $t$ (s)")
        for ax in (middle, right):
            ax.set_yscale("symlog", linthresh=1)
        handles, names = left.get_legend_handles_labels()
        handles += [plt.Line2D([], [], color=MUTED, linestyle=dash) for dash in dashes]
        names += ["of the position", "of the velocity"]
        figure.legend(handles, names, loc="outside lower center", ncols=4)
        return figure


def gap_map(table: pd.DataFrame, box: tuple[float, float]) -> Figure:
    """How far saturated LQR is above the optimum, by initial state.

    Parameters
    ----------
    table : DataFrame
        ``problem, state_0, state_1, gap, at_bound``: cost above the optimum's as a share, and the share of the
        teacher's steps that are at a bound.
    box : (float, float)
        Range of both states that the instances of the experiments come from.
    """
    problems = list(dict.fromkeys(table["problem"]))
    floor = 1e-9
    with style():
        figure, axes = plt.subplots(1, len(problems), figsize=(WIDTH, 3.1), sharey=True, squeeze=False)
        for ax, problem in zip(axes[0], problems, strict=True):
            grid = table[table["problem"] == problem].pivot(index="state_1", columns="state_0")
            x, y = grid["gap"].columns.to_numpy(), grid.index.to_numpy()
            gap = np.maximum(grid["gap"].to_numpy(), floor)
            mesh = ax.pcolormesh(x, y, gap, norm=LogNorm(floor, 1), cmap="YlGnBu", shading="nearest", rasterized=True)
            ax.contour(x, y, grid["at_bound"].to_numpy() > 0, levels=[0.5], colors=INK, linewidths=0.8)
            ax.add_patch(
                Rectangle((box[0], box[0]), box[1] - box[0], box[1] - box[0], fill=False, color=INK, linestyle=":")
            )
            ax.set(xlabel="initial position", title=PROBLEM_TITLES[problem])
            ax.grid(visible=False)
        axes[0, 0].set_ylabel("initial velocity")
        figure.colorbar(mesh, ax=axes, label="cost above the optimum's", extend="min", pad=0.02)
        return figure
