"""How a model refines, as the guides ask for it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ..checks import check_kind
from ..evaluation import refinement_metrics
from ..losses import iterate_costs
from ..model import TinyRecursiveControl
from ..problems import Problem
from ..simulation import Dynamics, rollout
from .common import cost_of, device_of


@dataclass(frozen=True)
class RefinementMetrics:
    """What :class:`RefinementEvaluator` found.

    Parameters
    ----------
    costs : Tensor ``[B, K+1]``
        Of every iterate of every instance.
    control_mse : Tensor ``[B, K+1]``
        Mean squared difference to the expert's controls.
    summary : dict
        See :func:`trc.refinement_metrics`.
    """

    costs: Tensor
    control_mse: Tensor
    summary: dict[str, Any]


class RefinementEvaluator:
    """Measures how a model's iterates follow each other.

    Parameters
    ----------
    model : TinyRecursiveControl
    problem : Problem, optional
        Its cost judges; the model's own by default.
    dynamics_fn : callable, optional
        Simulates in place of the problem's dynamics.
    device : str
    cost_params : dict, optional
        ``Q``, ``R`` and ``Q_final``, in place of the problem's own cost.
    """

    def __init__(
        self,
        model: TinyRecursiveControl,
        problem: Problem | None = None,
        dynamics_fn: Dynamics | None = None,
        device: str = "cpu",
        cost_params: dict[str, Any] | None = None,
    ) -> None:
        check_kind(model, TinyRecursiveControl, "model", "read it with trc.load_model(path)")
        self.problem = problem or model.problem
        if self.problem is None and dynamics_fn is None:
            raise ValueError("RefinementEvaluator needs a problem or dynamics_fn.")
        self.device = device_of(device)
        self.model = model.to(self.device)
        self.dynamics_fn = dynamics_fn or partial(rollout, self.problem)
        self.cost = cost_of(model, cost_params, self.problem)

    @torch.no_grad()
    def evaluate(self, test_loader: DataLoader | Iterable[tuple[Tensor, ...]]) -> RefinementMetrics:
        """Costs of all iterates of what the loader gives: initial states, target states, controls."""
        self.model.eval()
        costs, distances = [], []
        for batch in test_loader:
            initial, target, expert = (tensor.to(self.device) for tensor in batch[:3])
            output = self.model(initial, target, dynamics_fn=self.dynamics_fn, return_all_iterations=True)
            costs.append(iterate_costs(output, initial, target, self.dynamics_fn, self.cost))
            distances.append((output["all_controls"] - expert.unsqueeze(1)).square().mean((-1, -2)))
        if not costs:
            raise ValueError("the loader gave no instances.")
        found, distance = torch.cat(costs).cpu(), torch.cat(distances).cpu()
        return RefinementMetrics(found, distance, refinement_metrics(found, distance))

    def plot_refinement_curves(self, metrics: RefinementMetrics, output_path: str | Path) -> Path:
        """Draw cost, improvement and distance to the expert by iterate, as ``.png``."""
        from ..figures import refinement_panels, save_png  # matplotlib takes a second to import

        return save_png(refinement_panels({"model": (metrics.costs, metrics.control_mse)}), output_path)

    def analyze_convergence(self, metrics: RefinementMetrics) -> dict[str, float]:
        """Shares in percent: ``pct_samples_improving``, ``pct_monotone``, and the ``convergence_rate``."""
        return {
            "pct_samples_improving": 100 * metrics.summary["share_improving"],
            "pct_monotone": 100 * metrics.summary["monotone_share"],
            "convergence_rate": metrics.summary["convergence_rate"],
        }
