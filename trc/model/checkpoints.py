"""A trained model as one ``.safetensors`` file: weights, and the configuration as JSON in the header."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from ..common.checks import as_json
from ..common.files import as_path, readable, require_file, writing
from ..common.pickles import refuse_pickle
from ..problems import PROBLEMS, Problem, check_problem, make_problem
from .base import ControlNetwork
from .config import ModelConfig
from .feedforward import FeedForward, FeedForwardConfig
from .layers import seeded
from .network import TinyRecursiveControl
from .value import ValuePredictor

#: The one key of the header; several would be written in random order.
_HEADER = "trc"

#: What a checkpoint may hold, and what makes it.
NETWORKS: dict[str, tuple[type, type[ControlNetwork]]] = {
    "trc": (ModelConfig, TinyRecursiveControl),
    "feedforward": (FeedForwardConfig, FeedForward),
}

#: Names of a value predictor's tensors begin with this.
_VALUE = "value_predictor."

#: What a file that can't be read should have been, and what to do about it.
_UNREADABLE = "trc checkpoint", "make it again"


def save_model(
    model: ControlNetwork,
    path: str | Path,
    training: dict[str, Any] | None = None,
    value_predictor: ValuePredictor | None = None,
) -> Path:
    """Write weights and configuration to one ``.safetensors`` file (the configuration as JSON in its header).

    Beside them it keeps how the model was trained (`training`), and the `value_predictor` that was trained along. The
    model is a TinyRecursiveControl or a FeedForward; one of another class, a subclass included, could not be read back
    and is a ``ValueError``, as is the path of a pickle (``.pt``).
    """
    refuse_pickle(path, "a checkpoint is a", ".safetensors")
    names = {kind: name for name, (_, kind) in NETWORKS.items()}
    if type(model) not in names:
        known = " or ".join(kind.__name__ for kind in names)
        raise ValueError(f"a checkpoint holds a {known}, got a {type(model).__name__}.")
    header = {
        "network": names[type(model)],
        "config": asdict(model.config),
        "problem": None if model.problem is None else model.problem.to_dict(),
        "needs_simulator": model.needs_simulator,
        "training": training,
        "value_predictor": None,
    }
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    if value_predictor is not None:
        header["value_predictor"] = {name: getattr(value_predictor, name) for name in ("latent_dim", "hidden_dim")}
        tensors |= {_VALUE + name: tensor.contiguous() for name, tensor in value_predictor.state_dict().items()}
    return write_tensors(path, header, tensors)


def load_model(path: str | Path, problem: Problem | None = None) -> ControlNetwork:
    """Read what :func:`save_model` wrote; the model knows its problem, so feedback works at once.

    The `problem` is needed only if it is not one of ``trc.PROBLEMS``. A file that is truncated or foreign, or whose
    weights don't fit its configuration, is a ``ValueError``; so is the path of a pickle (``.pt``), and none is loaded.
    """
    if problem is not None:
        check_problem(problem)
    header, tensors = _read_checkpoint(path)
    with readable(path, *_UNREADABLE):
        kind, network = NETWORKS[header.get("network", "trc")]  # the first files didn't say
        unsaid = {"carry_latents": True} if kind is ModelConfig else {}  # by the first files
        config = kind.from_dict(unsaid | header["config"])
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
    with readable(path, *_UNREADABLE):
        predictor = ValuePredictor(**header["value_predictor"])
        own = {name.removeprefix(_VALUE): tensor for name, tensor in tensors.items() if name.startswith(_VALUE)}
        predictor.to(next(iter(tensors.values())).dtype)
        predictor.load_state_dict(own)
    return predictor.eval()


def read_training_record(path: str | Path) -> dict[str, Any]:
    """How a checkpoint was trained, as given to :func:`save_model`; empty if nothing was given."""
    record = _read_checkpoint(path)[0].get("training") or {}
    with readable(path, *_UNREADABLE):
        if not isinstance(record, dict):
            raise ValueError("how it was trained has another form")
    return record


def _read_checkpoint(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    how = "train one with trc train, or load the weights with PyTorch and write {instead} with trc.save_model"
    refuse_pickle(path, "a checkpoint is a", ".safetensors", how)
    path = require_file(path, "checkpoint", "make one with trc.save_model(model, path)")
    with readable(path, *_UNREADABLE):
        return read_tensors(path)


def write_tensors(path: str | Path, header: dict[str, Any], tensors: dict[str, Tensor]) -> Path:
    """Write tensors by name, and JSON values as their header, to a ``.safetensors`` file: same values, same bytes."""
    with writing(path) as file:
        file.write(safetensors.torch.save(tensors, {_HEADER: json.dumps(header, sort_keys=True, default=as_json)}))
    return as_path(path)


def read_tensors(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors that :func:`write_tensors` wrote, without any pickle; to be called within :func:`readable`."""
    with safetensors.safe_open(path, framework="pt") as file:
        header = json.loads((file.metadata() or {}).get(_HEADER, "null"))
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    if not isinstance(header, dict):
        raise ValueError("it has no trc header")
    return header, tensors
