"""The control problems, one file each; ``PROBLEMS`` lists them."""

from importlib import import_module
from pkgutil import iter_modules

from .base import Problem, check_instances, check_problem, check_trajectories
from .cost import Cost, QuadraticCost
from .integrators import Parameters, rk4
from .registry import PROBLEMS, make_problem, problem_name, register

for _file in iter_modules(__path__):  # each problem's file registers it
    import_module(f"{__name__}.{_file.name}")

__all__ = ["PROBLEMS", "make_problem", "problem_name", "register"]
__all__ += ["Cost", "Parameters", "Problem", "QuadraticCost", "check_instances", "check_problem"]
__all__ += ["check_trajectories", "rk4"]
