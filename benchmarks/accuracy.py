"""How long it takes to plans that are good enough: networks, networks and Newton steps, and solvers without a network.

Each way has an effort, such as its number of iterations. For each accuracy wanted it gets the least effort at which the
mean cost of some instances is within it of the optimum's, and that is timed: one instance a call, and many.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from statistics import median

import numpy as np
import pandas as pd
import torch
from ipopt import Ipopt
from model import planner
from race import SHORTEST, timed
from torch import Tensor
from tqdm import tqdm

import trc
from trc.artifact.presets import PAPER_PROBLEMS
from trc.common.provenance import project_root

SEED = 0

#: Mean gaps that are wanted, instances that are timed together, and those that are timed one by one.
WANTED, TOGETHER, ALONE = (1e-3, 1e-6), 1024, 32

#: How often networks are refined, by kind.
NETWORKS = {"error": (0, 1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30), "newton": (0, 1, 2, 3, 4, 5, 6, 8)}
NETWORKS["costate"] = (*NETWORKS["error"], 50, 100)

#: Refinements before the Newton steps of a solver that a network starts.
BEFORE = 1


@dataclass(frozen=True)
class Way:
    """Controls ``[B, T, m]`` of instances at an effort; `alone` ways take one at a time."""

    name: str
    solve: Callable[[Tensor, Tensor, float], Tensor]
    efforts: Sequence[float]
    alone: bool = False


def ways(problem: trc.Problem) -> Iterator[Way]:
    """All that take part, the networks as they are committed."""
    for told, efforts in NETWORKS.items():
        path = project_root() / "results" / "checkpoints" / f"{problem.name}-{told}.safetensors"
        model = trc.load_model(path).eval()
        yield Way(f"network, {told}", partial(by_network, model), efforts)
        if told == "error":
            yield Way("network, error, without torch", partial(by_planner, planner(model)), efforts, alone=True)
        if told != "newton":
            yield Way(f"network, {told}, and Newton", partial(by_both, problem, model), range(1, 15))
    for start in ("lqr", "zero"):
        yield Way(f"ilqr from {start}", partial(by_ilqr, problem, start), range(1, 30))
    yield Way("IPOPT from lqr", ByIpopt(problem), (1e-1, 1e-2, 1e-3, 1e-4, 1e-6, 1e-8), alone=True)


def by_network(model: trc.TinyRecursiveControl, initial: Tensor, target: Tensor, effort: int) -> Tensor:
    with torch.inference_mode():
        return model(initial.float(), target.float(), iterations=effort)["controls"].double()


def by_both(
    problem: trc.Problem, model: trc.TinyRecursiveControl, initial: Tensor, target: Tensor, effort: int
) -> Tensor:
    return trc.solve(problem, initial, target, model=model, iterations=BEFORE, max_iterations=effort).controls


def by_planner(plan: Callable[..., object], initial: Tensor, target: Tensor, effort: int) -> Tensor:
    x, goal = initial.numpy(), target.numpy()
    return torch.stack([torch.as_tensor(plan(*row, iterations=effort)) for row in zip(x, goal, strict=True)]).double()


def by_ilqr(problem: trc.Problem, start: str, initial: Tensor, target: Tensor, effort: int) -> Tensor:
    return trc.ilqr(problem, initial, target, start=start, max_iterations=effort).controls


class ByIpopt:
    """IPOPT from saturated LQR at a tolerance; a program is built once for each."""

    def __init__(self, problem: trc.Problem) -> None:
        self.problem = problem
        self.solver = cache(partial(Ipopt, problem))

    def __call__(self, initial: Tensor, target: Tensor, effort: float) -> Tensor:
        begun = trc.ilqr(self.problem, initial, target, start="lqr", max_iterations=0)
        rows = zip(*(tensor.numpy() for tensor in (initial, target, begun.states, begun.controls)), strict=True)
        return self.problem.clip(torch.tensor(np.stack([self.solver(effort)(*row)[0] for row in rows])))


def gaps(
    problem: trc.Problem, way: Way, initial: Tensor, target: Tensor, best: Tensor
) -> Iterator[tuple[float, float]]:
    """The mean gap at each effort."""
    for effort in way.efforts:
        controls = way.solve(initial, target, effort)
        cost = problem.cost(trc.rollout(problem, initial, controls), controls, target)
        yield effort, (cost.mean() / best - 1).item()


def per_instance(call: Callable[[], object], count: int, repeats: int) -> float:
    """Median milliseconds an instance, of calls that treat so many."""
    call()  # what is compiled at the first use does not count
    times = max(1, round(SHORTEST / timed(call)))
    return 1e3 * median(timed(call, times) for _ in range(repeats)) / count


def measure_accuracy(repeats: int) -> pd.DataFrame:
    """Of each way at each accuracy the effort, the gap, and milliseconds an instance; none where it fails."""
    rows = []
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
                effort, gap = next(((k, gap) for k, gap in found if gap <= wanted), (None, None))
                if effort is not None:
                    row |= {"effort": effort, "gap": gap}
                    row["one_ms"] = per_instance(partial(each, way, parts, effort), ALONE, repeats)
                    if not way.alone:
                        row["many_ms"] = per_instance(partial(way.solve, initial, target, effort), TOGETHER, repeats)
                rows.append(row)
    return pd.DataFrame(rows, columns=["problem", "way", "wanted", "effort", "gap", "one_ms", "many_ms"])


def each(way: Way, parts: Sequence[tuple[Tensor, Tensor]], effort: float) -> list[Tensor]:
    """Instances one after the other."""
    return [way.solve(*part, effort) for part in parts]
