"""The network: configuration, building blocks, recursion, and the model that ties them together."""

from .config import SIZES, ModelConfig
from .feedback import FEEDBACKS, Simulator
from .snapshot import Snapshot
from .trc import TinyRecursiveControl
from .value import ValuePredictor

__all__ = ["FEEDBACKS", "SIZES", "ModelConfig", "Simulator", "Snapshot", "TinyRecursiveControl", "ValuePredictor"]
