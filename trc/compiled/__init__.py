"""Loops over time, written in torch for one step, and compiled."""

from .program import Program, scanned
from .record import Refused
from .scan import Scan
from .turns import turns

__all__ = ["Program", "Refused", "Scan", "scanned", "turns"]
