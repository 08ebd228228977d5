"""Metrics of a model: what it proposes for instances, simulated and judged by the problem's one cost."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..common.checks import check_tensor
from ..common.modes import evaluating, values_only
from ..experts import lqr
from ..model import ControlNetwork, check_network
from ..problems import Problem, check_problem
from ..simulation import Dynamics
from .metrics import aggregate, iterate_metrics, refinement_metrics

#: Models are evaluated in chunks of this many instances, so that memory is bounded.
CHUNK = 1024


@values_only
def propose(
    model: ControlNetwork,
    initial: Tensor,
    target: Tensor,
    iterations: int | None = None,
    dynamics_fn: Dynamics | None = None,
    **how: Any,
) -> Tensor:
    """All iterates ``[B, K+1, T, m]`` that a model proposes for `initial` and `target` states ``[B, n]``.

    The first guess comes first. The model is put into evaluation mode for the call.

    Parameters
    ----------
    iterations : int, optional
        Refinements; as many as the model was made for by default.
    dynamics_fn : callable, optional
        For the feedback, in place of the model's own problem.
    **how
        Where it begins and what it is held to, see :meth:`trc.ControlNetwork.forward`. An instance that leaves early
        keeps its last iterate.
    """
    check_network(model)
    for states, what in ((initial, "initial states"), (target, "target states")):
        check_tensor(states, (None, model.config.state_dim), what)
    place = next(model.parameters())
    options = {"return_all_iterations": True, "iterations": iterations, "dynamics_fn": dynamics_fn} | how
    rows = torch.arange(len(initial), device=initial.device).chunk(max(1, math.ceil(len(initial) / CHUNK)))
    with evaluating(model):
        outputs = [
            model(initial[part].to(place), target[part].to(place), **options | _start_of(part, len(initial), how))
            for part in rows
        ]
    iterates = [output["all_controls"] for output in outputs]
    own = model.config.num_outer_cycles
    count = 1 + (own if iterations is None or own == 0 else iterations)
    return torch.cat([_lengthened(one, count) for one in iterates]).to(initial)


def _start_of(rows: Tensor, count: int, how: Mapping[str, Any]) -> dict[str, Any]:
    """The start of some of `count` instances, where controls were given for all."""

    def of(start: Any) -> Any:
        if isinstance(start, list | tuple):
            return [of(one) for one in start]
        return start[rows.to(start.device)] if isinstance(start, Tensor) and len(start) == count else start

    return {"start": of(how["start"])} if "start" in how else {}


def _lengthened(iterates: Tensor, count: int) -> Tensor:
    """Iterates ``[B, K+1, T, m]``, the last of them again and again until there are `count`."""
    return torch.cat((iterates, iterates[:, -1:].expand(-1, count - iterates.shape[1], -1, -1)), 1)


def judge_iterates(
    model: ControlNetwork,
    problem: Problem,
    initial: Tensor,
    target: Tensor,
    iterations: int | None = None,
    expert_controls: Tensor | None = None,
    **how: Any,
) -> dict[str, Tensor]:
    """Metrics ``[B, K+1]`` of all iterates of a model, which may know no problem; see :func:`iterate_metrics`.

    `iterations` and `how` are as for :func:`propose`.
    """
    check_network(model)
    check_problem(problem)
    if model.problem is not None and model.problem.name != problem.name:
        raise ValueError(f"the model is for {model.problem.name!r}, not for {problem.name!r}.")
    problem.check_states(initial, target)
    own, model.problem = model.problem, problem if model.problem is None else model.problem
    try:
        iterates = propose(model, initial, target, iterations, **how)
    finally:
        model.problem = own
    return iterate_metrics(problem, initial, target, iterates, expert_controls)


def evaluate(
    model: ControlNetwork,
    problem: Problem,
    initial: Tensor,
    target: Tensor,
    *,
    reference_cost: Tensor | None = None,
    iterations: int | None = None,
    **how: Any,
) -> dict[str, float]:
    """Metrics of a model's last iterate for `initial` and `target` states ``[B, n]``, simulated on `problem`.

    Parameters
    ----------
    reference_cost : Tensor ``[B]``, optional
        What the gap is measured against; saturated LQR on the same instances by default.
    iterations : int, optional
        As for :func:`propose`, and so is `how`.

    Returns
    -------
    dict
        See :func:`aggregate`; also, with at least one refinement, ``convergence_rate``, ``monotone_share`` and
        ``share_improving`` of :func:`refinement_metrics`.
    """
    metrics = judge_iterates(model, problem, initial, target, iterations, **how)
    if reference_cost is None:
        reference_cost = lqr(problem, initial.double(), target.double()).cost
        if lost := int((~reference_cost.isfinite()).sum()):
            raise ValueError(
                f"saturated LQR overflows in {lost} of {len(initial)} instances; give another reference_cost, for "
                "example that of trc.optimum(problem, initial, target)."
            )
    report = aggregate({name: values[:, -1] for name, values in metrics.items()}, reference_cost)
    if metrics["cost"].shape[1] == 1:
        return report
    found = refinement_metrics(metrics["cost"])
    return report | {name: value for name, value in found.items() if isinstance(value, float)}


def evaluate_refinement(
    model: ControlNetwork,
    problem: Problem,
    initial: Tensor,
    target: Tensor,
    *,
    expert_controls: Tensor | None = None,
    iterations: int | None = None,
    **how: Any,
) -> dict[str, float | list[float]]:
    """Measures of how a model's iterates follow each other; see :func:`refinement_metrics`.

    They are simulated on `problem` for `initial` and `target` states ``[B, n]``, `iterations` and `how` as for
    :func:`propose`, and compared with `expert_controls` ``[B, T, m]`` if these are given (``control_mse``).
    """
    metrics = judge_iterates(model, problem, initial, target, iterations, expert_controls, **how)
    return refinement_metrics(metrics["cost"], metrics.get("control_mse"))
