"""Metrics, refinement, comparison and speed."""

from .comparison import compare
from .metrics import aggregate, instance_metrics, random_controls
from .models import evaluate, evaluate_refinement, propose
from .refinement import iterate_metrics, monotone_share, refinement_metrics
from .speed import measure_speed

__all__ = [
    "aggregate",
    "compare",
    "evaluate",
    "evaluate_refinement",
    "instance_metrics",
    "iterate_metrics",
    "measure_speed",
    "monotone_share",
    "propose",
    "random_controls",
    "refinement_metrics",
]
