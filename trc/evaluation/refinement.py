"""How the iterates of one instance follow each other: whether every refinement helps, and how fast."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..common.checks import check_tensor
from ..problems import Problem
from .metrics import instance_metrics


def refinement_metrics(costs: Tensor, control_mse: Tensor | None = None) -> dict[str, float | list[float]]:
    """Measures of the costs of all iterates.

    Parameters
    ----------
    costs : Tensor ``[B, K+1]``
        Of the first guess and of K refinements, K at least 1.
    control_mse : Tensor ``[B, K+1]``, optional
        Mean squared difference of each iterate to an expert's controls.

    Returns
    -------
    dict
        ``iteration_costs`` (K+1 means), ``improvements`` (K falls of the mean cost from one iterate to the next),
        ``convergence_rate`` (share of the mean cost that a refinement takes off, as the geometric mean of K of them),
        ``monotone_share`` (instances whose cost never rises), ``share_improving`` (instances whose last cost is below
        their first) and, if given, ``control_mse`` (K+1 means).

    Raises
    ------
    ValueError
        If there is no refinement.
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


@dataclass(frozen=True)
class RefinementMetrics:
    """How the iterates of each instance follow each other.

    Parameters
    ----------
    costs : Tensor ``[B, K+1]``
        Of every iterate of every instance.
    control_mse : Tensor ``[B, K+1]``, optional
        Mean squared difference to an expert's controls.
    """

    costs: Tensor
    control_mse: Tensor | None = None

    @property
    def summary(self) -> dict[str, float | list[float]]:
        """See :func:`trc.refinement_metrics`."""
        return refinement_metrics(self.costs, self.control_mse)


def control_mse(iterates: Tensor, expert_controls: Tensor) -> Tensor:
    """Mean squared difference ``[B, K+1]`` of iterates ``[B, K+1, T, m]`` to an expert's controls ``[B, T, m]``."""
    return (iterates - expert_controls.to(iterates).unsqueeze(1)).square().mean((-1, -2))


def monotone_share(costs: Tensor) -> float:
    """Share of instances whose cost ``[B, K+1]`` never rises from one iterate to the next."""
    return (costs.diff(dim=1) <= 0).all(1).double().mean().item()


def iterate_metrics(problem: Problem, initial: Tensor, target: Tensor, iterates: Tensor) -> dict[str, Tensor]:
    """The metrics of :func:`trc.instance_metrics` for every iterate, ``[B, K+1]`` each.

    Parameters
    ----------
    problem : Problem
    initial, target : Tensor ``[B, n]``
    iterates : Tensor ``[B, K+1, T, m]``
        From :func:`trc.propose`.
    """
    each = [instance_metrics(problem, initial, target, controls) for controls in iterates.unbind(1)]
    return {name: torch.stack([metrics[name] for metrics in each], 1) for name in each[0]}
