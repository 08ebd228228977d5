"""The teachers: each takes a problem and a batch of instances and returns a :class:`~trc.Trajectory`."""

from .lqr import lqr, lqr_gains, riccati
from .trajectory import Trajectory

__all__ = ["Trajectory", "lqr", "lqr_gains", "riccati"]
