"""The dynamics of a problem over time: rollouts, Jacobians, costates, and the one door to what makes them fast."""

from . import kernels as kernels  # which registers them
from .accelerate import accelerate
from .jacobians import linear_matrices, step_jacobians
from .rollout import (
    Costate,
    Dynamics,
    control_gradient,
    costate,
    costate_and_gradient,
    costate_recursion,
    rollout,
    rollout_cost,
)
from .step import check_overflow

__all__ = ["Costate", "Dynamics", "accelerate", "check_overflow", "control_gradient", "costate"]
__all__ += ["costate_and_gradient", "costate_recursion", "linear_matrices", "rollout", "rollout_cost", "step_jacobians"]
