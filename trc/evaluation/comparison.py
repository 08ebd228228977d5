"""Models beside what knows nothing, beside saturated LQR and beside the optimum, on the same instances."""

import warnings
from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from ..experts import Overflowing, Trajectory, lqr, optimum
from ..model import ControlNetwork, check_network
from ..model.layers import seeded
from ..problems import Problem
from .metrics import aggregate, instance_metrics, random_controls, refinement_metrics
from .models import judge_iterates, propose
from .speed import measure_speed
from .statistics import bootstrap


def compare(
    models: ControlNetwork | Mapping[str, ControlNetwork],
    problem: Problem,
    initial: Tensor,
    target: Tensor,
    *,
    generator: torch.Generator,
    optimum_cost: Tensor | None = None,
    resamples: int = 1000,
) -> pd.DataFrame:
    """One row a method: random and zero controls, the untrained network, the models, saturated LQR, the optimum.

    All control the same instances of `problem`, `initial` and `target` states ``[B, n]``.

    Parameters
    ----------
    models : TinyRecursiveControl or FeedForward, or mapping of name to such
        A single one is called ``"trained"``. The untrained network has the first one's configuration.
    generator : torch.Generator
        Of the random controls, of the untrained weights and of the bootstrap with its `resamples`.
    optimum_cost : Tensor ``[B]``, optional
        Found by :func:`trc.optimum` by default, which takes a few milliseconds an instance.

    Returns
    -------
    DataFrame
        Indexed by method, with the means of :func:`instance_metrics`; ``gap`` to the optimum with ``gap_median`` and
        ``gap_p99``, ``gap_to_lqr``; ``error_reduction``, the share of random controls' mean terminal error that is
        gone; and the interquartile means ``terminal_error_iqm`` and ``cost_iqm`` with 95 % bootstrap intervals
        (``…_low``, ``…_high``), also of ``cost_over_lqr_iqm``, the difference to saturated LQR on the same instances.
        Where LQR can't solve the problem, its row and what is relative to it are left out.
    """
    named = {"trained": models} if isinstance(models, ControlNetwork) else dict(models)
    for name, model in named.items():
        check_network(model, f"model {name!r}")
        if model.problem is not None and model.problem.name != problem.name:
            raise ValueError(f"the model {name!r} is for {model.problem.name!r}, not for {problem.name!r}.")
    if taken := sorted({"random", "zero", "untrained", "lqr", "optimum"} & set(named)):
        raise ValueError(f"a model can't be called {', '.join(taken)}: that is another row's name.")
    if not named:
        raise ValueError("compare needs at least one model, got none.")
    problem.check_states(initial, target)
    initial, target = initial.double(), target.double()
    first = next(iter(named.values()))
    seed = int(torch.randint(2**31, (), generator=generator))
    drawn = random_controls(problem, len(initial), generator)
    controls = {"random": drawn, "zero": problem.clip(torch.zeros_like(drawn))}
    with seeded(seed):
        untrained = type(first)(first.config, problem)
    networks = {"untrained": untrained} | named
    controls |= {name: propose(network, initial, target)[:, -1] for name, network in networks.items()}
    linear = _lqr_if_it_can(problem, initial, target)
    if linear is not None:
        controls["lqr"] = linear.controls
    if optimum_cost is None:
        best = optimum(problem, initial, target)
        controls["optimum"], optimum_cost = best.controls, best.cost
    metrics = {name: instance_metrics(problem, initial, target, u) for name, u in controls.items()}
    lqr_cost = None if linear is None else metrics["lqr"]["cost"]
    random_error, rows = metrics["random"]["terminal_error"].mean().item(), {}
    for name, found in metrics.items():
        rows[name] = row = _against(optimum_cost, lqr_cost, found)
        row["error_reduction"] = 1 - row["terminal_error"] / random_error
        judged = {metric: found[metric] for metric in ("terminal_error", "cost")}
        if lqr_cost is not None:
            judged["cost_over_lqr"] = found["cost"] - lqr_cost
        for metric, values in judged.items():
            interval = bootstrap(values.unsqueeze(0), generator=generator, resamples=resamples)
            ends = {"iqm": interval.value, "low": interval.low, "high": interval.high}
            row |= {f"{metric}_{end}": value for end, value in ends.items()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")


def report(
    model: ControlNetwork,
    initial: Tensor,
    target: Tensor,
    expert_controls: Tensor,
    iterations: int | None = None,
    **how: Any,
) -> dict[str, Any]:
    """All that is measured of a model that knows its problem, for states ``[B, n]``, beside an expert's controls.

    ``problem`` and ``num_instances``; ``metrics`` of the last iterate, named as the columns of :func:`compare`, and
    ``optimum_success``; ``refinement``, see :func:`refinement_metrics`, with at least one; and ``speed``, see
    :func:`measure_speed`. `iterations` and `how` are as for :func:`propose`; the speed is that of the plain way.
    """
    problem = model.problem
    metrics = judge_iterates(model, problem, initial, target, iterations, expert_controls, **how)
    distance = metrics.pop("control_mse")
    initial, target = initial.double(), target.double()
    best = optimum(problem, initial, target)
    drawn = random_controls(problem, len(initial), torch.Generator().manual_seed(0))
    random, optimal = (instance_metrics(problem, initial, target, controls) for controls in (drawn, best.controls))
    last = {name: values[:, -1] for name, values in metrics.items()}
    linear = _lqr_if_it_can(problem, initial, target)
    row = _against(best.cost, None if linear is None else linear.cost, last)
    row["optimum_success"] = optimal["success"].mean().item()
    row["error_reduction"] = 1 - row["terminal_error"] / random["terminal_error"].mean().item()
    found: dict[str, Any] = {"problem": problem.to_dict(), "num_instances": len(initial), "metrics": row}
    if distance.shape[1] > 1:
        found["refinement"] = refinement_metrics(metrics["cost"], distance)
    found["speed"] = measure_speed(model, problem, batch_size=min(1000, len(initial)))
    return found


def _lqr_if_it_can(problem: Problem, initial: Tensor, target: Tensor) -> Trajectory | None:
    """Saturated LQR, or nothing where the problem, as it is at its target, is none that LQR can solve."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Overflowing)  # a mean over some of the instances would say little
        try:
            return lqr(problem, initial, target)
        except (ValueError, Overflowing):
            return None


def _against(optimum_cost: Tensor, lqr_cost: Tensor | None, metrics: dict[str, Tensor]) -> dict[str, float]:
    """Means, the gap to the optimum and, where it is known, the gap to saturated LQR."""
    row = aggregate(metrics, optimum_cost)
    if lqr_cost is not None:
        row["gap_to_lqr"] = aggregate(metrics, lqr_cost)["gap"]
    return row
