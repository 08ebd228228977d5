"""What the guides' functions share: devices that may be missing, and costs of one's own."""

from __future__ import annotations

import warnings
from typing import Any

import torch

from ..checks import check_choice
from ..model import TinyRecursiveControl
from ..problems import Problem, QuadraticCost


def device_of(device: str) -> str:
    """The device, or the CPU with a warning where there is no GPU."""
    check_choice(device, "device", ("cpu", "cuda"))
    if device == "cuda" and not torch.cuda.is_available():
        warnings.warn('device="cuda" is not available here; the CPU is used.', stacklevel=3)
        return "cpu"
    return device


def cost_of(
    model: TinyRecursiveControl, cost_params: dict[str, Any] | None, problem: Problem | None = None
) -> QuadraticCost:
    """The problem's cost, or the one that the parameters describe."""
    problem = problem or model.problem
    if cost_params is None:
        if problem is None:
            raise ValueError("the cost is not known: give cost_params, or make the model with problem=.")
        return problem.cost
    if unknown := sorted(set(cost_params) ^ {"Q", "R", "Q_final"}):
        raise ValueError(f"cost_params are Q, R and Q_final; missing or unknown: {', '.join(unknown)}.")
    return QuadraticCost(**cost_params)
