"""Tiny Recursive Control: a tiny network that proposes a control sequence, simulates it and refines it."""

from .common import interrupts as interrupts  # before what takes seconds to load
from .datasets import EVALUATION_SETS, Dataset, evaluation_set, generate_dataset, load_dataset
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
from .experts import EXPERTS, Certificate, Trajectory, certify, ilqr, lqr, lqr_gains, minimum_energy, optimum, riccati
from .model import (
    SIZES,
    ControlNetwork,
    FeedForward,
    FeedForwardConfig,
    ModelConfig,
    TinyRecursiveControl,
    ValuePredictor,
    load_model,
    load_value_predictor,
    save_model,
)
from .problems import PROBLEMS, Problem, QuadraticCost, make_problem
from .simulation import Costate, accelerate, costate, rollout, step_jacobians
from .solve import solve
from .training import History, TrainingConfig, cloning_loss, train

__all__ = ["EVALUATION_SETS", "EXPERTS", "PROBLEMS", "SIZES"]
__all__ += ["Certificate", "ControlNetwork", "Costate", "Dataset", "FeedForward", "FeedForwardConfig", "History"]
__all__ += ["ModelConfig", "Problem", "QuadraticCost", "TinyRecursiveControl", "TrainingConfig", "Trajectory"]
__all__ += ["ValuePredictor"]
__all__ += ["accelerate", "aggregate", "certify", "cloning_loss", "compare", "costate", "evaluate"]
__all__ += ["evaluate_refinement", "evaluation_set", "generate_dataset", "ilqr", "instance_metrics", "load_dataset"]
__all__ += ["load_model", "load_value_predictor", "lqr", "lqr_gains", "make_problem", "measure_speed"]
__all__ += ["minimum_energy", "monotone_share", "optimum", "propose", "random_controls", "refinement_metrics"]
__all__ += ["riccati", "rollout", "save_model", "solve", "step_jacobians", "train"]
