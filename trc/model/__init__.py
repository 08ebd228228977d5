"""The network: configuration, building blocks, recursion, and the model that ties them together."""

from .config import SIZES, ModelConfig
from .feedback import FEEDBACKS
from .trc import TinyRecursiveControl

__all__ = ["FEEDBACKS", "SIZES", "ModelConfig", "TinyRecursiveControl"]
