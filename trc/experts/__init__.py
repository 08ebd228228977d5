"""The experts: each takes a problem and a batch of instances and returns a :class:`~trc.Trajectory`."""

from . import kernels as kernels  # which registers them
from .base import EXPERTS, Expert, Trajectory
from .ilqr import ilqr, optimum
from .lqr import lqr, lqr_gains, riccati
from .minimum_energy import minimum_energy

__all__ = ["EXPERTS", "Expert", "Trajectory", "ilqr", "lqr", "lqr_gains", "minimum_energy", "optimum", "riccati"]
