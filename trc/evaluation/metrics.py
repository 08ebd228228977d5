"""Metrics of controls: of an instance, of the iterates that lead to them, and of all instances together."""

import math

import torch
from torch import Tensor

from ..common.checks import check_count, check_kind, check_tensor
from ..common.memory import check_memory
from ..problems import Problem, check_problem
from ..simulation import rollout


def random_controls(problem: Problem, num_samples: int, generator: torch.Generator) -> Tensor:
    """Controls ``[B, T, m]`` drawn uniformly between their bounds, float64."""
    check_problem(problem)
    check_kind(generator, torch.Generator, "generator", "make one with torch.Generator().manual_seed(seed)")
    shape = (check_count(num_samples, "num_samples"), problem.horizon, problem.control_dim)
    check_memory(2 * 8 * math.prod(shape), f"{shape[0]:,} controls of {shape[1]:,} steps", "ask for fewer")
    unit = torch.rand(shape, generator=generator, dtype=torch.float64)
    low, high = problem.bounds(unit)
    return low + unit * (high - low)


@torch.no_grad()
def instance_metrics(problem: Problem, initial: Tensor, target: Tensor, controls: Tensor) -> dict[str, Tensor]:
    """Metrics ``[B]`` of controls ``[B, T, m]`` from `initial` to `target` states ``[B, n]``, computed in float64.

    Controls beyond the bounds of `problem` are a ``ValueError``.

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


def iterate_metrics(
    problem: Problem, initial: Tensor, target: Tensor, iterates: Tensor, expert_controls: Tensor | None = None
) -> dict[str, Tensor]:
    """Metrics ``[B, K+1]`` of iterates ``[B, K+1, T, m]``, with ``control_mse`` to an expert's ``[B, T, m]`` if any."""
    each = [instance_metrics(problem, initial, target, controls) for controls in iterates.unbind(1)]
    found = {name: torch.stack([metrics[name] for metrics in each], 1) for name in each[0]}
    if expert_controls is None:
        return found
    check_tensor(expert_controls, (len(initial), problem.horizon, problem.control_dim), "expert_controls")
    return found | {"control_mse": control_mse(iterates, expert_controls)}


def aggregate(metrics: dict[str, Tensor], reference_cost: Tensor) -> dict[str, float]:
    """Means of the metrics of :func:`instance_metrics`, and the gap to a reference's cost ``[B]``.

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


def refinement_metrics(costs: Tensor, control_mse: Tensor | None = None) -> dict[str, float | list[float]]:
    """Measures of the costs of all iterates.

    Parameters
    ----------
    costs : Tensor ``[B, K+1]``
        Of the first guess and of K refinements; a ``ValueError`` if there is none.
    control_mse : Tensor ``[B, K+1]``, optional
        Mean squared difference of each iterate to an expert's controls.

    Returns
    -------
    dict
        ``iteration_costs`` (K+1 means), ``improvements`` (K falls of the mean cost from one iterate to the next),
        ``convergence_rate`` (share of the mean cost that a refinement takes off, as the geometric mean of K of them),
        ``monotone_share`` (instances whose cost never rises), ``share_improving`` (instances whose last cost is below
        their first) and, if given, ``control_mse`` (K+1 means).
    """
    check_tensor(costs, (None, None), "costs")
    if costs.shape[1] < 2:
        raise ValueError("refinement needs at least one iteration after the first guess, got none.")
    means = costs.mean(0)
    K = len(means) - 1
    found: dict[str, float | list[float]] = {
        "iteration_costs": means.tolist(),
        "improvements": (means[:-1] - means[1:]).tolist(),
        "convergence_rate": (1 - (means[-1] / means[0]) ** (1 / K)).item(),
        "monotone_share": monotone_share(costs),
        "share_improving": (costs[:, -1] < costs[:, 0]).double().mean().item(),
    }
    return found if control_mse is None else found | {"control_mse": control_mse.mean(0).tolist()}


def control_mse(iterates: Tensor, expert_controls: Tensor) -> Tensor:
    """Mean squared difference ``[B, K+1]`` of iterates ``[B, K+1, T, m]`` to an expert's controls ``[B, T, m]``."""
    return (iterates - expert_controls.to(iterates).unsqueeze(1)).square().mean((-1, -2))


def monotone_share(costs: Tensor) -> float:
    """Share of instances whose cost ``[B, K+1]`` never rises from one iterate to the next."""
    return (costs.diff(dim=1) <= 0).all(1).double().mean().item()
