"""How long it takes to plans that are good enough: networks, networks and Newton steps, and solvers without a network.

Each way has an effort, such as its number of iterations. For each accuracy wanted it gets the least effort at which the
mean cost of some instances is within it of the optimum's, and that is timed: one instance a call, and many.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from statistics import quantiles

import numpy as np
import pandas as pd
import torch
from ipopt import Ipopt
from model import planner
from race import SHORTEST, timed
from torch import Tensor
from tqdm import tqdm

import trc
from trc.artifact.equal_cost import ASKS
from trc.artifact.presets import PAPER_PROBLEMS
from trc.common.provenance import project_root

SEED = 0

#: Where a solver stops by itself.
TOLERANCE = 1e-7

#: Mean gaps that are wanted, instances that are timed together, and those that are timed one by one.
WANTED, TOGETHER, ALONE = (1e-3, 1e-6), 1024, 32

#: How often networks are refined, by kind.
NETWORKS = {"error": (0, 1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30), "newton": (0, 1, 2, 3, 4, 5, 6, 8)}
NETWORKS["costate"] = (*NETWORKS["error"], 50, 100)

#: Refinements before the Newton steps of a solver that a network starts.
BEFORE = 1


@dataclass(frozen=True)
class Way:
    """Controls ``[B, T, m]`` of instances at an effort, and what an instance takes in the mean: simulations and passes
    backwards, of IPOPT evaluations of the dynamics and of their derivatives. `alone` ways take one at a time. What they
    are called in print is in :data:`trc.artifact.figures.names.TIMED`.
    """

    name: str
    solve: Callable[[Tensor, Tensor, float], Tensor]
    spent: Callable[[Tensor, Tensor, float], tuple[float, float]]
    efforts: Sequence[float]
    alone: bool = False


def ways(problem: trc.Problem) -> Iterator[Way]:
    """All that take part, the networks as they are committed."""
    for told, efforts in NETWORKS.items():
        path = project_root() / "results" / "checkpoints" / f"{problem.name}-{told}.safetensors"
        model = trc.load_model(path).eval()
        spent = partial(spent_by_network, ASKS[told])
        yield Way(told, partial(by_network, model), spent, efforts)
        if told == "error":
            alone = partial(by_planner, planner(model))
            yield Way("error-planner", alone, spent, efforts, alone=True)
        if told != "newton":
            both = partial(by_both, problem, model)
            taken = partial(spent_by_ilqr, both, [BEFORE * count for count in ASKS[told]])
            yield Way(f"{told}-ilqr", partial(controls_of, both), taken, range(1, 15))
    for start in ("lqr", "zero"):
        ilqr = partial(by_ilqr, problem, start)
        taken = partial(spent_by_ilqr, ilqr, (float(start == "lqr"), 0))
        yield Way(f"ilqr-{start}", partial(controls_of, ilqr), taken, range(1, 30))
    ipopt = ByIpopt(problem)
    yield Way("ipopt-lqr", ipopt, ipopt.spent, (1e-1, 1e-2, 1e-3, 1e-4, 1e-6, 1e-8), alone=True)


def spent_by_network(asks: tuple[int, int], initial: Tensor, target: Tensor, effort: int) -> tuple[float, float]:
    return effort * asks[0], effort * asks[1]


def spent_by_ilqr(
    solve: Callable[..., trc.Trajectory], before: Sequence[float], initial: Tensor, target: Tensor, effort: int
) -> tuple[float, float]:
    """An iteration is one simulation (its line search may need more) and two passes; the start's cost is one, too."""
    taken = solve(initial, target, effort).iterations.double().mean().item()
    return before[0] + 1 + taken, before[1] + 2 * taken


def controls_of(solve: Callable[..., trc.Trajectory], initial: Tensor, target: Tensor, effort: int) -> Tensor:
    return solve(initial, target, effort).controls


def by_network(model: trc.TinyRecursiveControl, initial: Tensor, target: Tensor, effort: int) -> Tensor:
    with torch.inference_mode():
        return model(initial.float(), target.float(), iterations=effort)["controls"].double()


def by_both(
    problem: trc.Problem, model: trc.TinyRecursiveControl, initial: Tensor, target: Tensor, effort: int
) -> trc.Trajectory:
    limits = {"tolerance": TOLERANCE, "max_iterations": effort}
    return trc.solve(problem, initial, target, model=model, iterations=BEFORE, **limits)


def by_planner(plan: Callable[..., object], initial: Tensor, target: Tensor, effort: int) -> Tensor:
    x, goal = initial.numpy(), target.numpy()
    return torch.stack([torch.as_tensor(plan(*row, iterations=effort)) for row in zip(x, goal, strict=True)]).double()


