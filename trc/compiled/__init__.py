"""Loops over time, written in torch for one step, and compiled."""

from .build import Compiled
from .lanes import Lanes, Scanned
from .record import Refused
from .scan import Scan, count, sizes
from .turns import turns

__all__ = ["Compiled", "Lanes", "Refused", "Scan", "Scanned", "count", "sizes", "turns"]
