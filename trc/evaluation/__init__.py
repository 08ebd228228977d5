"""Metrics, refinement, comparison, statistics and speed."""

from .comparison import compare, report
from .metrics import aggregate, instance_metrics, random_controls
from .models import evaluate, evaluate_refinement, measure_refinement, propose
from .refinement import RefinementMetrics, control_mse, iterate_metrics, monotone_share, refinement_metrics
from .speed import count_flops, kept_bytes, measure_speed

__all__ = [
    "RefinementMetrics",
    "aggregate",
    "compare",
    "control_mse",
    "count_flops",
    "evaluate",
    "evaluate_refinement",
    "instance_metrics",
    "iterate_metrics",
    "kept_bytes",
    "measure_refinement",
    "measure_speed",
    "monotone_share",
    "propose",
    "random_controls",
    "refinement_metrics",
    "report",
]
