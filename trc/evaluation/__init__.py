"""Metrics, refinement, comparison and speed."""

from .comparison import compare
from .metrics import aggregate, instance_metrics, random_controls
from .models import evaluate, evaluate_refinement, propose
from .outcomes import contrast_table, interval_table, join, outcome, seed_table
from .refinement import iterate_metrics, monotone_share, refinement_metrics
from .speed import count_flops, measure_speed
from .trajectories import trajectory_table

__all__ = [
    "aggregate",
    "compare",
    "contrast_table",
    "count_flops",
    "evaluate",
    "evaluate_refinement",
    "instance_metrics",
    "interval_table",
    "iterate_metrics",
    "join",
    "measure_speed",
    "monotone_share",
    "outcome",
    "propose",
    "random_controls",
    "refinement_metrics",
    "seed_table",
    "trajectory_table",
]
