"""Metrics, refinement, comparison, statistics and speed."""

from .comparison import compare, report
from .metrics import aggregate, instance_metrics, iterate_metrics, monotone_share, random_controls, refinement_metrics
from .models import evaluate, evaluate_refinement, judge_iterates, propose
from .speed import count_flops, kept_bytes, measure_speed

__all__ = ["aggregate", "compare", "count_flops", "evaluate"]
__all__ += ["evaluate_refinement", "instance_metrics", "iterate_metrics", "judge_iterates", "kept_bytes"]
__all__ += ["measure_speed", "monotone_share", "propose", "random_controls", "refinement_metrics", "report"]
