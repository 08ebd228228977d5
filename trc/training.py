"""Fitting a model to a teacher's trajectories."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Self

import torch
from torch import Tensor
from tqdm import tqdm

from .checks import check_choice, check_count, check_kind, check_real, check_seed, check_tensor
from .datasets import TEST_SEED, Dataset
from .losses import REFERENCES, Attempt, discounted_cost, improvement_reward, rise_penalty
from .model import ModelConfig, TinyRecursiveControl
from .problems import Problem

SCHEDULES = ("cosine", "none")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a model is trained.

    Parameters
    ----------
    epochs, batch_size : int
    learning_rate : float
        At the start; the schedule takes it from there.
    schedule : {"cosine", "none"}
        Cosine annealing to zero over all steps, or constant.
    loss : {"cloning", "process", "discounted", "hinge"}
        Cloning alone, or with a term in the costs of all iterates: the improvement reward, their discounted sum, or
        a penalty on rises. See ``trc.losses``.
    process_weight : float
        Weight of that term.
    reference : {"first", "first-detached", "teacher"}
        Of the improvement reward.
    discount : float
        Of the discounted sum.
    weight_decay : float
        Decoupled (AdamW).
    max_grad_norm : float
        Gradients are clipped to this norm.
    validation_fraction : float
        Share of the data held out; the epoch with the lowest validation loss is kept.
    seed : int
        Of the split and of the order of the batches.
    """

    epochs: int = 100
    batch_size: int = 64
    learning_rate: float = 1e-3
    schedule: str = "cosine"
    loss: str = "cloning"
    process_weight: float = 0.1
    reference: str = "first"
    discount: float = 0.9
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    validation_fraction: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        check_count(self.epochs, "epochs")
        check_count(self.batch_size, "batch_size")
        check_seed(self.seed)
        check_real(self.learning_rate, "learning_rate", positive=True)
        check_real(self.max_grad_norm, "max_grad_norm", positive=True)
        check_real(self.weight_decay, "weight_decay", minimum=0)
        if not 0 < check_real(self.validation_fraction, "validation_fraction") < 1:
            raise ValueError(f"validation_fraction must lie between 0 and 1, got {self.validation_fraction}.")
        check_choice(self.loss, "loss", LOSSES)
        check_choice(self.schedule, "schedule", SCHEDULES)
        check_choice(self.reference, "reference", REFERENCES)
        check_real(self.process_weight, "process_weight", minimum=0)
        if not 0 <= check_real(self.discount, "discount") <= 1:
            raise ValueError(f"discount must lie between 0 and 1, got {self.discount}.")

    @classmethod
    def from_options(cls, **options: Any) -> Self:
        """Build from keywords; an unknown one is a ``ValueError`` that lists the known ones."""
        known = [f.name for f in fields(cls)]
        unknown = sorted(set(options) - set(known))
        if unknown:
            raise ValueError(f"unknown training option {', '.join(unknown)}; known are {', '.join(known)}.")
        return cls(**options)


def _process(attempt: Attempt, config: TrainingConfig) -> Tensor:
    reward = improvement_reward(attempt.costs(), reference=config.reference, teacher_costs=attempt.teacher_costs)
    return attempt.cloning() - config.process_weight * reward


def _discounted(attempt: Attempt, config: TrainingConfig) -> Tensor:
    cost = discounted_cost(attempt.costs(), attempt.teacher_costs, config.discount)
    return attempt.cloning() + config.process_weight * cost


def _hinge(attempt: Attempt, config: TrainingConfig) -> Tensor:
    return attempt.cloning() + config.process_weight * rise_penalty(attempt.costs(), attempt.teacher_costs)


LOSSES: dict[str, Callable[[Attempt, TrainingConfig], Tensor]] = {
    "cloning": lambda attempt, config: attempt.cloning(),
    "process": _process,
    "discounted": _discounted,
    "hinge": _hinge,
}


@dataclass(frozen=True)
class History:
    """Losses by epoch, and which epoch was kept.

    Parameters
    ----------
    train_loss, validation_loss : list of float
        One an epoch, the first epoch first.
    best_epoch : int
        Epoch (from 0) whose weights the model has after training.
    """

    train_loss: list[float]
    validation_loss: list[float]
    best_epoch: int


