"""Trained models by recipe: trained once, and found again by any experiment and after any interruption."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from .checkpoints import load_model, read_training_record, save_model
from .datasets import TRAINING_SEED, Dataset, generate_dataset, load_dataset
from .model import ControlNetwork, FeedForward, FeedForwardConfig, ModelConfig, TinyRecursiveControl
from .model.interface import interface_of
from .model.layers import seeded
from .parallel import parallel_map, single_thread
from .problems import make_problem
from .results import source_commit
from .training import TrainingConfig, train

#: Sources that training data, and a trained model, depend on; a change in any of them makes new ones.
DATA_SOURCES = (
    "problems",
    "expressions.py",
    "replay.py",
    "plans.py",
    "steps.py",
    "simulation.py",
    "experts",
    "datasets.py",
)
SOURCES = (
    *DATA_SOURCES,
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
        Of the recursive network; ``"feedforward"`` is a plain one, which has no feedback.
    feedback : str
    expert : str
        Teacher of the training data.
    num_samples, data_seed : int
        Of the training data.
    seed : int
        Of the initial weights, the split and the batches.
    overrides : dict
        Settings of the problem that differ from its own.
    model : dict
        Settings of the network that differ from its size's.
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
    model: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)

    def training_config(self) -> TrainingConfig:
        """All training options, the defaults included."""
        return TrainingConfig.from_options(seed=self.seed, **self.training)

    def network_config(self) -> ModelConfig | FeedForwardConfig:
        """All settings of the network, those of its size and its problem included."""
        problem = make_problem(self.problem, **self.overrides)
        if self.size == "feedforward" and self.feedback != "none":
            raise ValueError(f'a feed-forward network has no feedback: it must be "none", got {self.feedback!r}.')
        if self.size == "feedforward":
            return FeedForwardConfig.from_dict({**interface_of(problem), **self.model})
        return ModelConfig.of_size(self.size, problem=problem, feedback=self.feedback, **self.model)

    def meaning(self) -> dict[str, Any]:
        """Everything that the recipe says, defaults of training and network included."""
        whole = {"model": self.network_config().to_dict(), "training": asdict(self.training_config())}
        return json.loads(json.dumps(asdict(self) | whole))

    def digest(self) -> str:
        """Name of the trained model: a hash of the recipe and of the sources that it runs through."""
        text = json.dumps([self.meaning(), sources_digest()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def path(self, folder: str | Path) -> Path:
        """Where the trained model is kept in `folder`."""
        return Path(folder) / f"{self.problem}-{self.size}-{self.feedback}-{self.seed}-{self.digest()}.safetensors"

    def data_path(self, folder: str | Path) -> Path:
        """Where the training data are kept in `folder`."""
        text = json.dumps([self.problem, self.overrides, self._data(), sources_digest(DATA_SOURCES)], sort_keys=True)
        return Path(folder) / f"{self.problem}-{self.expert}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.npz"

    def network(self) -> ControlNetwork:
        """The network before its training."""
        kind = FeedForward if self.size == "feedforward" else TinyRecursiveControl
        with seeded(self.seed):
            return kind(self.network_config(), make_problem(self.problem, **self.overrides))

    def dataset(self, folder: str | Path) -> Dataset:
        """The training data, solved once and kept in `folder`."""
        path = self.data_path(folder)
        if path.is_file():
            with contextlib.suppress(ValueError):  # a damaged file is made anew
                return load_dataset(path)
        data = generate_dataset(make_problem(self.problem, **self.overrides), **self._data())
        data.save(path)
        return data

    def _data(self) -> dict[str, Any]:
        return {"num_samples": self.num_samples, "seed": self.data_seed, "expert": self.expert}


def fit(recipe: Recipe, folder: str | Path) -> Path:
    """Train the recipe's model, unless `folder` has it; the path of its checkpoint, training record included."""
    path = recipe.path(folder)
    if path.is_file():
        with contextlib.suppress(ValueError):  # a damaged file is trained anew, and so is one under a wrong name
            load_model(path)
            if read_training_record(path).get("recipe") == recipe.meaning():
                return path
    start, (commit, _) = time.perf_counter(), source_commit()
    data, model = recipe.dataset(folder), recipe.network()
    with single_thread():
        history = train(model, data, seed=recipe.seed, **recipe.training)
    seconds = time.perf_counter() - start
    record = {"recipe": recipe.meaning(), "history": asdict(history), "seconds": seconds, "commit": commit}
    return save_model(model, path, training=record)


def fit_all(
    recipes: Sequence[Recipe], folder: str | Path, *, jobs: int = 1, progress: bool = True
) -> list[tuple[ControlNetwork, dict[str, Any]]]:
    """Models and training records of many recipes, trained in `jobs` processes of one thread each.

    The results don't depend on `jobs`. An interrupted call goes on where it was: each model is kept when it is done.
    A recipe that is given twice is trained once.
    """
    folder = Path(folder)
    missing = {recipe.path(folder): recipe for recipe in recipes if not recipe.path(folder).is_file()}.values()
    data = {recipe.data_path(folder): recipe for recipe in missing}.values()
    list(parallel_map(Recipe.dataset, [(recipe, folder) for recipe in data], jobs))  # before several ask for the same
    work = parallel_map(fit, [(recipe, folder) for recipe in missing], jobs)
    list(tqdm(work, desc="models", unit="model", total=len(missing), disable=not progress))
    return [(load_model(path), read_training_record(path)) for path in (fit(recipe, folder) for recipe in recipes)]


def recipe_table(recipes: Sequence[Recipe]) -> pd.DataFrame:
    """One row a recipe with everything that it says, the training's defaults included."""
    return pd.json_normalize([recipe.meaning() for recipe in recipes], sep="_")


@functools.cache
def sources_digest(names: tuple[str, ...] = SOURCES) -> str:
    """SHA-256 of the sources that a trained model, by default, depends on; of those that run, if they change later."""
    package = Path(__file__).parent
    digest = hashlib.sha256()
    for name in names:
        place = package / name
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(file.relative_to(package).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


sources_digest(), sources_digest(DATA_SOURCES)  # now, since a long run outlasts changes of the sources
