"""The dynamics of a problem over time: rollouts, Jacobians, costates, and the one door to what makes them fast."""

from .accelerate import accelerate
from .jacobians import linear_matrices, step_jacobians
from .rollout import Costate, Dynamics, check_overflow, control_gradient, cost_gradient, costate, costates, rollout

__all__ = ["Costate", "Dynamics", "accelerate", "check_overflow", "control_gradient", "cost_gradient", "costate"]
__all__ += ["costates", "linear_matrices", "rollout", "step_jacobians"]
