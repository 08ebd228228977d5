"""Datasets: instances that are sampled and solved by an expert, saved and loaded as ``.npz``."""

import json
import time
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from .common.checks import as_json, check_choice, check_count, check_real, check_seed, check_tensor
from .common.files import as_path, readable, require_file, writing
from .common.notices import warn
from .common.parallel import parallel_map
from .common.pickles import refuse_pickle
from .common.provenance import package_versions
from .experts import EXPERTS, Expert, NoneSolved, Overflowing, Trajectory
from .problems import PROBLEMS, Problem, check_problem, check_trajectories, make_problem

#: Seeds of the training and of the fixed test instances of every experiment; :func:`trc.train` refuses the latter.
TRAINING_SEED, TEST_SEED = 42, 123

#: The fixed instances that every experiment is judged on: how many, and how much wider the initial box is.
EVALUATION_SETS: dict[str, tuple[int, float]] = {"test": (1000, 1.0), "wide": (500, 1.5), "wider": (500, 2.0)}

#: Instances are solved in chunks of this many, whatever the number of jobs, so that the bytes never change.
CHUNK = 1024

#: Seconds that other processes take until they are of use: they import torch first.
START_OF_PROCESSES = 5.0


class Instance(NamedTuple):
    """One solved instance of a dataset, or a batch of them as a loader puts them together."""

    initial_states: Tensor  #: [n]
    target_states: Tensor  #: [n]
    control_sequences: Tensor  #: [T, m]
    state_trajectories: Tensor  #: [T+1, n]
    costs: Tensor  #: []


#: What a dataset's file holds beside its origin.
ARRAYS = Instance._fields


