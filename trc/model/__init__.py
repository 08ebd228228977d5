"""The networks: configuration, building blocks, the recursion, what a simulator tells it, and checkpoints."""

from .base import ControlNetwork, check_network
from .checkpoints import load_model, load_value_predictor, read_training_record, save_model
from .config import SIZES, ModelConfig, NetworkConfig
from .feedback import FEEDBACKS, Simulator
from .feedforward import FeedForward, FeedForwardConfig
from .network import TinyRecursiveControl
from .value import ValuePredictor

__all__ = ["FEEDBACKS", "SIZES", "ControlNetwork", "FeedForward", "FeedForwardConfig", "ModelConfig", "NetworkConfig"]
__all__ += ["Simulator", "TinyRecursiveControl", "ValuePredictor"]
__all__ += ["check_network", "load_model", "load_value_predictor", "read_training_record", "save_model"]
