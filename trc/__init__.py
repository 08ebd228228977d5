"""Tiny Recursive Control: a tiny network that proposes a control sequence, simulates it and refines it."""

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
from .experts import EXPERTS, Trajectory, ilqr, lqr, lqr_gains, minimum_energy, optimum, riccati
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
from .training import History, TrainingConfig, cloning_loss, train

__all__ = ["EVALUATION_SETS", "EXPERTS", "PROBLEMS", "SIZES"]
__all__ += ["ControlNetwork", "Costate", "Dataset", "FeedForward", "FeedForwardConfig", "History", "ModelConfig"]
__all__ += ["Problem", "QuadraticCost", "TinyRecursiveControl", "TrainingConfig", "Trajectory", "ValuePredictor"]
__all__ += ["accelerate", "aggregate", "cloning_loss", "compare", "costate", "evaluate", "evaluate_refinement"]
__all__ += ["evaluation_set", "generate_dataset", "ilqr", "instance_metrics", "load_dataset", "load_model"]
__all__ += ["load_value_predictor", "lqr", "lqr_gains", "make_problem", "measure_speed", "minimum_energy"]
__all__ += ["monotone_share", "optimum", "propose", "random_controls", "refinement_metrics", "riccati", "rollout"]
__all__ += ["save_model", "step_jacobians", "train"]
