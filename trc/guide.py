"""The functions of the first guides to this method under their own names, as thin wrappers of the library.

Only what the guides call is here: loaders of tensors, a function of one's own for the dynamics, a cost of one's own.
Everything else is easier to say with ``trc`` itself.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from .common.checks import check_choice, check_kind, check_tensor
from .common.notices import warn
from .datasets import Dataset
from .evaluation import refinement_metrics
from .evaluation.metrics import control_mse
from .model import Simulator, TinyRecursiveControl, ValuePredictor
from .problems import Problem, QuadraticCost, check_problem, make_problem
from .simulation import Dynamics, rollout
from .training import TrainingConfig
from .training.losses import Cost, iterate_costs
from .training.objective import Objective
from .training.supervised import check_dimensions, digest, train_on_tensors
from .training.unrolled import Unrolled

__all__ = ["RefinementEvaluator", "RefinementMetrics", "create_data_loaders", "create_dynamics_function"]
__all__ += ["create_value_predictor", "load_dataset", "simulate_vanderpol_torch", "train", "train_supervised"]
__all__ += ["train_with_process_supervision"]


def load_dataset(
    path: str | Path, validation_fraction: float = 0.1, seed: int = 0
) -> tuple[TensorDataset, TensorDataset]:
    """Training and validation part of a dataset file, as tensors of initial states, targets and controls, float32.

    The `seed` is that of the split; `validation_fraction` of the instances are held out.
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
    training = DataLoader(train_dataset, batch_size=batch_size, shuffle=True, generator=generator)
    return training, DataLoader(val_dataset, batch_size=batch_size)


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
    device : str
        Where there is no GPU, ``"cuda"`` is answered with a warning and the CPU.
    output_dir : str or Path, optional
        As for :func:`trc.train`.
    epochs, lr, **options
        The learning rate and other fields of :class:`~trc.TrainingConfig`.
    """
    if options.get("loss", "cloning") != "cloning":
        raise ValueError("train is behaviour cloning; call train_with_process_supervision for another loss.")
    config = _config(train_loader, epochs, lr, device, options)
    if config.state_weight and model.problem is None:
        raise ValueError("state_weight needs a model that was made with problem=: its dynamics say where controls go.")
    cost = None if model.problem is None else model.problem.cost
    return _fit(Unrolled(model, config, Simulator(model.problem), cost), train_loader, val_loader, output_dir)


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

    A ``ValueError`` if neither `dynamics_fn` nor the model's problem says how to simulate, or neither `cost_params` nor
    the problem what it costs.

    Parameters
    ----------
    model, train_loader, val_loader, epochs, lr, device, output_dir, **options
        As for :func:`train`.
    dynamics_fn : callable, optional
        Trajectories ``[B, T+1, n]`` from initial states and controls, differentiable; the model's problem by default.
        It also feeds the terminal error back to the model.
    process_weight, value_weight : float
        Of the reward, and of the loss of the value predictor.
    value_predictor : ValuePredictor, optional
        Trained along.
    cost_params : dict, optional
        ``Q``, ``R`` and ``Q_final``, in place of the problem's own cost; recorded with the run.
    """
    weights = {"process_weight": process_weight, "value_weight": value_weight}
    config = _config(train_loader, epochs, lr, device, {"loss": "process", **weights, **options})
    cost = _cost(model.problem, cost_params)
    if dynamics_fn is None and model.problem is None:
        raise ValueError("process supervision needs dynamics_fn, or a model that was made with problem=.")
    objective = Unrolled(model, config, Simulator(model.problem, dynamics_fn), cost, value_predictor)
    return _fit(objective, train_loader, val_loader, output_dir)


def simulate_vanderpol_torch(initial_state: Tensor, controls: Tensor, mu: float = 1.0, dt: float = 0.05) -> Tensor:
    """Trajectories ``[B, T+1, 2]`` of the Van der Pol oscillator, differentiable."""
    return rollout(make_problem("van_der_pol", mu=mu, dt=dt), initial_state, controls)


def create_dynamics_function(problem: str, **overrides: Any) -> Dynamics:
    """Trajectories from initial states and controls, differentiable, of a problem by its name.

    A problem that is registered is known to it at once (see :func:`trc.problems.register`); the overrides are those of
    :func:`trc.make_problem`.
    """
    return partial(rollout, make_problem(problem, **overrides))


def create_value_predictor(latent_dim: int, size: str = "small") -> ValuePredictor:
    """A predictor of the cost from the latent; see :class:`trc.ValuePredictor`."""
    return ValuePredictor.create(latent_dim, size)


@dataclass(frozen=True)
class RefinementMetrics:
    """Costs of all iterates, the first guess first, and their distances to an expert's controls, both ``[B, K+1]``."""

    costs: Tensor
    control_mse: Tensor | None = None

    @property
    def summary(self) -> dict[str, float | list[float]]:
        """See :func:`trc.refinement_metrics`."""
        return refinement_metrics(self.costs, self.control_mse)


