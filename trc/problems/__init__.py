"""The control problems. One file each; ``PROBLEMS`` lists them."""

from __future__ import annotations

from typing import Any

from ..checks import check_choice
from .base import Problem
from .cost import QuadraticCost
from .double_integrator import DoubleIntegrator
from .integrators import Parameters, rk4
from .van_der_pol import VanDerPol

PROBLEMS: dict[str, type[Problem]] = {
    "double_integrator": DoubleIntegrator,
    "van_der_pol": VanDerPol,
}


def make_problem(name: str, **overrides: Any) -> Problem:
    """Make a problem by name, some of its settings changed.

    Parameters
    ----------
    name : str
        One of ``trc.PROBLEMS``.
    **overrides
        Any field of :class:`~trc.Problem` (``horizon``, ``dt``, ``control_low``, …), a cost weight (``Q``, ``R``,
        ``Q_final``) or a physical parameter of the problem (``mu``, …).

    Raises
    ------
    ValueError
        If the name or a setting is unknown, or a value is not valid.

    Examples
    --------
    >>> import trc
    >>> trc.make_problem("van_der_pol", mu=2.0, horizon=50).duration
    2.5
    """
    check_choice(name, "problem", PROBLEMS)
    return PROBLEMS[name]().replace(**overrides)


__all__ = [
    "PROBLEMS",
    "DoubleIntegrator",
    "Parameters",
    "Problem",
    "QuadraticCost",
    "VanDerPol",
    "make_problem",
    "rk4",
]
