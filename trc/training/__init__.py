"""Training of a network on an expert's trajectories, or on the cost itself."""

from .config import LOSSES, History, TrainingConfig
from .losses import cloning_loss
from .schedules import SCHEDULES
from .supervised import train

__all__ = ["LOSSES", "SCHEDULES", "History", "TrainingConfig", "cloning_loss", "train"]
