"""The teachers: each takes a problem and a batch of instances and returns a :class:`~trc.Trajectory`."""

from .ilqr import ilqr, optimum
from .lqr import lqr, lqr_gains, riccati
from .minimum_energy import minimum_energy
from .trajectory import Trajectory

__all__ = ["Trajectory", "ilqr", "lqr", "lqr_gains", "minimum_energy", "optimum", "riccati"]
