"""The network: configuration, building blocks, recursion, and the model that ties them together."""

from .config import SIZES, ModelConfig
from .feedback import FEEDBACKS, Simulator
from .feedforward import FeedForward, FeedForwardConfig
from .interface import ControlNetwork, InterfaceConfig
from .snapshot import Snapshot
from .trc import TinyRecursiveControl
from .value import ValuePredictor

__all__ = [
    "FEEDBACKS",
    "SIZES",
    "ControlNetwork",
    "FeedForward",
    "FeedForwardConfig",
    "InterfaceConfig",
    "ModelConfig",
    "Simulator",
    "Snapshot",
    "TinyRecursiveControl",
    "ValuePredictor",
]
