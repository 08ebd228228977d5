"""The loop itself: batches, steps, epochs, and where to go on after an interruption."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..parallel import single_thread
from . import halves
from .config import OPTIMIZERS, History, TrainingConfig
from .folder import RunFolder
from .halves import BatchGradient, LossOf, trainable
from .schedules import learning_rate

#: Instances validated at a time.
CHUNK = 1024


class _Broken(ValueError):
    """Training can't go on, and the message says what to change."""


def fit(
    modules: nn.ModuleDict,
    loss_of: LossOf,
    training: Sequence[Tensor],
    validation: Sequence[Tensor],
    config: TrainingConfig,
    *,
    folder: RunFolder | None = None,
    jobs: int = 1,
    progress: bool = False,
    title: str = "train",
) -> History:
    """Minimise a loss; the modules end with the weights of the best validation epoch.

    Parameters
    ----------
    modules : ModuleDict
        What is trained.
    loss_of : callable
        The mean loss of instances, from their tensors.
    training, validation : sequence of Tensor
        Each with the instances along its first dimension.
    config : TrainingConfig
    folder : RunFolder, optional
        Where the run is kept; one that was interrupted goes on there.
    jobs : int
        Processes, of which two have work; the weights don't depend on their number.
    progress : bool
    title : str
        Of the progress bar.

    Raises
    ------
    ValueError
        If the loss or its gradient is not finite. The modules have the weights of the best epoch so far.
    """
    modules.to(config.device)
    training, validation = ([t.to(config.device) for t in tensors] for tensors in (training, validation))
    optimizer = OPTIMIZERS[config.optimizer](
        trainable(modules), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    history, best = History(), copy_of(modules)
    if folder is not None:
        history, best = folder.restore(modules, optimizer, best)
    history.samples_per_epoch = len(training[0])
    # A second process is of no use for small batches, a finished run or a GPU, and dropout's generator can't be shared.
    small = min(config.batch_size, len(training[0])) < 2 * halves.HALF
    idle = len(history.train_loss) >= config.epochs or _is_stuck(history, config)
    alone = jobs == 1 or small or idle or _drops(modules) or config.device != "cpu"
    gradient_of = BatchGradient(loss_of, modules, training, 1 if alone else 2)
    bar = tqdm(total=config.epochs, initial=len(history.train_loss), desc=title, unit="epoch", disable=not progress)
    try:
        with bar, single_thread(), own_random_state(config.device), gradient_of:
            while len(history.train_loss) < config.epochs and not _is_stuck(history, config):
                try:
                    loss, rate = _epoch(modules, gradient_of, optimizer, config, history, folder)
                    modules.eval()
                    validated = _validate(loss_of, validation)
                except _Broken:
                    raise
                except ValueError as error:
                    if not optimizer.state:
                        raise  # no step was made yet: the reason is another
                    raise _broken(str(error), history, config, folder) from None
                _check_loss(validated, history, config, folder)
                history.train_loss.append(loss)
                history.validation_loss.append(validated)
                history.learning_rate.append(rate)
                if history.without_progress() == 0:
                    best = copy_of(modules)
                if folder is not None:
                    folder.keep(modules, optimizer, best, history)
                bar.update()
                bar.set_postfix(train=f"{loss:.2e}", validation=f"{validated:.2e}")
    finally:  # also after an interrupt or an error
        modules.load_state_dict(best)
        modules.eval()
        if folder is not None:
            folder.release()
    if folder is not None:
        folder.finish(modules, history)
    return history


def copy_of(modules: nn.Module) -> dict[str, Tensor]:
    """The weights as they are now."""
    return {name: tensor.detach().clone() for name, tensor in modules.state_dict().items()}


@contextmanager
def own_random_state(device: str) -> Iterator[None]:
    """Draw from torch's global generator (dropout knows no other) and leave it as it was."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if device == "cuda" else []):
        yield


def _epoch(
    modules: nn.Module,
    gradient_of: BatchGradient,
    optimizer: torch.optim.Optimizer,
    config: TrainingConfig,
    history: History,
    folder: RunFolder | None,
) -> tuple[float, float]:
    """One pass over the data: its mean loss, and the last learning rate."""
    epoch, count = len(history.train_loss), len(gradient_of.tensors[0])
    generator = torch.Generator().manual_seed(_seed(config.seed, epoch))
    torch.manual_seed(_seed(config.seed, epoch))  # of dropout
    modules.train()
    total, batches = 0.0, torch.randperm(count, generator=generator).split(config.batch_size)
    for step, rows in enumerate(batches):
        progress = (epoch + step / len(batches)) / config.epochs
        rate = learning_rate(config.schedule, config.learning_rate, progress, history.validation_loss, config.warmup)
        optimizer.param_groups[0]["lr"] = rate
        loss = _step(*gradient_of(rows), optimizer, config)
        _check_loss(loss, history, config, folder)
        total += loss * len(rows)
    return total / count, rate


def _step(
    loss: float, gradients: Sequence[Tensor | None], optimizer: torch.optim.Optimizer, config: TrainingConfig
) -> float:
    """One step, unless the loss or its gradient is not finite; the loss, or NaN if only the gradient is not."""
    parameters = optimizer.param_groups[0]["params"]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    norm = torch.nn.utils.clip_grad_norm_(parameters, config.max_grad_norm)
    if not math.isfinite(loss):
        return loss
    if not torch.isfinite(norm):
        return math.nan
    optimizer.step()
    return loss


@torch.no_grad()
def _validate(loss_of: LossOf, tensors: Sequence[Tensor]) -> float:
    parts = zip(*(t.split(CHUNK) for t in tensors), strict=True)
    return sum(loss_of(*part).item() * len(part[0]) for part in parts) / len(tensors[0])


def _drops(modules: nn.Module) -> bool:
    return any(isinstance(module, nn.Dropout) and module.p > 0 for module in modules.modules())


def _is_stuck(history: History, config: TrainingConfig) -> bool:
    return bool(config.patience) and history.without_progress() >= config.patience


def _seed(seed: int, epoch: int) -> int:
    """A seed for each epoch, so that an interrupted run can go on at any of them."""
    return (seed + 0x9E3779B97F4A7C15 * (epoch + 1)) % 2**63


def _check_loss(loss: float, history: History, config: TrainingConfig, folder: RunFolder | None) -> None:
    if not math.isfinite(loss):
        raise _broken(f"the loss or its gradient became {loss}.", history, config, folder)


def _broken(why: str, history: History, config: TrainingConfig, folder: RunFolder | None) -> ValueError:
    """What to say when training can't go on."""
    epoch = len(history.train_loss)
    kept = "" if folder is None or not epoch else f"; {folder.best} has the best epoch before"
    return _Broken(
        f"{why.rstrip('.')} in epoch {epoch + 1}; lower learning_rate (now {config.learning_rate}) "
        f"or max_grad_norm (now {config.max_grad_norm}){kept}."
    )
