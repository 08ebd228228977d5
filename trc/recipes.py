"""Trained models by recipe: trained once, and found again by any experiment and after any interruption."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from .checkpoints import load_model, read_training_record, save_model
from .datasets import TRAINING_SEED, generate_dataset
from .model import TinyRecursiveControl
from .parallel import parallel_map, single_thread
from .problems import make_problem
from .results import source_commit
from .training import TrainingConfig, train

#: Sources that a trained model depends on; a change in any of them makes a new model.
SOURCES = (
    "problems",
    "expressions.py",
    "replay.py",
    "plans.py",
    "steps.py",
    "simulation.py",
    "experts",
    "datasets.py",
    "model",
    "losses.py",
    "training",
    "checkpoints.py",
)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that a trained model follows from.

    Parameters
    ----------
    problem : str
    size : str
    feedback : str
    expert : str
        Teacher of the training data.
    num_samples, data_seed : int
        Of the training data.
    seed : int
        Of the initial weights, the split and the batches.
    overrides : dict
        Settings of the problem that differ from its own.
    training : dict
        Options of :func:`trc.train`.
    """

    problem: str
    size: str
    feedback: str
    expert: str = "lqr"
    num_samples: int = 4000
    data_seed: int = TRAINING_SEED
    seed: int = 0
    overrides: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)

    def training_config(self) -> TrainingConfig:
        """All training options, the defaults included."""
        return TrainingConfig.from_options(seed=self.seed, **self.training)

    def digest(self) -> str:
        """Name of the trained model: a hash of the recipe and of the sources that it runs through."""
        text = json.dumps([asdict(self), sources_digest()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def path(self, folder: str | Path) -> Path:
        """Where the trained model is kept in `folder`."""
        return Path(folder) / f"{self.problem}-{self.size}-{self.feedback}-{self.seed}-{self.digest()}.safetensors"


def fit(recipe: Recipe, folder: str | Path) -> Path:
    """Train the recipe's model, unless `folder` has it; the path of its checkpoint, training record included."""
    path = recipe.path(folder)
    if path.is_file():
        with contextlib.suppress(ValueError):  # a damaged file is trained anew
            load_model(path)
            return path
    start, (commit, _) = time.perf_counter(), source_commit()
    problem = make_problem(recipe.problem, **recipe.overrides)
    data = generate_dataset(problem, recipe.num_samples, seed=recipe.data_seed, expert=recipe.expert)
    model = TinyRecursiveControl.create(recipe.size, problem=problem, feedback=recipe.feedback, seed=recipe.seed)
    with single_thread():
        history = train(model, data, problem, seed=recipe.seed, **recipe.training)
    seconds = time.perf_counter() - start
    record = {"recipe": asdict(recipe), "history": asdict(history), "seconds": seconds, "commit": commit}
    return save_model(model, path, training=record)


def fit_all(
    recipes: Sequence[Recipe], folder: str | Path, *, jobs: int = 1, progress: bool = True
) -> list[tuple[TinyRecursiveControl, dict[str, Any]]]:
    """Models and training records of many recipes, trained in `jobs` processes of one thread each.

    The results don't depend on `jobs`. An interrupted call goes on where it was: each model is kept when it is done.
    """
    work = parallel_map(fit, [(recipe, folder) for recipe in recipes], jobs)
    paths = list(tqdm(work, desc="models", unit="model", total=len(recipes), disable=not progress))
    return [(load_model(path), read_training_record(path)) for path in paths]


def sources_digest() -> str:
    """SHA-256 of the sources that a trained model depends on."""
    package = Path(__file__).parent
    digest = hashlib.sha256()
    for name in SOURCES:
        place = package / name
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(file.relative_to(package).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
