"""What things cost, each beside what a reader would compare it with: `make bench`; solvers race in `make peers`.

The two sides of a race run in turn, on one thread; what counts is the ratio within a repeat. Times are those of the
machine at hand. Beside the races: the first solve in a process, the memory of a rollout and its gradient (on Linux),
and the agreement of the teachers with an interior-point solver.
"""

import argparse
import ctypes
import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
import torch
from accuracy import TOGETHER, measure_accuracy
from ipopt import PROBLEMS, VARIATIONS, compare
from model import loss_races, network_races, single_races
from plain import step_by_step
from race import Race, run_races, summarise
from torch import Tensor
from tqdm import tqdm

import trc
from trc.artifact.presets import PAPER_PROBLEMS
from trc.artifact.results import Record, write_table
from trc.common.provenance import project_root
from trc.problems import rk4
from trc.problems.van_der_pol import VanDerPol
from trc.simulation.accelerate import run
from trc.simulation.rollout import plain_adjoint, plain_states

SEED = 0
INSTANCES = 256
AUTOGRAD = "step-by-step autograd"


def draw(problem: trc.Problem, count: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    return problem.sample(count, generator=torch.Generator().manual_seed(SEED), dtype=dtype)


def rollout_races() -> Iterator[Race]:
    """Forward and backward, against the loop that anyone would write."""
    for name, batch in itertools.product(PAPER_PROBLEMS, (1, 64, 512)):
        problem = trc.make_problem(name)
        initial, target = draw(problem, batch, torch.float32)
        controls = trc.lqr(problem, initial, target).controls
        yield Race("rollout alone", name, batch, partial(trc.rollout, problem, initial, controls))
        ours, other = (partial(gradient, way, problem, initial, controls) for way in (trc.rollout, step_by_step))
        yield Race("rollout and its gradient", name, batch, ours, other, AUTOGRAD)
        if not problem.linear:
            yield Race("the kernels of both", name, batch, kernels_of_both(problem, initial, controls), other, AUTOGRAD)
        ours = partial(trc.costate, problem, initial, controls, target)
        yield Race("costate", name, batch, ours, partial(of_cost, problem, initial, controls, target), AUTOGRAD)


def gradient(simulate: Callable[..., Tensor], problem: trc.Problem, initial: Tensor, controls: Tensor) -> Tensor:
    controls = controls.detach().requires_grad_()
    states = simulate(problem, initial, controls)
    return torch.autograd.grad(states, controls, torch.ones_like(states))[0]


def kernels_of_both(problem: trc.Problem, initial: Tensor, controls: Tensor) -> Callable[[], object]:
    """The rollout and the adjoint by themselves, without what autograd takes to call them."""
    controls = controls.transpose(0, 1).contiguous()
    ones = torch.ones(len(controls) + 1, *initial.shape)
    given = {"parameters": problem.parameters}

    def both() -> object:
        (states,) = run("states", plain_states, problem, initial, controls, **given)
        return run("adjoint", plain_adjoint, problem, states, controls, ones, **given)

    return both


def of_cost(problem: trc.Problem, initial: Tensor, controls: Tensor, target: Tensor) -> Tensor:
    """The gradient of the cost, by autograd through the loop."""
    controls = controls.detach().requires_grad_()
    cost = problem.cost(step_by_step(problem, initial, controls), controls, target)
    return torch.autograd.grad(cost.sum(), controls)[0]


def expert_races() -> Iterator[Race]:
    """Datasets of both experts."""
    for title, name in (("LQR", "double_integrator"), ("LQR", "van_der_pol"), ("iLQR", "van_der_pol")):
        ours = partial(trc.generate_dataset, trc.make_problem(name), 10_000, seed=SEED, expert=title.lower())
        yield Race(f"{title} dataset", name, 10_000, ours)


@dataclass(frozen=True, kw_only=True)
class Substeps(VanDerPol):
    """The same dynamics with four times the operations a step."""

    def step(self, x: Tensor, u: Tensor, parameters: trc.problems.Parameters) -> Tensor:
        for _ in range(4):
            x = rk4(self.vector_field, x, u, parameters, self.dt / 4)
        return x


METHODS = {"trc": trc.rollout, AUTOGRAD: step_by_step}
OPERATIONS = {"1 Runge-Kutta step": VanDerPol, "4 Runge-Kutta steps": Substeps}


def kept_memory(method: str, operations: str, batch: int, horizon: int) -> float:
    """MiB of the tensors that a rollout keeps until its gradient is asked for."""
    problem, kept = OPERATIONS[operations](horizon=horizon), {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    controls = torch.zeros(batch, horizon, 1, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        METHODS[method](problem, draw(problem, batch, torch.float32)[0], controls)
    return sum(kept.values()) / 2**20


def process_memory(method: str, operations: str, batch: int, horizon: int) -> float:
    """MiB by which a process of its own grows until rollout and gradient are there, at most of some times."""
    found = []
    for _ in range(3):  # the allocator has two ways, of which one needs twice as much
        with get_context("spawn").Pool(1) as pool:
            found.append(pool.apply(_growth, (method, operations, batch, horizon)))
    return max(found)


def _growth(method: str, operations: str, batch: int, horizon: int) -> float:
    torch.set_num_threads(1)
    problem = OPERATIONS[operations](horizon=horizon)

    def once(batch: int) -> None:
        controls = torch.zeros(batch, horizon, 1, requires_grad=True)
        METHODS[method](problem, draw(problem, batch, torch.float32)[0], controls).sum().backward()

    once(2)  # what is loaded and compiled at first use does not count
    ctypes.CDLL(None).malloc_trim(0)  # nor does what lies idle from then
    Path("/proc/self/clear_refs").write_text("5")  # Linux forgets the peak so far
    before = _resident("VmRSS")
    once(batch)
    return (_resident("VmHWM") - before) / 1024


def _resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def measure_memory() -> pd.DataFrame:
    sizes = [(4096, 100), (8192, 100), (4096, 200)]
    cases = tqdm(list(itertools.product(METHODS, OPERATIONS, sizes)), desc="memory", unit="case")
    rows = [
        (*case, *size, kept_memory(*case, *size), process_memory(*case, *size) if size == sizes[0] else None)
        for *case, size in cases
    ]
    return pd.DataFrame(rows, columns=["method", "operations", "batch", "horizon", "mebibytes", "process"])


def measure_agreement(count: int) -> pd.DataFrame:
    cases = list(itertools.product(PROBLEMS, VARIATIONS, ("lqr", "zero")))
    return pd.DataFrame(
        {"problem": name, "variation": variation, "start": start} | compare(PROBLEMS[name], variation, count, start)
        for name, variation, start in tqdm(cases, desc="agreement", unit="case")
    )


FIRST = """
import time, torch, trc
torch.set_num_threads(1)
problem = trc.make_problem("van_der_pol")
start = time.perf_counter()
trc.ilqr(problem, torch.ones(1, 2), torch.zeros(1, 2))
print(time.perf_counter() - start)
"""


def measure_first(repeats: int) -> pd.DataFrame:
    """Seconds of the first solve in a process, with nothing kept and with what an earlier process kept."""
    rows = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            for kept in ("nothing", "compiled code"):
                given = os.environ | {"TRC_CACHE_DIR": f"{folder}/trc"}
                ran = subprocess.run(
                    [sys.executable, "-c", FIRST], env=given, capture_output=True, text=True, check=True
                )
                rows.append({"kept": kept, "seconds": float(ran.stdout)})
    return pd.DataFrame(rows).groupby("kept", sort=False, as_index=False)["seconds"].median()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", choices=("smoke", "paper"), default="smoke", help="paper writes into results/")
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = project_root() / ("results" if options.preset == "paper" else "_build") / "bench"
    record = Record(folder)
    races = [*rollout_races(), *expert_races(), *network_races(), *loss_races(), *single_races()]
    timings = run_races(races, options.repeats)
    summary = summarise(timings)
    print(summary.to_string(index=False, float_format="{:.3g}".format))
    write_table(timings, folder / "timings.csv")
    write_table(summary, folder / "races.csv")
    first = measure_first(5)
    print(first.to_string(index=False, float_format="{:.2f}".format))
    write_table(first, folder / "first.csv")
    memory = measure_memory()
    print(memory.to_string(index=False, float_format="{:.1f}".format))
    accuracy = measure_accuracy(options.repeats)
    print(accuracy.to_string(index=False, float_format="{:.3g}".format))
    write_table(accuracy, folder / "accuracy.csv")
    agreement = measure_agreement(INSTANCES)
    print(agreement.to_string(index=False, float_format="{:.1e}".format))
    parameters = vars(options) | {"seed": SEED, "instances": INSTANCES, "together": TOGETHER, "threads": 1}
    record.write({"agreement": agreement, "memory": memory}, parameters=parameters)
    print(f"written to {folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder}")


if __name__ == "__main__":
    main()
