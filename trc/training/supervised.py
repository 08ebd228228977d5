"""Training on a dataset: the checks, and the problem, the data and the loss put together for the loop."""

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..common.checks import check_kind
from ..datasets import ARRAYS, TEST_SEED, Dataset
from ..model import ControlNetwork, NetworkConfig, Simulator, TinyRecursiveControl, ValuePredictor, check_network
from ..problems import Problem, check_problem
from .config import History, TrainingConfig
from .deep import Deep
from .loop import minimise
from .losses import DIVIDING
from .objective import Objective
from .run_folder import RunFolder
from .unrolled import Unrolled

#: What the loss is a function of, in this order.
TENSORS = ("initial_states", "target_states", "control_sequences", "costs", "state_trajectories")


def train(
    model: ControlNetwork,
    data: Dataset,
    problem: Problem | None = None,
    *,
    value_predictor: ValuePredictor | None = None,
    output_dir: str | Path | None = None,
    progress: bool = False,
    **options: Any,
) -> History:
    """Train `model` in place on `data`; it ends with the weights of the best validation epoch.

    Parameters
    ----------
    problem : Problem, optional
        The simulator for the feedback; the model's own, or the dataset's, by default.
    value_predictor : ValuePredictor, optional
        Trained along: it learns to predict the cost of each iterate from its latent.
    output_dir : str or Path, optional
        A folder for ``best_model.safetensors``, ``last_model.safetensors``, ``training_stats.json`` and
        ``training_curves.png``. The same call goes on there after an interruption, with the same weights in the end
        as without one.
    progress : bool
        Show a progress bar with the losses.
    **options
        Fields of :class:`~trc.TrainingConfig`.

    Raises
    ------
    ValueError
        If the data are for another problem or shape, an option is unknown, the loss is not finite, or the folder holds
        another run.
    """
    check_network(model)
    if "supervision" not in options and not isinstance(model, TinyRecursiveControl):
        options = {"supervision": "unrolled", **options}  # there is nothing to refine
    config = TrainingConfig.from_options(**options)
    check_kind(data, Dataset, "data", "make it with trc.generate_dataset, or read it with trc.load_dataset")
    problem = problem or model.problem or data.problem
    check_problem(problem)
    data.check_problem(problem)
    check_dimensions(model.config, data.initial_states, data.control_sequences)
    if model.problem not in (None, problem):
        raise ValueError(f"the model was made for another {model.problem.name!r}; make it with problem=problem.")
    if len(data) < 2:
        raise ValueError(f"training needs at least 2 samples, one of them for validation, got {len(data)}.")
    if data.origin["seed"] == TEST_SEED:
        raise ValueError(f"seed {TEST_SEED} makes the instances of the test set; train on data of another seed.")
    if config.loss in DIVIDING and (free := int((data.costs == 0).sum())):
        why = f"{free} of the instances cost their teacher nothing, as those do that begin at their target"
        raise ValueError(f"{why}, and the loss {config.loss} divides by costs; leave them out, or take another loss.")
    dtype = next(model.parameters()).dtype
    validation, training = (
        [getattr(part, name).to(dtype) for name in TENSORS]
        for part in data.split(config.validation_fraction, seed=config.seed)
    )
    kind = {"deep": Deep, "unrolled": Unrolled}[config.supervision]
    objective = kind(model, config, Simulator(problem), problem.cost, value_predictor)
    setup = {"data": data.origin | {"sha256": digest(getattr(data, name) for name in ARRAYS)}}
    title = f"train {problem.name}" if progress else None
    return train_on_tensors(objective, training, validation, setup, output_dir, title)


def train_on_tensors(
    objective: Objective,
    training: Sequence[Tensor],
    validation: Sequence[Tensor],
    setup: dict[str, Any],
    output_dir: str | Path | None = None,
    title: str | None = None,
) -> History:
    """Train the objective's model in place on tensors that were checked, in the order of ``TENSORS``.

    The simulator's problem becomes the model's; one that knows neither problem nor function leaves the feedback out.
    The setup says what else the run follows from, beside model and configuration, as plain JSON values. Under a title
    a progress bar is shown.
    """
    model, simulator, config = objective.model, objective.simulator, objective.config
    modules = _trained_together(model, objective.value_predictor)
    weights = digest(modules.state_dict().values())
    setup = {"model": asdict(model.config) | {"initial_weights": weights}, "training": asdict(config), **setup}
    model.problem, model.needs_simulator = simulator.problem, model.uses_feedback and simulator.is_known
    with nullcontext() if output_dir is None else RunFolder(output_dir, setup) as run:
        return minimise(modules, objective, training, validation, run, title)


def _trained_together(model: ControlNetwork, value_predictor: ValuePredictor | None) -> nn.ModuleDict:
    """Model and value predictor as one module."""
    if value_predictor is None:
        return nn.ModuleDict({"model": model})
    check_kind(value_predictor, ValuePredictor, "value_predictor", "make it with trc.ValuePredictor.create")
    check_kind(model, TinyRecursiveControl, "model", "a value predictor reads the latents of one")
    if value_predictor.latent_dim != model.config.latent_dim:
        raise ValueError(
            f"the value predictor reads latents of {value_predictor.latent_dim}, the model has "
            f"{model.config.latent_dim}; make it with latent_dim=model.config.latent_dim."
        )
    value_predictor.to(next(model.parameters()).dtype)
    return nn.ModuleDict({"model": model, "value_predictor": value_predictor})


def check_dimensions(config: NetworkConfig, initial: Tensor, controls: Tensor) -> None:
    """Raise ``ValueError`` unless data have the dimensions of the model."""
    have = (initial.shape[1], controls.shape[2], controls.shape[1])
    want = (config.state_dim, config.control_dim, config.control_horizon)
    if have != want:
        raise ValueError(
            "the model is for state dimension {}, control dimension {} and horizon {}, the data have {}, {} and {}; "
            "make the model with problem=.".format(*want, *have)
        )


def digest(tensors: Iterable[Tensor]) -> str:
    """SHA-256 of the bytes of tensors."""
    sha = hashlib.sha256()
    for tensor in tensors:
        sha.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()
