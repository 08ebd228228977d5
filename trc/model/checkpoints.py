"""A trained model as one ``.safetensors`` file: weights, and the configuration as JSON in the header."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ..common.files import require_file, writing
from ..problems import PROBLEMS, Problem, make_problem
from .base import ControlNetwork
from .config import ModelConfig
from .feedforward import FeedForward, FeedForwardConfig
from .layers import seeded
from .network import TinyRecursiveControl
from .value import ValuePredictor

#: The one key of the header; several would be written in random order.
CHECKPOINT_KEY = "trc"

#: What a checkpoint may hold, and what makes it.
NETWORKS: dict[str, tuple[type, type[ControlNetwork]]] = {
    "trc": (ModelConfig, TinyRecursiveControl),
    "feedforward": (FeedForwardConfig, FeedForward),
}

#: Names of a value predictor's tensors begin with this.
_VALUE = "value_predictor."


def save_model(
    model: ControlNetwork,
    path: str | Path,
    training: dict[str, Any] | None = None,
    value_predictor: ValuePredictor | None = None,
) -> Path:
    """Write weights and configuration to one ``.safetensors`` file (the configuration as JSON in its header).

    Parameters
    ----------
    model : TinyRecursiveControl or FeedForward
    path : str or Path
    training : dict, optional
        How the model was trained, kept beside the configuration.
    value_predictor : ValuePredictor, optional
        What was trained along with it.

    Raises
    ------
    ValueError
        If the model is of another class, a subclass included, since it could not be read back.
    """
    names = {kind: name for name, (_, kind) in NETWORKS.items()}
    if type(model) not in names:
        known = " or ".join(kind.__name__ for kind in names)
        raise ValueError(f"a checkpoint holds a {known}, got a {type(model).__name__}.")
    header = {
        "network": names[type(model)],
        "config": model.config.to_dict(),
        "problem": None if model.problem is None else model.problem.to_dict(),
        "needs_simulator": model.needs_simulator,
        "training": training,
        "value_predictor": None,
    }
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    if value_predictor is not None:
        header["value_predictor"] = {name: getattr(value_predictor, name) for name in ("latent_dim", "hidden_dim")}
        tensors |= {_VALUE + name: tensor.contiguous() for name, tensor in value_predictor.state_dict().items()}
    with writing(path) as file:
        file.write(safetensors.torch.save(tensors, {CHECKPOINT_KEY: json.dumps(header, sort_keys=True)}))
    return Path(path)


def load_model(path: str | Path, problem: Problem | None = None) -> ControlNetwork:
    """Read what :func:`save_model` wrote; the model knows its problem, so feedback works at once.

    Parameters
    ----------
    path : str or Path
    problem : Problem, optional
        Needed only for a problem that is not one of ``trc.PROBLEMS``.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is truncated or foreign, or its weights don't fit its configuration.
    """
    header, tensors = _read_checkpoint(path)
    with _readable(path):
        kind, network = NETWORKS[header.get("network", "trc")]  # the first files didn't say
        config = kind.from_dict(header["config"])
        made_for = header["problem"]
        if problem is None and made_for is not None and made_for["name"] in PROBLEMS:
            problem = make_problem(made_for["name"], **made_for["settings"])
        if problem is not None and made_for is not None and problem.to_dict() != made_for:
            raise ValueError(f"it is for {made_for['name']!r} with other settings than the given problem")
        if not tensors:
            raise ValueError("it has no weights")
        if not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
            raise ValueError("it has weights that are not finite")
        with seeded(0):  # weights that are overwritten at once; torch's random state is not touched for them
            model = network(config, problem)
        model.to(next(iter(tensors.values())).dtype)
        model.load_state_dict({name: tensor for name, tensor in tensors.items() if not name.startswith(_VALUE)})
        model.needs_simulator = bool(header["needs_simulator"])
    return model.eval()


def load_value_predictor(path: str | Path) -> ValuePredictor | None:
    """The value predictor that was trained along with a checkpoint's model; None if there was none."""
    header, tensors = _read_checkpoint(path)
    if header.get("value_predictor") is None:
        return None
    with _readable(path):
        predictor = ValuePredictor(**header["value_predictor"])
        own = {name.removeprefix(_VALUE): tensor for name, tensor in tensors.items() if name.startswith(_VALUE)}
        predictor.to(next(iter(tensors.values())).dtype)
        predictor.load_state_dict(own)
    return predictor.eval()


def read_training_record(path: str | Path) -> dict[str, Any]:
    """How a checkpoint was trained, as given to :func:`save_model`; empty if nothing was given."""
    return _read_checkpoint(path)[0].get("training") or {}


def _read_checkpoint(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of a checkpoint; no pickle is loaded."""
    path = require_file(path, "checkpoint", "make one with trc.save_model(model, path)")
    with _readable(path):
        with safetensors.safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get(CHECKPOINT_KEY, "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        if not isinstance(header, dict):
            raise ValueError("it has no trc header")
    return header, tensors


@contextmanager
def _readable(path: str | Path) -> Iterator[None]:
    """What goes wrong within is a file that is no checkpoint, or a damaged one."""
    try:
        yield
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} is not a readable trc checkpoint ({reason}); make it again.") from None