def train(
    model: TinyRecursiveControl,
    data: Dataset,
    problem: Problem | None = None,
    *,
    progress: bool = False,
    **options: Any,
) -> History:
    """Train `model` in place on `data`; it ends with the weights of the best validation epoch.

    Parameters
    ----------
    model : TinyRecursiveControl
    data : Dataset
    problem : Problem, optional
        The simulator for the feedback; the model's own, or the dataset's, by default.
    progress : bool
        Show a progress bar with the losses.
    **options
        Fields of :class:`~trc.TrainingConfig`.

    Raises
    ------
    ValueError
        If the data are for another problem or shape, an option is unknown, or the loss is not finite.
    """
    config = TrainingConfig.from_options(**options)
    check_kind(model, TinyRecursiveControl, "model", "make it with trc.TinyRecursiveControl.create_medium")
    check_kind(data, Dataset, "data", "make it with trc.generate_dataset, or read it with trc.load_dataset")
    problem = problem or model.problem or data.problem
    check_kind(problem, Problem, "problem", "make it with trc.make_problem(name)")
    data.check_problem(problem)
    _check_dimensions(model.config, data)
    if model.problem not in (None, problem):
        raise ValueError(f"the model was made for another {model.problem.name!r}; make it with problem=problem.")
    for name in ("initial_states", "target_states", "control_sequences"):
        check_tensor(getattr(data, name), tuple(getattr(data, name).shape), f"{name} of the data")
    if len(data) < 2:
        raise ValueError(f"training needs at least 2 samples, one of them for validation, got {len(data)}.")
    if data.recipe["seed"] == TEST_SEED:
        raise ValueError(f"seed {TEST_SEED} makes the instances of the test set; train on data of another seed.")
    model.problem = problem
    model.needs_simulator = model.config.feedback != "none"

    dtype = next(model.parameters()).dtype
    validation, training = (
        [t.to(dtype) for t in (part.initial_states, part.target_states, part.control_sequences, part.costs)]
        for part in data.split(config.validation_fraction, seed=config.seed)
    )
    generator = torch.Generator().manual_seed(config.seed)

    def loss_of(initial: Tensor, target: Tensor, controls: Tensor, costs: Tensor) -> Tensor:
        output = model(initial, target, return_all_iterations=True)
        return LOSSES[config.loss](Attempt(problem, output, initial, target, controls, costs), config)

    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    steps = math.ceil(len(training[0]) / config.batch_size)
    decay = (
        (lambda step: (1 + math.cos(math.pi * step / (steps * config.epochs))) / 2)
        if (config.schedule == "cosine")
        else (lambda step: 1.0)
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, decay)

    train_losses: list[float] = []
    validation_losses: list[float] = []
    best: dict[str, Tensor] = {}
    bar = tqdm(range(config.epochs), desc=f"train {problem.name}", unit="epoch", disable=not progress)
    for epoch in bar:
        model.train()
        shuffled = torch.randperm(len(training[0]), generator=generator)
        total = 0.0
        for batch in shuffled.split(config.batch_size):
            loss = loss_of(*(t[batch] for t in training))
            _check_loss(loss.item(), epoch, config)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
            optimizer.step()
            scheduler.step()
            total += loss.item() * len(batch)
        train_losses.append(total / len(shuffled))
        validation_losses.append(_validate(model, validation, loss_of))
        _check_loss(validation_losses[-1], epoch, config)
        if validation_losses[-1] == min(validation_losses):
            best = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        bar.set_postfix(train=f"{train_losses[-1]:.2e}", validation=f"{validation_losses[-1]:.2e}")
    model.load_state_dict(best)
    model.eval()
    return History(train_losses, validation_losses, validation_losses.index(min(validation_losses)))


@torch.no_grad()
def _validate(model: TinyRecursiveControl, tensors: list[Tensor], loss_of: Callable[..., Tensor]) -> float:
    model.eval()
    total = 0.0
    for part in zip(*(t.split(1024) for t in tensors), strict=True):
        total += loss_of(*part).item() * len(part[0])
    return total / len(tensors[0])


def _check_loss(loss: float, epoch: int, config: TrainingConfig) -> None:
    if not math.isfinite(loss):
        raise ValueError(
            f"the loss became {loss} in epoch {epoch + 1}; lower learning_rate (now {config.learning_rate}) "
            f"or max_grad_norm (now {config.max_grad_norm})."
        )


def _check_dimensions(config: ModelConfig, data: Dataset) -> None:
    have = (data.initial_states.shape[1], data.control_sequences.shape[2], data.control_sequences.shape[1])
    want = (config.state_dim, config.control_dim, config.control_horizon)
    if have != want:
        raise ValueError(
            "the model is for state dimension {}, control dimension {} and horizon {}, the data have {}, "
            "{} and {}; make the model with problem=.".format(*want, *have)
        )
