"""Figures from results; the only room that knows matplotlib. ``python -m trc.figures`` draws those of the paper."""

from .ablations import arithmetic, feedback, iteration_curves, sizes, untrained
from .index import FUNCTIONS, Entry, draw, read_index
from .iteration import iterates, refinement
from .longer import convergence, stability
from .pages import gains, gap_map, phase_portrait, stationarity
from .paper import distance, learning, methods
from .runs import refinement_panels, training_curves
from .sketches import architecture, two_levels
from .style import METHODS, PROBLEM_TITLES, color, label, save, save_png, style
from .tables import QUESTIONS, comparison, contrasts, cycles, rates, size_costs, weight_table
from .weights import process_weight

__all__ = [
    "FUNCTIONS",
    "METHODS",
    "PROBLEM_TITLES",
    "QUESTIONS",
    "Entry",
    "architecture",
    "arithmetic",
    "color",
    "comparison",
    "contrasts",
    "convergence",
    "cycles",
    "distance",
    "draw",
    "feedback",
    "gains",
    "gap_map",
    "iterates",
    "iteration_curves",
    "label",
    "learning",
    "methods",
    "phase_portrait",
    "process_weight",
    "rates",
    "read_index",
    "refinement",
    "refinement_panels",
    "save",
    "save_png",
    "size_costs",
    "sizes",
    "stability",
    "stationarity",
    "style",
    "training_curves",
    "two_levels",
    "untrained",
    "weight_table",
]
