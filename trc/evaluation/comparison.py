"""Models beside what knows nothing, beside their teacher and beside the optimum, on the same instances."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import torch
from torch import Tensor

from ..checks import check_kind
from ..experts import lqr, optimum
from ..model import ControlNetwork
from ..model.layers import seeded
from ..problems import Problem
from ..statistics import bootstrap, paired_bootstrap
from .metrics import aggregate, instance_metrics, random_controls
from .models import propose


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
    teacher_cost = metrics["lqr"]["cost"]
    rows = {}
    for name, found in metrics.items():
        row = aggregate(found, optimum_cost)
        row["gap_to_lqr"] = aggregate(found, teacher_cost)["gap"]
        row["error_reduction"] = 1 - row["terminal_error"] / metrics["random"]["terminal_error"].mean().item()
        intervals = {
            metric: bootstrap(found[metric].unsqueeze(0), generator=generator, resamples=resamples)
            for metric in ("terminal_error", "cost")
        }
        intervals["cost_over_lqr"] = paired_bootstrap(
            found["cost"].unsqueeze(0), teacher_cost.unsqueeze(0), generator=generator, resamples=resamples
        )
        for metric, interval in intervals.items():
            row |= {
                f"{metric}_iqm": interval.value,
                f"{metric}_low": interval.low,
                f"{metric}_high": interval.high,
            }
        rows[name] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")
