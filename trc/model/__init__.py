"""The network: configuration, building blocks, recursion, and the model that ties them together."""

from .config import FEEDBACKS, SIZES, ModelConfig
from .trc import TinyRecursiveControl

__all__ = ["FEEDBACKS", "SIZES", "ModelConfig", "TinyRecursiveControl"]
