"""Tiny Recursive Control: a tiny network that proposes a control sequence, simulates it and refines it."""

from .checkpoints import load_model, load_value_predictor, save_model
from .datasets import EVALUATION_SETS, EXPERTS, Dataset, evaluation_set, generate_dataset, load_dataset
from .evaluation import (
    aggregate,
    compare,
    evaluate,
    evaluate_refinement,
    instance_metrics,
    measure_speed,
    monotone_share,
    propose,
    random_controls,
    refinement_metrics,
)
from .experts import Trajectory, ilqr, lqr, lqr_gains, minimum_energy, optimum, riccati
from .losses import cloning_loss
from .model import (
    SIZES,
    ControlNetwork,
    FeedForward,
    FeedForwardConfig,
    ModelConfig,
    Snapshot,
    TinyRecursiveControl,
    ValuePredictor,
)
from .problems import PROBLEMS, Problem, QuadraticCost, make_problem
from .simulation import Costate, costate, rollout
from .steps import step_jacobians
from .training import History, TrainingConfig, train

__all__ = [
    "EVALUATION_SETS",
    "EXPERTS",
    "PROBLEMS",
    "SIZES",
    "ControlNetwork",
    "Costate",
    "Dataset",
    "FeedForward",
    "FeedForwardConfig",
    "History",
    "ModelConfig",
    "Problem",
    "QuadraticCost",
    "Snapshot",
    "TinyRecursiveControl",
    "TrainingConfig",
    "Trajectory",
    "ValuePredictor",
    "aggregate",
    "cloning_loss",
    "compare",
    "costate",
    "evaluate",
    "evaluate_refinement",
    "evaluation_set",
    "generate_dataset",
    "ilqr",
    "instance_metrics",
    "load_dataset",
    "load_model",
    "load_value_predictor",
    "lqr",
    "lqr_gains",
    "make_problem",
    "measure_speed",
    "minimum_energy",
    "monotone_share",
    "optimum",
    "propose",
    "random_controls",
    "refinement_metrics",
    "riccati",
    "rollout",
    "save_model",
    "step_jacobians",
    "train",
]
