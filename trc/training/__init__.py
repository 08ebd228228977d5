"""Fitting a model to a teacher's trajectories, or to the cost itself."""

from .config import History, TrainingConfig
from .objectives import LOSSES
from .schedules import SCHEDULES
from .supervised import train

__all__ = ["LOSSES", "SCHEDULES", "History", "TrainingConfig", "train"]
