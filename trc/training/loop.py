"""The loop itself: batches, steps, epochs, and where to go on after an interruption."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..parallel import single_thread
from .config import OPTIMIZERS, History, TrainingConfig
from .folder import RunFolder
from .schedules import learning_rate

#: A batch of at least twice this many instances is worked on in two halves, whose gradients are added in order. Two
#: threads can share them, and the weights don't depend on whether they do.
HALF = 64

#: Instances validated at a time.
CHUNK = 1024

LossOf = Callable[..., Tensor]


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
        Threads, of which two have work; the weights don't depend on their number.
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
    parameters = [parameter for parameter in modules.parameters() if parameter.requires_grad]
    optimizer = OPTIMIZERS[config.optimizer](
        parameters, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    history, best = History(), copy_of(modules)
    if folder is not None:
        history, best = folder.restore(modules, optimizer, best)
    count = history.samples_per_epoch = len(training[0])
    steps = math.ceil(count / config.batch_size)
    # Dropout draws from one generator that all threads share, so it allows no more than one.
    with single_thread(), _workers(1 if _drops(modules) else jobs) as run, own_random_state(config.device):
        bar = tqdm(total=config.epochs, initial=len(history.train_loss), desc=title, unit="epoch", disable=not progress)
        while len(history.train_loss) < config.epochs and not _is_stuck(history, config):
            epoch = len(history.train_loss)
            generator = torch.Generator().manual_seed(_seed(config.seed, epoch))
            torch.manual_seed(_seed(config.seed, epoch))
            modules.train()
            total = 0.0
            try:
                for step, rows in enumerate(torch.randperm(count, generator=generator).split(config.batch_size)):
                    share = (epoch + step / steps) / config.epochs
                    rate = learning_rate(
                        config.schedule, config.learning_rate, share, history.validation_loss, config.warmup
                    )
                    optimizer.param_groups[0]["lr"] = rate
                    loss = _step(run, loss_of, [t[rows] for t in training], parameters, optimizer, config)
                    _check_loss(loss, epoch, config, folder)
                    total += loss * len(rows)
                modules.eval()
                _check_loss(validated := _validate(run, loss_of, validation), epoch, config, folder)
            except ValueError:
                modules.load_state_dict(best)
                modules.eval()
                raise
            history.train_loss.append(total / count)
            history.validation_loss.append(validated)
            history.learning_rate.append(rate)
            if history.best_epoch == epoch:
                best = copy_of(modules)
            if folder is not None:
                folder.keep(modules, optimizer, best, history)
            bar.update()
            bar.set_postfix(train=f"{history.train_loss[-1]:.2e}", validation=f"{validated:.2e}")
        bar.close()
    modules.load_state_dict(best)
    modules.eval()
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


@contextmanager
def _workers(jobs: int) -> Iterator[Callable]:
    """A ``map`` over threads that each run torch on one thread."""
    if jobs == 1:
        yield map
        return
    with ThreadPoolExecutor(jobs, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield pool.map


def _step(
    run: Callable,
    loss_of: LossOf,
    batch: list[Tensor],
    parameters: list[nn.Parameter],
    optimizer: torch.optim.Optimizer,
    config: TrainingConfig,
) -> float:
    """One step; the loss before it. No step is made where the loss or its gradient is not finite."""
    count = len(batch[0])

    def work(*part: Tensor) -> tuple[float, Sequence[Tensor | None]]:
        loss = loss_of(*part) * (len(part[0]) / count)
        return loss.item(), torch.autograd.grad(loss, parameters, allow_unused=True)

    optimizer.zero_grad()
    total = 0.0
    halves = (t.chunk(2 if count >= 2 * HALF else 1) for t in batch)
    for loss, gradients in run(work, *halves):
        total += loss
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
    norm = torch.nn.utils.clip_grad_norm_(parameters, config.max_grad_norm)
    if not (math.isfinite(total) and torch.isfinite(norm)):
        return total if not math.isfinite(total) else math.nan
    optimizer.step()
    return total


def _validate(run: Callable, loss_of: LossOf, tensors: Sequence[Tensor]) -> float:
    def work(*part: Tensor) -> float:
        with torch.no_grad():
            return loss_of(*part).item() * len(part[0])

    return sum(run(work, *(t.split(CHUNK) for t in tensors))) / len(tensors[0])


def _drops(modules: nn.Module) -> bool:
    return any(isinstance(module, nn.Dropout) and module.p > 0 for module in modules.modules())


def _is_stuck(history: History, config: TrainingConfig) -> bool:
    return bool(config.patience) and history.without_progress() >= config.patience


def _seed(seed: int, epoch: int) -> int:
    """A seed for each epoch, so that an interrupted run can go on at any of them."""
    return (seed + 0x9E3779B97F4A7C15 * (epoch + 1)) % 2**63


def _check_loss(loss: float, epoch: int, config: TrainingConfig, folder: RunFolder | None) -> None:
    if not math.isfinite(loss):
        kept = "" if folder is None or not epoch else f"; {folder.best} has the best epoch before"
        raise ValueError(
            f"the loss or its gradient became {loss} in epoch {epoch + 1}; lower learning_rate "
            f"(now {config.learning_rate}) or max_grad_norm (now {config.max_grad_norm}){kept}."
        )