class RefinementEvaluator:
    """Measures how a model's iterates follow each other.

    Parameters
    ----------
    problem : Problem, optional
        Its cost judges; the model's own by default.
    dynamics_fn, cost_params : optional
        In place of the problem's dynamics and cost; as for :func:`train_with_process_supervision`.
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
        if problem is not None:
            check_problem(problem)
        self.problem = problem or model.problem
        if self.problem is None and dynamics_fn is None:
            raise ValueError("RefinementEvaluator needs a problem or dynamics_fn.")
        self.device = _device(device)
        self.model = model.to(self.device)
        self.dynamics_fn = dynamics_fn or partial(rollout, self.problem)
        self.cost = _cost(self.problem, cost_params)

    @torch.no_grad()
    def evaluate(self, test_loader: DataLoader | Iterable[tuple[Tensor, ...]]) -> RefinementMetrics:
        """Costs of all iterates of what the loader gives: initial states, target states, controls."""
        self.model.eval()
        costs, distances = [], []
        for batch in test_loader:
            initial, target, expert = (tensor.to(self.device) for tensor in batch[:3])
            output = self.model(initial, target, dynamics_fn=self.dynamics_fn, return_all_iterations=True)
            costs.append(iterate_costs(output, initial, target, self.dynamics_fn, self.cost))
            distances.append(control_mse(output["all_controls"], expert))
        if not costs:
            raise ValueError("the loader gave no instances.")
        return RefinementMetrics(torch.cat(costs).cpu(), torch.cat(distances).cpu())

    def plot_refinement_curves(self, metrics: RefinementMetrics, output_path: str | Path) -> Path:
        """Draw cost, improvement and distance to the expert by iterate, as ``.png``."""
        from .plots import refinement_panels, save_png  # matplotlib takes a second to import

        return save_png(refinement_panels({"model": (metrics.costs, metrics.control_mse)}), output_path)

    def analyze_convergence(self, metrics: RefinementMetrics) -> dict[str, float]:
        """Shares in percent: ``pct_samples_improving``, ``pct_monotone``, and the ``convergence_rate``."""
        found = metrics.summary
        return {
            "pct_samples_improving": 100 * found["share_improving"],
            "pct_monotone": 100 * found["monotone_share"],
            "convergence_rate": found["convergence_rate"],
        }


def _config(loader: DataLoader, epochs: int, lr: float, device: str, options: dict[str, Any]) -> TrainingConfig:
    check_kind(loader, DataLoader, "train_loader", "make it with create_data_loaders")
    given = {
        "supervision": "unrolled",
        "epochs": epochs,
        "learning_rate": lr,
        "batch_size": loader.batch_size or len(loader.dataset),
    }
    return TrainingConfig.from_options(**given, device=_device(device), **options)


def _fit(
    objective: Objective, train_loader: DataLoader, val_loader: DataLoader, output_dir: str | Path | None
) -> TinyRecursiveControl:
    training, validation = (_tensors(loader, objective) for loader in (train_loader, val_loader))
    setup: dict[str, Any] = {"data": {"sha256": digest([*training[:3], *validation[:3]])}}
    if validation[3:]:  # a function has no name that could be compared; what it makes of the data has
        setup["simulator"] = {"sha256": digest(validation[3:])}
    if isinstance(objective.cost, QuadraticCost):
        setup["cost"] = asdict(objective.cost)
    train_on_tensors(objective, training, validation, setup, output_dir, title="train")
    return objective.model


@torch.no_grad()
def _tensors(loader: DataLoader, objective: Objective) -> list[Tensor]:
    """All initial states, targets and controls of a loader, in the order of its dataset and the dtype of the model.

    Where a simulator is known, also what the controls cost and the states that they lead through.
    """
    check_kind(loader, DataLoader, "loader", "make it with create_data_loaders")
    rows = [loader.dataset[i] for i in range(len(loader.dataset))]
    dtype = next(objective.model.parameters()).dtype
    initial, target, controls = (torch.stack([row[i] for row in rows]).to(dtype) for i in range(3))
    check_dimensions(objective.model.config, initial, controls)
    for name, tensor in (("initial states", initial), ("target states", target), ("controls", controls)):
        check_tensor(tensor, tuple(tensor.shape), f"{name} of the loader")
    simulator, cost = objective.simulator, objective.cost
    if simulator.problem is None and simulator.dynamics_fn is None:
        return [initial, target, controls]
    states = simulator(initial, controls)
    known = cost is not None and states.ndim == 3  # the losses that need more will say so
    costs = cost(states, controls, target) if known else states.new_zeros(len(states))
    return [initial, target, controls, costs, states]


def _device(device: str) -> str:
    """The device, or the CPU with a warning where there is no GPU."""
    check_choice(device, "device", ("cpu", "cuda"))
    if device == "cuda" and not torch.cuda.is_available():
        warn('device="cuda" is not available here; the CPU is used.')
        return "cpu"
    return device


def _cost(problem: Problem | None, cost_params: dict[str, Any] | None) -> Cost:
    """The problem's cost, or the one that the parameters describe."""
    if cost_params is None:
        if problem is None:
            raise ValueError("the cost is not known: give cost_params, or make the model with problem=.")
        return problem.cost
    if unknown := sorted(set(cost_params) ^ {"Q", "R", "Q_final"}):
        raise ValueError(f"cost_params are Q, R and Q_final; missing or unknown: {', '.join(unknown)}.")
    return QuadraticCost(**cost_params)
