"""What a plan takes, in simulations and passes backwards through them, and what it reaches, with and without a network.

An iteration of iterative LQR is counted as one simulation (its line search may need more) and two passes backwards, for
the costate and for the Riccati recursion. Methods that compare costs simulate their first plan too, and saturated LQR
is found by a simulation.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ..experts import ilqr
from ..experts.descent import adam_descent, projected_gradient
from ..model import ControlNetwork
from ..model.guarded import SPENT
from ..solve import solve
from .instances import Instances

#: What one does without a network, and how it begins.
DESCENTS = {"gradient": projected_gradient, "adam": adam_descent}
STARTS = ("zero", "lqr")

#: Simulations and passes backwards of a network's refinement, by what it is told.
ASKS = {"error": SPENT["told"], "costate": SPENT["gradient"], "newton": SPENT["step"]}

#: Iterations of iterative LQR at most: it has come to rest long before.
MOST = 20

#: Step, simulations, passes backwards, and the gaps of the means and of the median instance.
Point = tuple[int, float, float, float, float]


def point(some: Instances, step: int, cost: Tensor, rollouts: Tensor | float, adjoints: Tensor | float) -> Point:
    """One point of a curve: what instances cost ``[B]`` after so many simulations and passes in the mean."""
    best = some.optimal_cost
    gap, median = cost.mean() / best.mean() - 1, (cost / best - 1).median()
    return step, float(rollouts), float(adjoints), gap.item(), median.item()


def without_network(some: Instances, steps: int) -> Iterator[tuple[str, *Point]]:
    """The curves of descent on the controls and of iterative LQR, each from zero and from saturated LQR."""
    given = some.problem, some.initial.double(), some.target.double()
    for start in STARTS:
        first = start == "lqr"  # which is itself a simulation
        for name, descend in DESCENTS.items():
            begin = some.lqr_controls.double() if first else start
            found = descend(*given, start=begin, steps=steps)
            rollouts, adjoints = found.rollouts.mean(0), found.adjoints.mean(0)
            for k in range(steps + 1):
                yield f"{name}-{start}", *point(some, k, found.costs[:, k], first + rollouts[k], adjoints[k])
        for k in range(min(steps, MOST) + 1):
            found = ilqr(*given, start=start, max_iterations=k)
            taken = found.iterations.double().mean()
            yield f"ilqr-{start}", *point(some, k, found.cost, first + 1 + taken, 2 * taken)


def with_solver(
    some: Instances, models: Sequence[ControlNetwork], spent: tuple[int, int], steps: int
) -> Iterator[Point]:
    """The curve of iterative LQR that goes on from networks' plans after one refinement, the mean over them.

    `spent` are the simulations and the passes backwards of that refinement.
    """
    given, (rollouts, adjoints) = (some.problem, some.initial.double(), some.target.double()), spent
    for k in range(min(steps, MOST) + 1):
        found = [solve(*given, model=model, iterations=1, max_iterations=k) for model in models]
        taken = torch.stack([one.iterations.double().mean() for one in found]).mean()
        cost = torch.stack([one.cost for one in found]).mean(0)
        yield point(some, k, cost, rollouts + 1 + taken, adjoints + 2 * taken)
