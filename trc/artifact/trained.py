"""Trained models by recipe: trained once, and found again by any experiment and after any interruption."""

import contextlib
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..common.checks import as_json, settle
from ..common.files import DAMAGED
from ..common.notices import warn
from ..common.parallel import parallel_map, single_thread
from ..common.provenance import source_commit
from ..datasets import TRAINING_SEED, Dataset, generate_dataset, load_dataset
from ..model import ControlNetwork, FeedForward, FeedForwardConfig, ModelConfig, TinyRecursiveControl
from ..model.checkpoints import load_model, read_training_record, save_model
from ..model.layers import seeded
from ..problems import Problem, make_problem
from ..training import TrainingConfig, train

#: Raised by hand when a change of the library changes the numbers that a training or an expert gives; the golden test
#: says when. What was kept under another number is made anew.
NUMERICS = 3


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that a trained model follows from: problem, network, teacher and number of the data, seeds, training."""

    problem: str
    size: str  # of the recursive network; "feedforward" is a plain one, which has no feedback
    feedback: str
    expert: str = "lqr"
    num_samples: int = 4000
    data_seed: int = TRAINING_SEED
    seed: int = 0  # of the initial weights, the split and the batches
    overrides: dict[str, Any] = field(default_factory=dict)  # of the problem's settings
    model: dict[str, Any] = field(default_factory=dict)  # what differs from the size's settings
    training: dict[str, Any] = field(default_factory=dict)  # options of trc.train

    def __post_init__(self) -> None:
        settle(self)

    def made_problem(self) -> Problem:
        """The problem with its overrides."""
        return make_problem(self.problem, **self.overrides)

    def training_config(self) -> TrainingConfig:
        """All training options, the defaults included."""
        return TrainingConfig.from_options(seed=self.seed, **self.training)

    def network_config(self) -> ModelConfig | FeedForwardConfig:
        """All settings of the network, those of its size and its problem included."""
        problem = self.made_problem()
        if self.size != "feedforward":
            return ModelConfig.of_size(self.size, problem=problem, feedback=self.feedback, **self.model)
        if self.feedback != "none":
            raise ValueError(f'a feed-forward network has no feedback: it must be "none", got {self.feedback!r}.')
        return FeedForwardConfig.for_problem(problem, **self.model)

    def meaning(self) -> dict[str, Any]:
        """Everything that the recipe says, defaults of training and network included."""
        whole = {"model": asdict(self.network_config()), "training": asdict(self.training_config())}
        return json.loads(json.dumps(asdict(self) | whole, default=as_json))

    def asked(self, meaning: dict[str, Any]) -> dict[str, Any]:
        """A meaning without what is as by default: an option that the library gets one day changes no recipe."""
        kept = {}
        for name, config in (("model", self.network_config()), ("training", self.training_config())):
            defaults = {f.name: json.dumps(f.default) for f in fields(config) if f.default is not MISSING}
            kept[name] = {key: value for key, value in meaning[name].items() if json.dumps(value) != defaults.get(key)}
        return meaning | kept

    def path(self, folder: str | Path) -> Path:
        """Where the trained model is kept in `folder`: its name says what was asked for, not by which code."""
        name = _digest(self.asked(self.meaning()), self.made_problem().to_dict())
        return Path(folder) / f"{self.problem}-{self.size}-{self.feedback}-{self.seed}-{name}.safetensors"

    def data_path(self, folder: str | Path) -> Path:
        """Where the training data are kept in `folder`."""
        name = _digest(self._data(), self.made_problem().to_dict(), NUMERICS)
        return Path(folder) / f"{self.problem}-{self.expert}-{name}.npz"

    def network(self) -> ControlNetwork:
        """The network before its training."""
        kind = FeedForward if self.size == "feedforward" else TinyRecursiveControl
        with seeded(self.seed):
            return kind(self.network_config(), self.made_problem())

    def dataset(self, folder: str | Path) -> Dataset:
        """The training data, solved once and kept in `folder`."""
        path = self.data_path(folder)
        with contextlib.suppress(FileNotFoundError, ValueError):  # a damaged file is made anew
            return load_dataset(path)
        data = generate_dataset(self.made_problem(), **self._data())
        data.save(path)
        return data

    def _data(self) -> dict[str, Any]:
        return {"num_samples": self.num_samples, "seed": self.data_seed, "expert": self.expert}


Trained = tuple[ControlNetwork, dict[str, Any]]


def find(recipe: Recipe, folder: str | Path) -> Trained | None:
    """The recipe's model and training record, or None where `folder` has none that can be used."""
    path = recipe.path(folder)
    try:
        model, record = load_model(path), read_training_record(path)
    except (FileNotFoundError, ValueError):  # not there, or damaged
        return None
    if (other := record.get("numerics")) != NUMERICS:
        about = f"{path.name} was trained under NUMERICS {other}, and this code has {NUMERICS}; it is trained anew."
        warn(about)
        return None
    try:
        same = recipe.asked(record["recipe"]) == recipe.asked(recipe.meaning())
        return (model, record) if same and {"history", "seconds", "commit"} <= set(record) else None
    except DAMAGED:  # of another form
        return None


def train_one(recipe: Recipe, folder: str | Path) -> None:
    """Train the recipe's model and keep it in `folder`, its training record included."""
    start, (commit, _) = time.perf_counter(), source_commit()
    data, model = recipe.dataset(folder), recipe.network()
    with single_thread():
        history = train(model, data, seed=recipe.seed, **recipe.training)
    seconds = time.perf_counter() - start
    record = {"recipe": recipe.meaning(), "numerics": NUMERICS, "history": asdict(history)}
    save_model(model, recipe.path(folder), training={**record, "seconds": seconds, "commit": commit})


def train_all(recipes: Sequence[Recipe], folder: str | Path, *, jobs: int = 1, progress: bool = True) -> list[Trained]:
    """Models and training records of many recipes, trained in `jobs` processes of one thread each.

    The results don't depend on `jobs`. An interrupted call goes on where it was: each model is kept when it is done.
    A recipe that is given twice is trained once.
    """
    by_path = {recipe.path(folder): recipe for recipe in recipes}
    found = {path: find(recipe, folder) for path, recipe in by_path.items()}
    missing = [recipe for path, recipe in by_path.items() if found[path] is None]
    data = {recipe.data_path(folder): recipe for recipe in missing}.values()
    list(parallel_map(Recipe.dataset, [(recipe, folder) for recipe in data], jobs))  # before several ask for the same
    work = parallel_map(train_one, [(recipe, folder) for recipe in missing], jobs)
    list(tqdm(work, desc="models", unit="model", total=len(missing), disable=not progress))
    found |= {recipe.path(folder): find(recipe, folder) for recipe in missing}
    return [found[recipe.path(folder)] for recipe in recipes]


def _digest(*what: Any) -> str:
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]
