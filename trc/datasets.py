"""The LQR generator: sample instances, solve them with a teacher, save and load them as ``.npz``."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from .checks import check_choice, check_count, check_kind, check_real, check_seed, check_tensor
from .experts import Trajectory, ilqr, lqr, optimum
from .files import require_file, writing
from .parallel import parallel_map
from .problems import Problem, make_problem
from .results import package_versions

EXPERTS: dict[str, Callable[[Problem, Tensor, Tensor], Trajectory]] = {
    "lqr": lqr,
    "ilqr": ilqr,
    "optimum": optimum,
}

#: Seeds of the training and of the fixed test instances of every experiment; :func:`trc.train` refuses the latter.
TRAINING_SEED, TEST_SEED = 42, 123

#: The fixed instances that every experiment is judged on: how many, and how much wider the initial box is.
EVALUATION_SETS: dict[str, tuple[int, float]] = {"test": (1000, 1.0), "wide": (500, 1.5), "wider": (500, 2.0)}

#: Instances are solved in chunks of this many, whatever the number of jobs, so that the bytes never change.
CHUNK = 1024

ARRAYS = ("initial_states", "target_states", "control_sequences", "state_trajectories", "costs")


# What numpy, zipfile and json raise for a file that is damaged or of another kind.
_UNREADABLE = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    EOFError,
    OSError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True)
class Dataset:
    """Solved instances of a problem and the recipe that makes them again.

    Parameters
    ----------
    initial_states, target_states : Tensor ``[N, n]``
    control_sequences : Tensor ``[N, T, m]``
    state_trajectories : Tensor ``[N, T+1, n]``
    costs : Tensor ``[N]``
    recipe : dict
        Problem with its settings, expert, seed, number of samples, scale of the initial box and versions; of a
        part of a dataset, also which part.
    """

    initial_states: Tensor
    target_states: Tensor
    control_sequences: Tensor
    state_trajectories: Tensor
    costs: Tensor
    recipe: dict[str, Any]

    def __len__(self) -> int:
        return len(self.costs)

    def __post_init__(self) -> None:
        for name in ARRAYS:
            value = getattr(self, name)
            if not isinstance(value, Tensor) or not value.is_floating_point() or value.ndim == 0:
                raise ValueError(f"{name} of a dataset must be a floating-point tensor, got {value!r:.60}.")
        if not isinstance(self.recipe, dict) or not {"problem", "seed"} <= set(self.recipe):
            raise ValueError(f"the recipe of a dataset must name its problem and seed, got {self.recipe!r:.60}.")
        n, sizes = len(self), {name: len(getattr(self, name)) for name in ARRAYS}
        horizon = self.control_sequences.shape[1] if self.control_sequences.ndim == 3 else -1
        states = self.state_trajectories
        if set(sizes.values()) != {n} or states.ndim != 3 or states.shape[1] != horizon + 1:
            shapes = {name: list(getattr(self, name).shape) for name in ARRAYS}
            raise ValueError(
                "a dataset needs [N, n] initial and target states, [N, T, m] controls, [N, T+1, n] states "
                f"and [N] costs that agree, got {shapes}."
            )

    @property
    def problem(self) -> Problem:
        """The problem that these instances belong to."""
        recipe = self.recipe["problem"]
        return make_problem(recipe["name"], **recipe["settings"])

    def check_problem(self, problem: Problem) -> None:
        """Raise ``ValueError`` unless the dataset was made for exactly this problem."""
        mine, theirs = self.recipe["problem"], problem.recipe()
        if mine["name"] != theirs["name"]:
            raise ValueError(f"the dataset is for {mine['name']!r}, not for {theirs['name']!r}; generate another.")
        differing = [key for key, value in theirs["settings"].items() if mine["settings"].get(key) != value]
        if differing:
            raise ValueError(
                f"the dataset was made for another {theirs['name']!r}: {', '.join(differing)} differ; "
                "generate another, or make the problem with the dataset's settings (dataset.problem)."
            )

    def split(self, *shares: float, seed: int) -> tuple[Self, ...]:
        """Parts that have no instance in common, drawn at random; what the shares leave is the last part.

        Parameters
        ----------
        *shares : float
            Of the instances, for example ``0.8, 0.1`` for training and validation, the rest for a test. No part is
            empty.
        seed : int
            The same seed gives the same parts.
        """
        check_seed(seed)
        if not shares or not all(check_real(share, "share", positive=True) < 1 for share in shares) or sum(shares) >= 1:
            raise ValueError(
                f"the shares of a split must lie between 0 and 1 and leave some for the rest, got {shares}."
            )
        if len(self) <= len(shares):
            raise ValueError(f"{len(self)} instances can't be split into {len(shares) + 1} parts; generate more.")
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        sizes: list[int] = []
        for i, share in enumerate(shares):
            still_needed = len(shares) - i  # one instance each for the parts to come
            sizes.append(min(max(1, round(share * len(self))), len(self) - sum(sizes) - still_needed))
        sizes.append(len(self) - sum(sizes))
        parts = []
        for i, rows in enumerate(order.split(sizes)):
            part_of = [*self.recipe.get("split", []), {"shares": list(shares), "seed": seed, "part": i}]
            recipe = self.recipe | {"split": part_of}
            parts.append(replace(self, **{name: getattr(self, name)[rows] for name in ARRAYS}, recipe=recipe))
        return tuple(parts)

    def first(self, count: int) -> Self:
        """The first `count` instances."""
        if check_count(count, "count") > len(self):
            raise ValueError(f"there are only {len(self)} instances, not {count}.")
        arrays = {name: getattr(self, name)[:count] for name in ARRAYS}
        return replace(self, **arrays, recipe=self.recipe | {"first": count})

    def save(self, path: str | Path) -> Path:
        """Write a compressed ``.npz`` (same data, same bytes); the recipe goes in as JSON text.

        Given a folder that exists, the file is ``lqr_dataset.npz`` in it. Returns the file's path.
        """
        path = Path(path)
        if path.is_dir():
            path = path / "lqr_dataset.npz"
        if path.suffix != ".npz":
            raise ValueError(f"a dataset is saved as .npz, or into a folder that exists, got {path}.")
        arrays = {name: getattr(self, name).numpy(force=True) for name in ARRAYS}
        with writing(path) as file:
            np.savez_compressed(file, **arrays, recipe=np.array(json.dumps(self.recipe, sort_keys=True)))
        return path

    @classmethod
    def load(cls, path: str | Path, problem: Problem | None = None) -> Self:
        """Read what :meth:`save` wrote. No pickle is loaded.

        Parameters
        ----------
        path : str or Path
        problem : Problem, optional
            Needed only for a problem that is not one of ``trc.PROBLEMS``.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is truncated, foreign or for another problem, or its arrays don't fit together.
        """
        if problem is not None:
            check_kind(problem, Problem, "problem", "make it with trc.make_problem(name)")
        path = require_file(path, "dataset", "make one with trc.generate_dataset(...).save(path)")
        try:
            if not zipfile.is_zipfile(path):
                raise ValueError("it is not a whole .npz archive")
            with np.load(path, allow_pickle=False) as archive:
                if missing := ({*ARRAYS, "recipe"} - set(archive.files)):
                    raise ValueError(f"it lacks {', '.join(sorted(missing))}")
                arrays = {name: np.asarray(archive[name]) for name in (*ARRAYS, "recipe")}
            recipe = json.loads(str(arrays.pop("recipe")))
            if wrong := [name for name, array in arrays.items() if array.dtype.kind != "f"]:
                raise ValueError(f"{', '.join(wrong)} must hold real numbers")
            tensors = {name: torch.from_numpy(array.astype(np.float64)) for name, array in arrays.items()}
            data = cls(**tensors, recipe=recipe)
            data._check_whole(problem or data.problem)
        except _UNREADABLE as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(f"{path} is not a readable trc dataset ({reason}); generate it again.") from None
        return data

    def _check_whole(self, problem: Problem) -> None:
        """Raise ``ValueError`` unless the arrays are finite and have the shapes of the problem."""
        self.check_problem(problem)
        count = len(self)
        for name in ("initial_states", "target_states"):
            check_tensor(getattr(self, name), (count, problem.state_dim), name)
        check_tensor(self.control_sequences, (count, problem.horizon, problem.control_dim), "control_sequences")
        check_tensor(self.state_trajectories, (count, problem.horizon + 1, problem.state_dim), "state_trajectories")
        check_tensor(self.costs, (count,), "costs")


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
    """Sample instances and solve each with a teacher, in float64.

    Parameters
    ----------
    problem : Problem
    num_samples : int
    seed : int
        The same seed gives the same bytes.
    expert : str
        One of ``trc.EXPERTS``.
    scale : float
        Widens the box of initial states (1.5 and 2: out of distribution).
    jobs : int
        Processes; the bytes don't depend on their number.
    progress : bool
        Show a progress bar.
    """
    check_kind(problem, Problem, "problem", "make it with trc.make_problem(name)")
    check_choice(expert, "expert", EXPERTS)
    check_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    initial, target = problem.sample(num_samples, generator=generator, scale=scale, dtype=torch.float64)
    chunks = [(problem, *chunk) for chunk in zip(initial.split(CHUNK), target.split(CHUNK), strict=True)]
    work = parallel_map(EXPERTS[expert], chunks, jobs)
    solved = list(tqdm(work, desc=expert, unit="chunk", total=len(chunks), disable=not progress))
    recipe = {"problem": problem.recipe(), "expert": expert, "seed": seed, "num_samples": num_samples, "scale": scale}
    recipe["versions"] = package_versions("torch", "numpy")
    return Dataset(
        initial_states=initial,
        target_states=target,
        control_sequences=torch.cat([s.controls for s in solved]),
        state_trajectories=torch.cat([s.states for s in solved]),
        costs=torch.cat([s.cost for s in solved]),
        recipe=recipe,
    )


def evaluation_set(problem: Problem, name: str = "test", expert: str = "lqr", jobs: int = 1) -> Dataset:
    """One of the fixed sets of instances, solved by an expert.

    Parameters
    ----------
    problem : Problem
    name : {"test", "wide", "wider"}
        In distribution, and from 1.5 and 2 times the box of initial states.
    expert : str
        One of ``trc.EXPERTS``; ``"optimum"`` gives the reference of the cost gap.
    jobs : int
    """
    check_choice(name, "evaluation set", EVALUATION_SETS)
    size, scale = EVALUATION_SETS[name]
    return generate_dataset(problem, size, seed=TEST_SEED, expert=expert, scale=scale, jobs=jobs)


def load_dataset(path: str | Path, problem: Problem | None = None) -> Dataset:
    """Read a dataset; see :meth:`Dataset.load`."""
    return Dataset.load(path, problem)
