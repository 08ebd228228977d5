"""Models beside what knows nothing, beside saturated LQR and beside the optimum, on the same instances."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from ..common.checks import check_kind
from ..experts import lqr, optimum
from ..model import ControlNetwork
from ..model.layers import seeded
from ..problems import Problem
from .metrics import aggregate, instance_metrics, random_controls
from .models import judge_iterates, propose
from .refinement import control_mse, refinement_metrics
from .speed import measure_speed
from .statistics import bootstrap, paired_bootstrap


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

    Parameters
    ----------
    models : TinyRecursiveControl or FeedForward, or mapping of name to such
        A single one is called ``"trained"``. The untrained network has the first one's configuration.
    problem : Problem
    initial, target : Tensor ``[B, n]``
    generator : torch.Generator
        Of the random controls, of the untrained weights and of the bootstrap.
    optimum_cost : Tensor ``[B]``, optional
        Found by :func:`trc.optimum` by default, which takes a few milliseconds an instance.
    resamples : int
        Of the bootstrap.

    Returns
    -------
    DataFrame
        Indexed by method, with the means of :func:`instance_metrics`; ``gap`` to the optimum with ``gap_median`` and
        ``gap_p99``, ``gap_to_lqr``; ``error_reduction``, the share of random controls' mean terminal error that is
        gone; and the interquartile means ``terminal_error_iqm`` and ``cost_iqm`` with 95 % bootstrap intervals
        (``…_low``, ``…_high``), also of ``cost_over_lqr_iqm``, the difference to saturated LQR on the same instances.
    """
    named = {"trained": models} if isinstance(models, ControlNetwork) else dict(models)
    for name, model in named.items():
        check_kind(model, ControlNetwork, f"model {name!r}", "read it with trc.load_model(path)")
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
    controls["untrained"] = propose(untrained, initial, target)[:, -1]
    controls |= {name: propose(model, initial, target)[:, -1] for name, model in named.items()}
    controls["lqr"] = lqr(problem, initial, target).controls
    if optimum_cost is None:
        controls["optimum"] = (best := optimum(problem, initial, target)).controls
        optimum_cost = best.cost
    metrics = {name: instance_metrics(problem, initial, target, u) for name, u in controls.items()}
    lqr_cost, random_error = metrics["lqr"]["cost"], metrics["random"]["terminal_error"]
    rows = {}
    for name, found in metrics.items():
        row = _against_baselines(found, optimum_cost, lqr_cost, random_error)
        intervals = {
            metric: bootstrap(found[metric].unsqueeze(0), generator=generator, resamples=resamples)
            for metric in ("terminal_error", "cost")
        }
        intervals["cost_over_lqr"] = paired_bootstrap(
            found["cost"].unsqueeze(0), lqr_cost.unsqueeze(0), generator=generator, resamples=resamples
        )
        for metric, interval in intervals.items():
            row |= {
                f"{metric}_iqm": interval.value,
                f"{metric}_low": interval.low,
                f"{metric}_high": interval.high,
            }
        rows[name] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")


def report(
    model: ControlNetwork,
    problem: Problem,
    initial: Tensor,
    target: Tensor,
    *,
    expert_controls: Tensor,
    iterations: int | None = None,
) -> dict[str, Any]:
    """All that is measured of one model.

    Parameters
    ----------
    model : TinyRecursiveControl or FeedForward
    problem : Problem
    initial, target : Tensor ``[B, n]``
    expert_controls : Tensor ``[B, T, m]``
        What the iterates are compared with.
    iterations : int, optional
        Refinements; as many as the model was made for by default.

    Returns
    -------
    dict
        ``problem`` and ``num_instances``; ``metrics`` of the last iterate, named as the columns of :func:`compare`, and
        ``optimum_success``; ``refinement``, see :func:`refinement_metrics`, with at least one; and ``speed``, see
        :func:`measure_speed`.
    """
    iterates, metrics = judge_iterates(model, problem, initial, target, iterations)
    initial, target = initial.double(), target.double()
    best = optimum(problem, initial, target)
    drawn = random_controls(problem, len(initial), torch.Generator().manual_seed(0))
    random, optimal = (instance_metrics(problem, initial, target, controls) for controls in (drawn, best.controls))
    last = {name: values[:, -1] for name, values in metrics.items()}
    row = _against_baselines(last, best.cost, lqr(problem, initial, target).cost, random["terminal_error"])
    row["optimum_success"] = optimal["success"].mean().item()
    found: dict[str, Any] = {"problem": problem.to_dict(), "num_instances": len(initial), "metrics": row}
    if iterates.shape[1] > 1:
        found["refinement"] = refinement_metrics(metrics["cost"], control_mse(iterates, expert_controls))
    found["speed"] = measure_speed(model, problem, batch_size=min(1000, len(initial)))
    return found


def _against_baselines(
    metrics: dict[str, Tensor], optimum_cost: Tensor, lqr_cost: Tensor, random_error: Tensor
) -> dict[str, float]:
    """Means and the gap to the optimum, the gap to saturated LQR, and the error that random controls have more."""
    row = aggregate(metrics, optimum_cost)
    row["gap_to_lqr"] = aggregate(metrics, lqr_cost)["gap"]
    row["error_reduction"] = 1 - row["terminal_error"] / random_error.mean().item()
    return row
