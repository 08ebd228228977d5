"""The loop itself: batches, steps, epochs, and where to go on after an interruption."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..common.parallel import single_thread
from .average import Average
from .config import OPTIMIZERS, History
from .objective import Objective
from .run_folder import RunFolder
from .schedules import learning_rate


class Diverged(ValueError):
    """A loss, or its gradient, that is not finite."""


def minimise(
    modules: nn.ModuleDict,
    objective: Objective,
    training: Sequence[Tensor],
    validation: Sequence[Tensor],
    run: RunFolder | None,
    title: str | None,
) -> History:
    """Minimise the mean loss of instances; the modules end with the weights of the best validation epoch.

    Training and validation are tensors with the instances along their first dimension. A `run` that was interrupted
    goes on where it is kept; a progress bar is shown under a `title`. A loss or gradient that is not finite is a
    ``ValueError``.
    """
    config = objective.config
    modules.to(config.device)
    training, validation = ([t.to(config.device) for t in tensors] for tensors in (training, validation))
    parameters = [parameter for parameter in modules.parameters() if parameter.requires_grad]
    settings = {"lr": config.learning_rate, "weight_decay": config.weight_decay, "fused": True}
    optimizer = OPTIMIZERS[config.optimizer](parameters, **settings)
    average = Average(modules, config.average)
    history, best = History(), average.copy()
    if run is not None:
        history, best = run.restore(modules, optimizer, average, best)
    history.samples_per_epoch = len(training[0])
    bar = tqdm(total=config.epochs, initial=len(history.train_loss), desc=title, unit="epoch", disable=title is None)
    # Dropout knows no generator but torch's global one, which is left as it was.
    own_random_state = torch.random.fork_rng(range(torch.cuda.device_count()) if config.device == "cuda" else [])
    try:
        with bar, single_thread(), own_random_state:
            while len(history.train_loss) < config.epochs:
                if config.patience and history.without_progress() >= config.patience:
                    break
                loss, rate = _train_epoch(modules, objective, training, optimizer, average, history)
                with average.instead():
                    validated = _validate(modules, objective, validation)
                history.train_loss.append(loss)
                history.validation_loss.append(validated)
                history.learning_rate.append(rate)
                if history.without_progress() == 0:
                    best = average.copy()
                if run is not None:
                    run.keep(modules, optimizer, average, best, history)
                bar.update()
                bar.set_postfix(train=f"{loss:.2e}", validation=f"{validated:.2e}")
    except ValueError as error:
        if not isinstance(error, Diverged) and not optimizer.state:
            raise  # no step was made yet: the reason is another
        kept = f"; {run.best} has the best epoch before" if run is not None and history.train_loss else ""
        raise ValueError(
            f"{str(error).rstrip('.')} in epoch {len(history.train_loss) + 1}; lower learning_rate (now "
            f"{config.learning_rate}) or max_grad_norm (now {config.max_grad_norm}){kept}."
        ) from None
    finally:  # also after an interrupt
        modules.load_state_dict(best)
        modules.eval()
    if run is not None:
        run.finish(modules, history)
    return history


def _train_epoch(
    modules: nn.ModuleDict,
    objective: Objective,
    tensors: Sequence[Tensor],
    optimizer: torch.optim.Optimizer,
    average: Average,
    history: History,
) -> tuple[float, float]:
    """One pass over the data: its mean loss, and the last learning rate."""
    config, epoch = objective.config, len(history.train_loss)
    seed = (config.seed + 0x9E3779B97F4A7C15 * (epoch + 1)) % 2**63  # an interrupted run can go on at any epoch
    torch.manual_seed(seed)  # of dropout
    modules.train()
    total, count, rate = 0.0, 0, 0.0
    for portion in objective.epoch(tensors, torch.Generator().manual_seed(seed)):
        progress = (epoch + portion.progress) / config.epochs
        rate = learning_rate(config.schedule, config.learning_rate, progress, history.validation_loss, config.warmup)
        optimizer.param_groups[0]["lr"] = rate
        total += _step(portion.loss, optimizer, config.max_grad_norm) * portion.count
        count += portion.count
        average.update()
    return total / count, rate


def _step(loss: Tensor, optimizer: torch.optim.Optimizer, max_grad_norm: float) -> float:
    """One step of the optimizer, unless the loss or its gradient is not finite; the loss as a number."""
    optimizer.zero_grad()
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], max_grad_norm)
    value = _check_finite(loss.item())
    _check_finite(norm.item())
    optimizer.step()
    return value


@torch.no_grad()
def _validate(modules: nn.ModuleDict, objective: Objective, tensors: Sequence[Tensor]) -> float:
    modules.eval()
    return _check_finite(objective.validate(tensors))


def _check_finite(loss: float) -> float:
    if not math.isfinite(loss):
        raise Diverged(f"the loss or its gradient became {loss}")
    return loss
