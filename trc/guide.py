"""The functions of the first guides to this method under their own names, as thin wrappers of the library.

Only what the guides call is here; everything else is easier to say with ``trc`` itself.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from .checks import check_choice, check_kind
from .datasets import Dataset
from .evaluation import refinement_metrics
from .figures import refinement_panels, save_png
from .losses import iterate_costs
from .model import Simulator, TinyRecursiveControl, ValuePredictor
from .problems import Problem, QuadraticCost, make_problem
from .simulation import Dynamics, rollout
from .training import TrainingConfig
from .training.folder import RunFolder
from .training.loop import fit
from .training.objectives import Cost, Objective
from .training.supervised import check_dimensions, digest, trained_together


def load_dataset(
    path: str | Path, validation_fraction: float = 0.1, seed: int = 0
) -> tuple[TensorDataset, TensorDataset]:
    """Training and validation part of a dataset file, as tensors of initial states, targets and controls, float32.

    Parameters
    ----------
    path : str or Path
    validation_fraction : float
    seed : int
        Of the split.
    """
    validation, training = Dataset.load(path).split(validation_fraction, seed=seed)
    return tuple(
        TensorDataset(part.initial_states.float(), part.target_states.float(), part.control_sequences.float())
        for part in (training, validation)
    )


def create_data_loaders(
    train_dataset: TensorDataset, val_dataset: TensorDataset, batch_size: int = 64, seed: int = 0
) -> tuple[DataLoader, DataLoader]:
    """Loaders of both parts; the training part is shuffled by a generator of its own."""
    generator = torch.Generator().manual_seed(seed)
    return (
        DataLoader(train_dataset, batch_size=batch_size, shuffle=True, generator=generator),
        DataLoader(val_dataset, batch_size=batch_size),
    )


def train(
    model: TinyRecursiveControl,
    train_loader: DataLoader,
    val_loader: DataLoader,
    epochs: int = 100,
    lr: float = 1e-3,
    device: str = "cpu",
    output_dir: str | Path | None = None,
    **options: Any,
) -> TinyRecursiveControl:
    """Behaviour cloning of what the loaders give; the model comes back with its best weights.

    Parameters
    ----------
    model : TinyRecursiveControl
    train_loader, val_loader : DataLoader
        Of initial states, target states and controls; the first one's batch size is used.
    epochs : int
    lr : float
    device : str
        Where there is no GPU, ``"cuda"`` is answered with a warning and the CPU.
    output_dir : str or Path, optional
        As for :func:`trc.train`.
    **options
        Further fields of :class:`~trc.TrainingConfig`.
    """
    config = TrainingConfig.from_options(
        epochs=epochs,
        learning_rate=lr,
        batch_size=_batch_size(train_loader),
        device=_device(device),
        **options,
    )
    simulator = Simulator(model.problem)
    _fit(model, train_loader, val_loader, config, simulator, None, None, output_dir, {})
    return model


def train_supervised(
    model: TinyRecursiveControl, dataset_path: str | Path, epochs: int = 100, lr: float = 1e-3, **options: Any
) -> TinyRecursiveControl:
    """Behaviour cloning of a dataset file; see :func:`train`."""
    return train(model, *create_data_loaders(*load_dataset(dataset_path)), epochs=epochs, lr=lr, **options)


def train_with_process_supervision(
    model: TinyRecursiveControl,
    train_loader: DataLoader,
    val_loader: DataLoader,
    dynamics_fn: Dynamics | None = None,
    epochs: int = 100,
    lr: float = 1e-3,
    process_weight: float = 0.1,
    value_predictor: ValuePredictor | None = None,
    value_weight: float = 0.01,
    cost_params: dict[str, Any] | None = None,
    device: str = "cpu",
    output_dir: str | Path | None = None,
    **options: Any,
) -> TinyRecursiveControl:
    """Cloning with the improvement reward over all iterates; the model comes back with its best weights.

    Parameters
    ----------
    model : TinyRecursiveControl
    train_loader, val_loader : DataLoader
        As for :func:`train`.
    dynamics_fn : callable, optional
        Trajectories ``[B, T+1, n]`` from initial states and controls, differentiable; the model's problem by default.
        It also feeds the terminal error back to the model.
    epochs : int
    lr : float
    process_weight, value_weight : float
    value_predictor : ValuePredictor, optional
    cost_params : dict, optional
        ``Q``, ``R`` and ``Q_final``, in place of the problem's own cost; recorded with the run.
    device, output_dir, **options
        As for :func:`train`.

    Raises
    ------
    ValueError
        If neither `dynamics_fn` nor the model's problem says how to simulate, or neither `cost_params` nor the problem
        what it costs.
    """
    config = TrainingConfig.from_options(
        epochs=epochs,
        learning_rate=lr,
        batch_size=_batch_size(train_loader),
        device=_device(device),
        process_weight=process_weight,
        value_weight=value_weight,
        **{"loss": "process"} | options,
    )
    cost = _cost(model, cost_params)
    if dynamics_fn is None and model.problem is None:
        raise ValueError("process supervision needs dynamics_fn, or a model that was made with problem=.")
    simulator = Simulator(model.problem, dynamics_fn)
    record = {"cost": asdict(cost)}
    _fit(model, train_loader, val_loader, config, simulator, cost, value_predictor, output_dir, record)
    return model


def simulate_vanderpol_torch(initial_state: Tensor, controls: Tensor, mu: float = 1.0, dt: float = 0.05) -> Tensor:
    """Trajectories ``[B, T+1, 2]`` of the Van der Pol oscillator, differentiable."""
    return rollout(make_problem("van_der_pol", mu=mu, dt=dt), initial_state, controls)


def create_value_predictor(latent_dim: int, size: str = "small") -> ValuePredictor:
    """A predictor of the cost from the latent; see :class:`trc.ValuePredictor`."""
    return ValuePredictor.create(latent_dim, size)


@dataclass(frozen=True)
class RefinementMetrics:
    """What :class:`RefinementEvaluator` found.

    Parameters
    ----------
    costs : Tensor ``[B, K+1]``
        Of every iterate of every instance.
    control_mse : Tensor ``[B, K+1]``
        Mean squared difference to the expert's controls.
    summary : dict
        See :func:`trc.refinement_metrics`.
    """

    costs: Tensor
    control_mse: Tensor
    summary: dict[str, Any]


class RefinementEvaluator:
    """Measures how a model's iterates follow each other.

    Parameters
    ----------
    model : TinyRecursiveControl
    problem : Problem, optional
        Its cost judges; the model's own by default.
    dynamics_fn : callable, optional
        Simulates in place of the problem's dynamics.
    device : str
    cost_params : dict, optional
        ``Q``, ``R`` and ``Q_final``, in place of the problem's own cost.
    """

    def __init__(
        self,
        model: TinyRecursiveControl,
        problem: Problem | None = None,
        dynamics_fn: Dynamics | None = None,
        device: str = "cpu",
        cost_params: dict[str, Any] | None = None,
    ) -> None:
        check_kind(model, TinyRecursiveControl, "model", "read it with trc.load_model(path)")
        self.problem = problem or model.problem
        if self.problem is None and dynamics_fn is None:
            raise ValueError("RefinementEvaluator needs a problem or dynamics_fn.")
        self.device = _device(device)
        self.model = model.to(self.device)
        self.dynamics_fn = dynamics_fn
        self.cost = _cost(model, cost_params, self.problem)

    @torch.no_grad()
    def evaluate(self, test_loader: DataLoader | Iterable[tuple[Tensor, ...]]) -> RefinementMetrics:
        """Costs of all iterates of what the loader gives: initial states, target states, controls."""
        self.model.eval()
        simulate = self.dynamics_fn or partial(rollout, self.problem)
        costs, distances = [], []
        for batch in test_loader:
            initial, target, expert = (tensor.to(self.device) for tensor in batch[:3])
            output = self.model(initial, target, dynamics_fn=self.dynamics_fn, return_all_iterations=True)
            costs.append(iterate_costs(output, initial, target, simulate, self.cost))
            distances.append((output["all_controls"] - expert.unsqueeze(1)).square().mean((-1, -2)))
        if not costs:
            raise ValueError("the loader gave no instances.")
        found, distance = torch.cat(costs).cpu(), torch.cat(distances).cpu()
        return RefinementMetrics(found, distance, refinement_metrics(found, distance))

    def plot_refinement_curves(self, metrics: RefinementMetrics, output_path: str | Path) -> Path:
        """Draw cost, improvement and distance to the expert by iterate, as ``.png``."""
        return save_png(refinement_panels({"model": (metrics.costs, metrics.control_mse)}), output_path)

    def analyze_convergence(self, metrics: RefinementMetrics) -> dict[str, float]:
        """Shares in percent: ``pct_samples_improving``, ``pct_monotone``, and the ``convergence_rate``."""
        return {
            "pct_samples_improving": 100 * metrics.summary["share_improving"],
            "pct_monotone": 100 * metrics.summary["monotone_share"],
            "convergence_rate": metrics.summary["convergence_rate"],
        }


def _fit(
    model: TinyRecursiveControl,
    train_loader: DataLoader,
    val_loader: DataLoader,
    config: TrainingConfig,
    simulator: Simulator,
    cost: Cost | None,
    value_predictor: ValuePredictor | None,
    output_dir: str | Path | None,
    record: dict[str, Any],
) -> None:
    training, validation = (_tensors(loader) for loader in (train_loader, val_loader))
    check_dimensions(model.config, training[0], training[2])
    modules = trained_together(model, value_predictor)
    recipe = {
        "model": model.config.to_dict() | {"initial_weights": digest(modules.state_dict().values())},
        "training": asdict(config),
        "data": {"sha256": digest([*training, *validation])},
        **record,
    }
    known = simulator.problem is not None or simulator.dynamics_fn is not None
    model.needs_simulator = model.config.feedback != "none" and known
    fit(
        modules,
        Objective(model, config, simulator, cost, value_predictor),
        training,
        validation,
        config,
        folder=None if output_dir is None else RunFolder(output_dir, recipe),
        progress=True,
    )


def _tensors(loader: DataLoader) -> list[Tensor]:
    """All that a loader of tensors holds, in the order of its dataset."""
    check_kind(loader, DataLoader, "loader", "make it with create_data_loaders")
    rows = [loader.dataset[i] for i in range(len(loader.dataset))]
    return [torch.stack([row[i] for row in rows]) for i in range(3)]


def _batch_size(loader: DataLoader) -> int:
    check_kind(loader, DataLoader, "train_loader", "make it with create_data_loaders")
    return loader.batch_size or len(loader.dataset)


def _device(device: str) -> str:
    check_choice(device, "device", ("cpu", "cuda"))
    if device == "cuda" and not torch.cuda.is_available():
        warnings.warn('device="cuda" is not available here; the CPU is used.', stacklevel=3)
        return "cpu"
    return device


def _cost(
    model: TinyRecursiveControl, cost_params: dict[str, Any] | None, problem: Problem | None = None
) -> QuadraticCost:
    """The problem's cost, or the one that the parameters describe."""
    problem = problem or model.problem
    if cost_params is None:
        if problem is None:
            raise ValueError("the cost is not known: give cost_params, or make the model with problem=.")
        return problem.cost
    if unknown := sorted(set(cost_params) ^ {"Q", "R", "Q_final"}):
        raise ValueError(f"cost_params are Q, R and Q_final; missing or unknown: {', '.join(unknown)}.")
    return QuadraticCost(**cost_params)