@dataclass(frozen=True, eq=False)
class Dataset:
    """Solved instances of a problem and what makes them again.

    ``data[i]`` is an :class:`Instance`, so that torch's ``DataLoader`` takes a dataset as it is.
    """

    initial_states: Tensor  #: [N, n]
    target_states: Tensor  #: [N, n]
    control_sequences: Tensor  #: [N, T, m]
    state_trajectories: Tensor  #: [N, T+1, n]
    costs: Tensor  #: [N]
    #: Problem with its settings, expert, seed, number of samples, scale of the initial box and versions; of a part of a
    #: dataset, also which part.
    origin: dict[str, Any]

    def __len__(self) -> int:
        return len(self.costs)

    def __getitem__(self, index: int | slice | Tensor) -> Instance:
        return Instance(*(getattr(self, name)[index] for name in ARRAYS))

    def __post_init__(self) -> None:
        if not isinstance(self.origin, dict) or not {"problem", "seed"} <= set(self.origin):
            raise ValueError(f"the origin of a dataset must name its problem and seed, got {self.origin!r:.60}.")
        check_tensor(self.control_sequences, ("N", "T", "m"), "control_sequences")
        check_tensor(self.state_trajectories, ("N", "T+1", "n"), "state_trajectories")
        (N, T, m), n = self.control_sequences.shape, self.state_trajectories.shape[-1]
        for name, shape in zip(ARRAYS, ((n,), (n,), (T, m), (T + 1, n), ()), strict=True):
            check_tensor(getattr(self, name), (N, *shape), name)

    @property
    def problem(self) -> Problem:
        """The problem that these instances belong to."""
        made_for = self.origin["problem"]
        return make_problem(made_for["name"], **made_for["settings"])

    def check_problem(self, problem: Problem) -> None:
        """Raise ``ValueError`` unless the dataset was made for exactly this problem."""
        mine, theirs = self.origin["problem"], problem.to_dict()
        if mine["name"] != theirs["name"]:
            raise ValueError(f"the dataset is for {mine['name']!r}, not for {theirs['name']!r}; generate another.")
        if differing := [key for key, value in theirs["settings"].items() if mine["settings"].get(key) != value]:
            raise ValueError(
                f"the dataset was made for another {theirs['name']!r}: {', '.join(differing)} differ; "
                "generate another, or make the problem with the dataset's settings (dataset.problem)."
            )
        (_, T, m), n = self.control_sequences.shape, self.state_trajectories.shape[-1]
        if (n, m, T) != (problem.state_dim, problem.control_dim, problem.horizon):
            raise ValueError(f"the dataset has {n} states, {m} controls and {T} steps, {theirs['name']!r} has others.")

    def split(self, *shares: float, seed: int) -> tuple[Self, ...]:
        """Parts that have no instance in common and are not empty, drawn at random; what is left is the last part.

        The `shares` are of the instances, for example ``0.8, 0.1`` for training and validation, the rest for a test.
        The same seed gives the same parts.
        """
        seed = check_seed(seed)
        shares = tuple(check_real(share, "share", positive=True) for share in shares)
        if not 0 < sum(shares) < 1:
            raise ValueError(f"the shares of a split must lie between 0 and 1 and leave a rest, got {shares}.")
        if len(self) <= len(shares):
            raise ValueError(f"{len(self)} instances can't be split into {len(shares) + 1} parts; generate more.")
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        sizes: list[int] = []
        for i, share in enumerate(shares):
            still_needed = len(shares) - i  # one instance each for the parts to come
            sizes.append(min(max(1, round(share * len(self))), len(self) - sum(sizes) - still_needed))
        rows, before = order.split([*sizes, len(self) - sum(sizes)]), self.origin.get("split", [])
        how = {"shares": list(shares), "seed": seed}
        return tuple(self._rows(some, split=[*before, how | {"part": i}]) for i, some in enumerate(rows))

    def first(self, count: int) -> Self:
        """The first `count` instances."""
        if (count := check_count(count, "count")) > len(self):
            raise ValueError(f"there are only {len(self)} instances, not {count}.")
        return self._rows(slice(count), first=count)

    def _rows(self, rows: Tensor | slice, **which: Any) -> Self:
        """Some of the instances; the origin says `which`."""
        return replace(self, **{name: getattr(self, name)[rows] for name in ARRAYS}, origin=self.origin | which)

    def save(self, path: str | Path) -> Path:
        """Write a compressed ``.npz`` (same data, same bytes), in a folder as ``lqr_dataset.npz``; returns its path."""
        path = as_path(path)
        if path.is_dir():
            path = path / "lqr_dataset.npz"
        refuse_pickle(path, "a dataset is a", ".npz")
        if path.suffix != ".npz":
            raise ValueError(f"a dataset is saved as .npz, or into a folder that exists, got {path}.")
        arrays = {name: getattr(self, name).numpy(force=True) for name in ARRAYS}
        with writing(path) as file:
            np.savez_compressed(
                file, **arrays, origin=np.array(json.dumps(self.origin, sort_keys=True, default=as_json))
            )
        return path

    @classmethod
    def load(cls, path: str | Path, problem: Problem | None = None) -> Self:
        """Read what :meth:`save` wrote; no pickle is loaded. A file that is truncated or foreign is a ``ValueError``.

        The problem is needed only if it is not registered (see ``trc.problems.register``); a file that was made for
        another one is a ``ValueError`` too.
        """
        if problem is not None:
            check_problem(problem)
        refuse_pickle(path, "a dataset is a", ".npz", "make one with trc generate --output {instead}")
        path = require_file(path, "dataset", "make one with trc.generate_dataset(...).save(path)")
        with readable(path, "trc dataset", "generate it again"):
            if not zipfile.is_zipfile(path):
                raise ValueError("it is not a whole .npz archive")
            with np.load(path, allow_pickle=False) as archive:
                if missing := ({*ARRAYS, "origin"} - set(archive.files)):
                    raise ValueError(f"it lacks {', '.join(sorted(missing))}")
                origin = json.loads(str(archive["origin"]))
                arrays = {name: archive[name] for name in ARRAYS}
            if wrong := [name for name, array in arrays.items() if array.dtype.kind != "f"]:
                raise ValueError(f"{', '.join(wrong)} must hold real numbers")
            tensors = {name: torch.from_numpy(array.astype(np.float64)) for name, array in arrays.items()}
            data = cls(**tensors, origin=origin)
            known = problem is not None or data.origin["problem"]["name"] in PROBLEMS
            if known:
                data.check_problem(problem or data.problem)
        if not known:
            raise ValueError(
                f"{path} is for the problem {data.origin['problem']['name']!r}, which is not registered here; "
                "import the file that defines it, or give problem=."
            )
        return data