def by_ilqr(problem: trc.Problem, start: str, initial: Tensor, target: Tensor, effort: int) -> trc.Trajectory:
    return trc.ilqr(problem, initial, target, start=start, tolerance=TOLERANCE, max_iterations=effort)


class ByIpopt:
    """IPOPT from saturated LQR at a tolerance; a program is built once for each."""

    def __init__(self, problem: trc.Problem) -> None:
        self.problem = problem
        self.solver = cache(partial(Ipopt, problem))

    def __call__(self, initial: Tensor, target: Tensor, effort: float) -> Tensor:
        begun = trc.ilqr(self.problem, initial, target, start="lqr", max_iterations=0)
        rows = zip(*(tensor.numpy() for tensor in (initial, target, begun.states, begun.controls)), strict=True)
        return self.problem.clip(torch.tensor(np.stack([self.solver(effort)(*row)[0] for row in rows])))

    def spent(self, initial: Tensor, target: Tensor, effort: float) -> tuple[float, float]:
        found = []
        for row in zip(initial[:ALONE].split(1), target[:ALONE].split(1), strict=True):
            self(*row, effort)
            calls = self.solver(effort).solver.stats()
            found.append((calls["n_call_nlp_g"], calls["n_call_nlp_jac_g"] + calls["n_call_nlp_hess_l"]))
        rollouts, derivatives = np.mean(found, 0)
        return 1 + float(rollouts), float(derivatives)  # saturated LQR is found by a simulation


def gaps(
    problem: trc.Problem, way: Way, initial: Tensor, target: Tensor, best: Tensor
) -> Iterator[tuple[float, float]]:
    """The mean gap at each effort."""
    for effort in way.efforts:
        controls = way.solve(initial, target, effort)
        cost = problem.cost(trc.rollout(problem, initial, controls), controls, target)
        yield effort, (cost.mean() / best - 1).item()


@dataclass
class Clocked:
    """A call that treats `count` instances, and its times in milliseconds an instance."""

    row: dict[str, object]  #: of the table that they belong to
    name: str
    call: Callable[[], object]
    count: int
    times: int = 0  #: it runs in a turn, as short calls do more than once
    found: list[float] = field(default_factory=list)

    def clock(self) -> None:
        """Give it a turn."""
        if not self.times:
            self.call()  # what is compiled at the first use does not count
            self.times = max(1, round(SHORTEST / timed(self.call)))
        self.found.append(1e3 * timed(self.call, self.times) / self.count)

    def write(self) -> None:
        """Median and quartiles into the row."""
        self.row |= dict(zip((f"{self.name}_{q}" for q in ("q1", "ms", "q3")), quantiles(self.found), strict=True))


def measure_accuracy(repeats: int) -> pd.DataFrame:
    """Of each way at each accuracy the effort, the gap, and milliseconds an instance; none where it fails.

    All are timed in turn, and that again and again.
    """
    rows, calls = [], []
    for name in PAPER_PROBLEMS:
        problem = trc.make_problem(name)
        generator = torch.Generator().manual_seed(SEED)
        initial, target = problem.sample(TOGETHER, generator=generator, dtype=torch.float64)
        best = trc.optimum(problem, initial, target).cost.mean()
        parts = list(zip(initial[:ALONE].split(1), target[:ALONE].split(1), strict=True))
        for way in tqdm(list(ways(problem)), desc=f"accuracy, {name}", unit="way"):
            found = list(gaps(problem, way, initial, target, best))
            for wanted in WANTED:
                row = {"problem": name, "way": way.name, "wanted": wanted}
                rows.append(row)
                effort, gap = next(((k, gap) for k, gap in found if gap <= wanted), (None, None))
                if effort is None:
                    continue
                row |= {"effort": effort, "gap": gap}
                row |= dict(zip(("rollouts", "adjoints"), way.spent(initial, target, effort), strict=True))
                calls.append(Clocked(row, "one", partial(each, way, parts, effort), ALONE))
                if not way.alone:
                    calls.append(Clocked(row, "many", partial(way.solve, initial, target, effort), TOGETHER))
    for _ in tqdm(range(repeats), desc="accuracy, times", unit="repeat"):
        for call in calls:
            call.clock()
    for call in calls:
        call.write()
    times = [f"{name}_{q}" for name in ("one", "many") for q in ("ms", "q1", "q3")]
    return pd.DataFrame(rows, columns=["problem", "way", "wanted", "effort", "gap", "rollouts", "adjoints", *times])


def each(way: Way, parts: Sequence[tuple[Tensor, Tensor]], effort: float) -> list[Tensor]:
    """Instances one after the other."""
    return [way.solve(*part, effort) for part in parts]
