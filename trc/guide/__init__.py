"""The functions of the first guides to this method under their own names, as thin wrappers of the library.

Only what the guides call is here; everything else is easier to say with ``trc`` itself.
"""

from .refinement import RefinementEvaluator, RefinementMetrics
from .training import (
    create_data_loaders,
    create_value_predictor,
    load_dataset,
    simulate_vanderpol_torch,
    train,
    train_supervised,
    train_with_process_supervision,
)

__all__ = [
    "RefinementEvaluator",
    "RefinementMetrics",
    "create_data_loaders",
    "create_value_predictor",
    "load_dataset",
    "simulate_vanderpol_torch",
    "train",
    "train_supervised",
    "train_with_process_supervision",
]
