"""The experts: each takes a problem and a batch of instances and returns a :class:`~trc.Trajectory`."""

from . import kernels as kernels  # which registers them
from .base import EXPERTS, Expert, NoneSolved, Overflowing, Trajectory
from .certificate import Certificate, certify
from .ilqr import ilqr, optimum
from .lqr import lqr, lqr_gains, riccati
from .minimum_energy import minimum_energy

__all__ = ["EXPERTS", "Certificate", "Expert", "NoneSolved", "Overflowing", "Trajectory", "certify", "ilqr", "lqr"]
__all__ += ["lqr_gains", "minimum_energy", "optimum", "riccati"]