def generate_dataset(
    problem: Problem,
    num_samples: int,
    *,
    seed: int,
    expert: str = "lqr",
    scale: float = 1.0,
    jobs: int = 1,
    progress: bool = False,
) -> Dataset:
    """Sample instances of a problem and solve each with an expert, in float64; `progress` shows a bar.

    Instances that overflow under the expert are left out, with a warning; the origin says how many. If all do, it is a
    ``ValueError``.

    Parameters
    ----------
    num_samples, seed, jobs : int
        The same seed gives the same bytes, on any number of processes; `jobs` is the largest that is used.
    expert : str
        One of ``trc.EXPERTS``.
    scale : float
        Widens the box of initial states (1.5 and 2: out of distribution).
    """
    check_problem(problem)
    num_samples, jobs = check_count(num_samples, "num_samples"), check_count(jobs, "jobs")
    seed, scale = check_seed(seed), check_real(scale, "scale", positive=True)
    solve = EXPERTS.find(expert)
    check_trajectories(problem, num_samples, times=2)  # as chunks and put together
    generator = torch.Generator().manual_seed(seed)
    initial, target = problem.sample(num_samples, generator=generator, scale=scale, dtype=torch.float64)
    chunks = [(problem, *chunk) for chunk in zip(initial.split(CHUNK), target.split(CHUNK), strict=True)]
    work = _solve_chunks(solve, chunks, jobs)
    solved = list(tqdm(work, desc=expert, unit="chunk", total=len(chunks), disable=not progress))
    if all(chunk is None for chunk in solved):
        solve(*chunks[0])  # which says why
    kept = [(*chunk[1:], some) for chunk, some in zip(chunks, solved, strict=True) if some is not None]
    rows = [(x, goal, some.controls, some.states, some.cost) for x, goal, some in kept]
    arrays = [torch.cat(parts) for parts in zip(*rows, strict=True)]
    fine = arrays[-1].isfinite()
    origin = {"problem": problem.to_dict(), "expert": expert, "seed": seed, "num_samples": num_samples, "scale": scale}
    if lost := num_samples - int(fine.sum()):
        origin["left_out"] = lost
        warn(f"{lost} of {num_samples} instances overflow with {expert}, and are left out.")
        arrays = [array[fine] for array in arrays]
    return Dataset(*arrays, origin | {"versions": package_versions("torch", "numpy")})


def _solve_chunks(solve: Expert, chunks: list[tuple], jobs: int) -> Iterator[Trajectory | None]:
    """The first chunk here; the rest too, where that takes no longer than other processes take to start."""
    start, work = time.perf_counter(), [(solve, *chunk) for chunk in chunks]
    yield from parallel_map(_solve_chunk, work[:1])
    rest = (len(work) - 1) * (time.perf_counter() - start)
    yield from parallel_map(_solve_chunk, work[1:], jobs if rest > START_OF_PROCESSES else 1)


def _solve_chunk(solve: Expert, problem: Problem, initial: Tensor, target: Tensor) -> Trajectory | None:
    """The instances solved, or nothing where none can be."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Overflowing)  # it is said of all chunks together
        try:
            return solve(problem, initial, target)
        except NoneSolved:
            return None


def evaluation_set(problem: Problem, name: str = "test", expert: str = "lqr", jobs: int = 1) -> Dataset:
    """One of the fixed sets of instances of a problem, solved by an expert.

    By name, ``"test"`` is in distribution, ``"wide"`` and ``"wider"`` from 1.5 and 2 times the box of initial states.
    Expert and jobs are as for :func:`generate_dataset`; the expert ``"optimum"`` gives the reference of the cost gap.
    """
    check_choice(name, "evaluation set", EVALUATION_SETS)
    size, scale = EVALUATION_SETS[name]
    data = generate_dataset(problem, size, seed=TEST_SEED, expert=expert, scale=scale, jobs=jobs)
    if len(data) < size:
        raise ValueError(f"{expert} solves only {len(data)} of the {size} fixed instances of {problem.name}; use ilqr.")
    return data


def load_dataset(path: str | Path, problem: Problem | None = None) -> Dataset:
    """Read a dataset; see :meth:`Dataset.load`."""
    return Dataset.load(path, problem)
