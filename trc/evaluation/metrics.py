"""Metrics of controls, an instance at a time and together."""

import torch
from torch import Tensor

from ..common.checks import check_tensor
from ..problems import Problem
from ..simulation import rollout


def random_controls(problem: Problem, num_samples: int, generator: torch.Generator) -> Tensor:
    """Controls ``[B, T, m]`` drawn uniformly between their bounds, float64."""
    shape = (num_samples, problem.horizon, problem.control_dim)
    unit = torch.rand(shape, generator=generator, dtype=torch.float64)
    low, high = problem.bounds(unit)
    return low + unit * (high - low)


@torch.no_grad()
def instance_metrics(problem: Problem, initial: Tensor, target: Tensor, controls: Tensor) -> dict[str, Tensor]:
    """Metrics of each instance, ``[B]`` each, computed in float64.

    Parameters
    ----------
    problem : Problem
    initial, target : Tensor ``[B, n]``
    controls : Tensor ``[B, T, m]``

    Returns
    -------
    dict
        ``terminal_error`` and its ``position_error`` and ``velocity_error``, ``success`` (0 or 1), ``cost`` and
        ``control_effort`` (sum of squared controls).
    """
    problem.check_states(initial, target)
    check_tensor(controls, (len(initial), problem.horizon, problem.control_dim), f"controls of {problem.name}")
    low, high = problem.bounds(controls.double())
    slack = 1e-6 * (high - low)  # float32 does not hold every bound exactly
    if ((controls < low - slack) | (controls > high + slack)).any():
        raise ValueError(
            f"controls must lie within the bounds of {problem.name}; clip them with problem.clip(controls)."
        )
    initial, target, controls = initial.double(), target.double(), controls.double()
    states = rollout(problem, initial, controls)
    error = states[:, -1] - target
    return {
        "terminal_error": error.norm(dim=-1),
        "position_error": error[:, list(problem.position_dims)].norm(dim=-1),
        "velocity_error": error[:, list(problem.velocity_dims)].norm(dim=-1),
        "success": problem.success(states, target).double(),
        "cost": problem.cost(states, controls, target),
        "control_effort": controls.square().sum((-1, -2)),
    }


def aggregate(metrics: dict[str, Tensor], reference_cost: Tensor) -> dict[str, float]:
    """Means over the instances, and the gap to a reference cost.

    Parameters
    ----------
    metrics : dict
        From :func:`instance_metrics`.
    reference_cost : Tensor ``[B]``
        Cost of the reference on the same instances.

    Returns
    -------
    dict
        The mean of each metric (``success`` is the share of successes), and ``gap``: mean cost over mean reference
        cost minus one, with ``gap_median`` and ``gap_p99`` of the per-instance gaps.
    """
    check_tensor(reference_cost, tuple(metrics["cost"].shape), "reference_cost")
    per_instance = metrics["cost"] / reference_cost - 1
    return {name: values.mean().item() for name, values in metrics.items()} | {
        "gap": (metrics["cost"].mean() / reference_cost.mean() - 1).item(),
        "gap_median": per_instance.quantile(0.5).item(),
        "gap_p99": per_instance.quantile(0.99).item(),
    }
