"""What the problems and their teachers look like: drawn by the book's pages themselves, from tables of their own."""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ...plots import INK, MUTED, WIDTH
from ..rows import select
from .names import METHODS
from .panels import legend_below, side_by_side
from .registry import figure

FLOW, LQR = "#c4c4c4", METHODS["lqr"].color
#: Lines of the first and of the second state.
DASHES = ("-", (0, (4, 2)))


@figure(page="book/problems")
def phase_portrait(field: pd.DataFrame, trajectories: pd.DataFrame, horizon: float) -> Figure:
    """Uncontrolled flow and controlled trajectories of the two problems.

    Parameters
    ----------
    field : DataFrame
        ``problem, state_0, state_1, rate_0, rate_1`` on a grid.
    trajectories : DataFrame
        ``problem, instance, state_0, state_1, target_0, target_1`` in order of time.
    horizon : float
        Seconds that the trajectories last.
    """
    figure, panels = side_by_side(field, 3.1, x="position")
    for problem, ax in panels.items():
        grid = select(field, problem=problem).pivot(index="state_1", columns="state_0")
        x, y = grid["rate_0"].columns.to_numpy(), grid.index.to_numpy()
        rates = grid["rate_0"].to_numpy(), grid["rate_1"].to_numpy()
        ax.streamplot(x, y, *rates, color=FLOW, linewidth=0.7, arrowsize=0.7, density=0.9)
        for _, rows in select(trajectories, problem=problem).groupby("instance"):
            start = rows.iloc[0]
            ax.plot(rows["state_0"], rows["state_1"], color=LQR, linewidth=1.2)
            ax.plot(start["state_0"], start["state_1"], "o", color=LQR, markersize=3.5)
            ax.plot(start["target_0"], start["target_1"], "+", color=INK, markersize=7)
        ax.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]), ylabel="velocity")
        ax.grid(visible=False)
    controlled = {"color": LQR, "marker": "o", "markersize": 4}
    legend_below(figure, {"without control": {"color": FLOW}, f"saturated LQR, {horizon:g} s": controlled})
    return figure


@figure(page="book/teacher")
def gains(table: pd.DataFrame) -> Figure:
    """LQR feedback gains over the horizon.

    `table` has ``problem, time, state, gain``.
    """
    figure, panels = side_by_side(table, 2.3, x="time  $t$ (s)", y="gain  $K_t$")
    for problem, ax in panels.items():
        for dash, (state, rows) in zip(
            DASHES, select(table, problem=problem).groupby("state", sort=False), strict=True
        ):
            ax.plot(rows["time"], rows["gain"], linestyle=dash, color=LQR, label=f"gain on {state}")
    handles, names = ax.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2, labelcolor=MUTED)
    return figure


@figure(page="book/simulators")
def stationarity(table: pd.DataFrame, bound: float) -> Figure:
    """Controls, the gradient of the cost with respect to them, and the costate, of two methods.

    `table` has ``method, time, control, gradient, costate_0, costate_1``, of which the last control and gradient are
    missing; `bound` is the largest magnitude of the control.
    """
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(WIDTH, 2.5))
    for method, rows in table.groupby("method", sort=False):
        steps, look = rows.dropna(subset="control"), METHODS[method]
        left.step(steps["time"], steps["control"], where="post", color=look.color, label=look.title)
        middle.step(steps["time"], steps["gradient"], where="post", color=look.color)
        for dash, name in zip(DASHES, ("costate_0", "costate_1"), strict=True):
            right.plot(rows["time"], rows[name], linestyle=dash, color=look.color)
    for side in (-bound, bound):
        left.axhline(side, color=MUTED, linewidth=0.8, linestyle=":")
    for ax, name in ((left, "control  $u_t$"), (middle, "gradient  $∂J/∂u_t$"), (right, "costate  $λ_t$")):
        ax.set(title=name, xlabel="time  $t$ (s)")
    for ax in (middle, right):
        ax.set_yscale("symlog", linthresh=1)
    handles, names = left.get_legend_handles_labels()
    handles += [plt.Line2D([], [], color=MUTED, linestyle=dash) for dash in DASHES]
    names += ["of the position", "of the velocity"]
    figure.legend(handles, names, loc="outside lower center", ncols=4)
    return figure


@figure(page="book/teacher")
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
    floor, (low, high) = 1e-9, box
    figure, panels = side_by_side(table, 3.1, x="initial position", y="initial velocity", sharey=True)
    for problem, ax in panels.items():
        grid = select(table, problem=problem).pivot(index="state_1", columns="state_0")
        x, y = grid["gap"].columns.to_numpy(), grid.index.to_numpy()
        gap = np.maximum(grid["gap"].to_numpy(), floor)
        mesh = ax.pcolormesh(x, y, gap, norm=LogNorm(floor, 1), cmap="YlGnBu", shading="nearest", rasterized=True)
        ax.contour(x, y, grid["at_bound"].to_numpy() > 0, levels=[0.5], colors=INK, linewidths=0.8)
        ax.add_patch(Rectangle((low, low), high - low, high - low, fill=False, color=INK, linestyle=":"))
        ax.grid(visible=False)
    figure.colorbar(mesh, ax=list(panels.values()), label="cost above the optimum's", extend="min", pad=0.02)
    return figure
