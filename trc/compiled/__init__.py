"""Loops over time that are written in torch for one step, and compiled."""

from .record import Refused
from .scan import Scan

__all__ = ["Refused", "Scan"]
