"""A race of solvers on one core: the same instances, the same optimum, in turn: `make peers`.

A start is given to everybody; making it is not timed, nor does ours make it again (all instances of Van der Pol have
one target, and so one regulator, which is kept). Each solver keeps what it can keep between two instances: compiled
functions, memory, the pattern of a factorisation. Timed is a call with NumPy's arrays, or torch's, to controls. What a
solver answers is clipped to the bounds and judged by this library: its cost in a simulation, and how far it is from
stationary.
"""

import argparse
import itertools
import os
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from batched import mpc_solver
from plain import projected_gradient
from race import SHORTEST, timed
from solvers import SOLVERS
from torch import Tensor
from tqdm import tqdm

import trc
from trc.artifact.results import Record, write_table
from trc.common.provenance import project_root

SEED = 0
INSTANCES = 64
BATCHES = (1, 8, 64, 1024)

#: On the linear problem saturated LQR is the optimum wherever no bound is active: there one begins with nothing.
STARTS = {"van_der_pol": "lqr", "double_integrator": "zero"}

#: An answer that costs more than the cheapest by at most this share is as good.
SAME = 1e-6


class Entry:
    """A solver at a batch: `solve` gives the controls of the first 64 instances, one call a batch."""

    def __init__(self, solver: str, batch: int, solve: Callable[[], Tensor]) -> None:
        self.solver, self.batch, self.solve = solver, batch, solve
        self.controls = solve()  # what is compiled at the first use does not count
        self.calls = max(1, round(SHORTEST / timed(solve)))

    def per_instance(self) -> float:
        """Seconds."""
        return timed(self.solve, self.calls) / max(self.batch, INSTANCES)


def entries(problem: trc.Problem) -> Iterator[Entry]:
    """All that take part."""
    initial, target = problem.sample(max(BATCHES), generator=torch.Generator().manual_seed(SEED), dtype=torch.float64)
    start = STARTS[problem.name]
    for batch in BATCHES:
        parts = list(zip(initial[: max(batch, INSTANCES)].split(batch), target.split(batch), strict=False))
        yield Entry("trc.ilqr", batch, partial(ours, problem, parts, start))
    begun = trc.ilqr(problem, initial[:INSTANCES], target[:INSTANCES], start=start, max_iterations=0)
    inputs = initial[:INSTANCES], target[:INSTANCES], begun.states, begun.controls
    rows = list(zip(*(tensor.numpy() for tensor in inputs), strict=True))
    for name, make in SOLVERS[problem.name].items():
        yield Entry(name, 1, partial(one_by_one, make(problem), rows))
    yield Entry("mpc", INSTANCES, mpc_solver(problem, *inputs[:2], begun.controls))


def ours(problem: trc.Problem, parts: list[tuple[Tensor, Tensor]], start: str) -> Tensor:
    return torch.cat([trc.ilqr(problem, *part, start=start).controls for part in parts])[:INSTANCES]


def one_by_one(solve: Callable[..., np.ndarray], rows: list[tuple[np.ndarray, ...]]) -> Tensor:
    return torch.tensor(np.stack([solve(*row) for row in rows]))


def judge(problem: trc.Problem, runners: list[Entry]) -> pd.DataFrame:
    """How good the answers are: gap to the cheapest of all, how many are as good, distance from stationary."""
    initial, target = problem.sample(max(BATCHES), generator=torch.Generator().manual_seed(SEED), dtype=torch.float64)
    initial, target = initial[:INSTANCES], target[:INSTANCES]
    answers = [problem.clip(entry.controls) for entry in runners]
    costs = torch.stack([problem.cost(trc.rollout(problem, initial, u), u, target) for u in answers])
    gaps = costs / costs.amin(0) - 1
    rows = []
    for entry, answer, gap in zip(runners, answers, gaps, strict=True):
        residual = projected_gradient(problem, initial, target, answer)
        quality = {"as_good": int((gap <= SAME).sum()), "gap": gap.max().item(), "residual": residual.max().item()}
        rows.append({"problem": problem.name, "solver": entry.solver, "batch": entry.batch} | quality)
    return pd.DataFrame(rows)


def summarise(timings: pd.DataFrame) -> pd.DataFrame:
    """Median and quartiles of the milliseconds an instance, and of the ratio to ours of the same turn."""
    key = ["problem", "solver", "batch"]
    turns = timings.pivot(index=["problem", "repeat"], columns=["solver", "batch"], values="ms")
    rows = []
    for (problem, solver, batch), race in timings.groupby(key, sort=False):
        row = {"problem": problem, "solver": solver, "batch": batch}
        row["ms_low"], row["ms"], row["ms_high"] = race["ms"].quantile([0.25, 0.5, 0.75])
        of_problem = turns.loc[problem]
        for size in (1, 64):
            ratio = of_problem[solver, batch] / of_problem["trc.ilqr", size]
            names = (f"of_{size}_low", f"of_{size}", f"of_{size}_high")
            row |= dict(zip(names, ratio.quantile([0.25, 0.5, 0.75]), strict=True))
        rows.append(row)
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make peers", description=__doc__)
    parser.add_argument("--preset", choices=("smoke", "paper"), default="smoke", help="paper writes into results/")
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    folder = project_root() / ("results" if options.preset == "paper" else "_build") / "peers"
    record = Record(folder)
    timings, quality = [], []
    for name in SOLVERS:
        problem = trc.make_problem(name)
        runners = list(entries(problem))
        quality.append(judge(problem, runners))
        for repeat, entry in tqdm(list(itertools.product(range(options.repeats), runners)), desc=name, unit="turn"):
            row = {"repeat": repeat, "problem": name, "solver": entry.solver, "batch": entry.batch}
            timings.append(row | {"ms": 1e3 * entry.per_instance()})
    timings = pd.DataFrame(timings)
    race = summarise(timings).merge(pd.concat(quality), on=["problem", "solver", "batch"])
    print(race.to_string(index=False, float_format="{:.3g}".format))
    write_table(timings, folder / "timings.csv")
    versions = {name: version(name) for name in ("casadi", "libcrocoddyl", "piqp", "osqp", "mpc", "llvmlite")}
    parameters = {"seed": SEED, "instances": INSTANCES, "threads": 1, "starts": STARTS, "versions": versions}
    record.write({"race": race}, parameters=vars(options) | parameters)
    print(f"written to {folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder}")


if __name__ == "__main__":
    main()
