"""Training on a dataset: the checks, and the problem, the data and the loss put together for the loop."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..common.checks import check_kind, check_tensor
from ..datasets import ARRAYS, TEST_SEED, Dataset
from ..model import ControlNetwork, NetworkConfig, Simulator, TinyRecursiveControl, ValuePredictor
from ..problems import Problem, check_problem
from .config import History, TrainingConfig
from .loop import minimise
from .losses import Cost, Objective
from .run_folder import RunFolder

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
    model : TinyRecursiveControl or FeedForward
    data : Dataset
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
    config = TrainingConfig.from_options(**options)
    check_kind(model, ControlNetwork, "model", "make it with trc.TinyRecursiveControl.create_medium")
    check_kind(data, Dataset, "data", "make it with trc.generate_dataset, or read it with trc.load_dataset")
    problem = problem or model.problem or data.problem
    check_problem(problem)
    data.check_problem(problem)
    check_dimensions(model.config, data.initial_states, data.control_sequences)
    if model.problem not in (None, problem):
        raise ValueError(f"the model was made for another {model.problem.name!r}; make it with problem=problem.")
    for name in ("initial_states", "target_states", "control_sequences"):
        check_tensor(getattr(data, name), tuple(getattr(data, name).shape), f"{name} of the data")
    if len(data) < 2:
        raise ValueError(f"training needs at least 2 samples, one of them for validation, got {len(data)}.")
    if data.origin["seed"] == TEST_SEED:
        raise ValueError(f"seed {TEST_SEED} makes the instances of the test set; train on data of another seed.")
    dtype = next(model.parameters()).dtype
    validation, training = (
        [getattr(part, name).to(dtype) for name in TENSORS]
        for part in data.split(config.validation_fraction, seed=config.seed)
    )
    return train_on_tensors(
        model,
        training,
        validation,
        config,
        Simulator(problem),
        problem.cost,
        setup={"data": data.origin | {"sha256": digest(getattr(data, name) for name in ARRAYS)}},
        value_predictor=value_predictor,
        output_dir=output_dir,
        progress=progress,
        title=f"train {problem.name}",
    )


def train_on_tensors(
    model: ControlNetwork,
    training: Sequence[Tensor],
    validation: Sequence[Tensor],
    config: TrainingConfig,
    simulator: Simulator,
    cost: Cost | None,
    *,
    setup: dict[str, Any],
    value_predictor: ValuePredictor | None = None,
    output_dir: str | Path | None = None,
    progress: bool = False,
    title: str = "train",
) -> History:
    """Train a model in place on tensors that were checked, in the order of ``TENSORS``.

    Parameters
    ----------
    model : TinyRecursiveControl or FeedForward
    training, validation : sequence of Tensor
    config : TrainingConfig
    simulator : Simulator
        Its problem becomes the model's; one that knows neither problem nor function leaves the feedback out.
    cost : callable, optional
        From states, controls and target; some losses need none.
    setup : dict
        What else the run follows from, beside model and configuration, as plain JSON values.
    value_predictor, output_dir, progress : optional
        As for :func:`trc.train`.
    title : str
        Of the progress bar.
    """
    modules = _trained_together(model, value_predictor)
    setup = {
        "model": model.config.to_dict() | {"initial_weights": digest(modules.state_dict().values())},
        "training": asdict(config),
        **setup,
    }
    model.problem = simulator.problem
    known = simulator.problem is not None or simulator.dynamics_fn is not None
    model.needs_simulator = model.uses_feedback and known
    return minimise(
        modules,
        Objective(model, config, simulator, cost, value_predictor),
        training,
        validation,
        config,
        run=None if output_dir is None else RunFolder(output_dir, setup),
        progress=progress,
        title=title,
    )


def _trained_together(model: ControlNetwork, value_predictor: ValuePredictor | None) -> nn.ModuleDict:
    """Model and value predictor as one module."""
    modules = nn.ModuleDict({"model": model})
    if value_predictor is not None:
        check_kind(value_predictor, ValuePredictor, "value_predictor", "make it with trc.ValuePredictor.create")
        check_kind(model, TinyRecursiveControl, "model", "a value predictor reads the latents of one")
        if value_predictor.latent_dim != model.config.latent_dim:
            raise ValueError(
                f"the value predictor reads latents of {value_predictor.latent_dim}, the model has "
                f"{model.config.latent_dim}; make it with latent_dim=model.config.latent_dim."
            )
        modules["value_predictor"] = value_predictor.to(next(model.parameters()).dtype)
    return modules


def check_dimensions(config: NetworkConfig, initial: Tensor, controls: Tensor) -> None:
    """Raise ``ValueError`` unless data have the dimensions of the model."""
    have = (initial.shape[1], controls.shape[2], controls.shape[1])
    want = (config.state_dim, config.control_dim, config.control_horizon)
    if have != want:
        raise ValueError(
            "the model is for state dimension {}, control dimension {} and horizon {}, the data have {}, "
            "{} and {}; make the model with problem=.".format(*want, *have)
        )


def digest(tensors: Iterable[Tensor]) -> str:
    """SHA-256 of the bytes of tensors."""
    sha = hashlib.sha256()
    for tensor in tensors:
        sha.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()
