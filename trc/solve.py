"""Network and solver as one: a plan that is nearly right in no time, and Newton steps until it is certified."""

from collections.abc import Sequence
from functools import partial

from torch import Tensor

from .common.checks import NotFinite
from .common.modes import evaluating, values_only
from .experts import Trajectory, ilqr
from .model import ControlNetwork, check_network
from .model.starts import Start
from .problems import Problem, check_instances


@values_only
def solve(
    problem: Problem,
    initial: Tensor,
    target: Tensor,
    *,
    model: ControlNetwork | None = None,
    iterations: int | None = None,
    start: Start | Sequence[Start] | None = None,
    tolerance: float = 1e-6,
    max_iterations: int = 500,
) -> Trajectory:
    """Controls at a stationary point of the cost within the bounds, certified by their residual.

    A network plans, and iterative LQR goes on from there; without one it begins at saturated LQR. What the network
    leaves open, the solver closes: the answer does not depend on how well it was trained, how long it takes does.

    Parameters
    ----------
    initial, target : Tensor ``[B, n]``
    model : ControlNetwork, optional
        A network for this problem; other parameters of it (its μ, its mass) are allowed.
    iterations : int, optional
        Refinements before the first Newton step; as many as the network was made for by default.
    start : str, Tensor or several, optional
        Where the network begins, see :meth:`trc.ControlNetwork.forward`: ``("guess", "lqr")`` takes the cheaper plan.
    tolerance, max_iterations : float, int
        As for :func:`trc.ilqr`; the trajectory's ``iterations`` are Newton steps.
    """
    check_instances(problem, initial, target)
    limits = {"tolerance": tolerance, "max_iterations": max_iterations}
    if model is None and iterations is not None:
        raise ValueError("iterations are refinements of a network: give model=, or leave them out.")
    if model is None:
        return ilqr(problem, initial, target, start="lqr" if start is None else start, **limits)
    check_network(model)
    own, place = model.problem, next(model.parameters())
    if own is not None and own.name != problem.name:
        raise ValueError(f"the model is for {own.name!r}, not for {problem.name!r}.")
    model.problem = problem  # with its parameters, not those that the network was trained with
    asked = partial(model, initial.to(place), target.to(place), iterations=iterations, start=start)
    try:
        with evaluating(model):
            try:
                plan = asked()["controls"]
            except NotFinite:  # of some, which are left where they last were
                plan = asked(tolerance=tolerance)["controls"]
    finally:
        model.problem = own
    return ilqr(problem, initial, target, start=plan.to(initial), **limits)
