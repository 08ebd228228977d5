"""One object an experiment: its size, its seeds, what it trains, how that is judged, and the tables that it writes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import torch

from ..common.checks import check_count
from ..common.provenance import project_root
from ..evaluation import count_flops, evaluate, propose
from ..model import ControlNetwork, TinyRecursiveControl, save_model
from .instances import Instances, instances
from .outcomes import Key, Outcome, Outcomes, as_key, join
from .presets import PAPER_PROBLEMS, Preset, base_recipe, settings
from .results import Record, experiment_folder, parse_seeds
from .trained import Recipe, train_all

#: What a variant changes in the base recipe, by the parts of its key beside problem and seed.
Variants = Mapping[str | Key, Mapping[str, Any]]

T = TypeVar("T")


def models_folder() -> Path:
    """Where trained models are kept and found again by every experiment."""
    return project_root() / "_build" / "models"


class Experiment:
    """A run of an experiment, from its preset to its folder of results.

    `name` is the notebook's and that of the folder in ``results/``, `preset` ``"smoke"`` or ``"paper"``. `seeds`, like
    ``"0,1,2"``, are `own_seeds` or else the preset's where none are given. `jobs` models are trained at a time; the
    numbers don't depend on it. `results_dir` takes the place of ``results`` or, for a trial, of ``_build/smoke``.
    `keys` name the parts of a variant's key; `supervision` is that of its base recipe, ``"deep"`` for the book's own. A
    ``ValueError`` if something makes no sense, an ``OSError`` if the folder can't be written.
    """

    def __init__(
        self,
        name: str,
        preset: str,
        seeds: str | int | Iterable[int] = "",
        jobs: int = 1,
        results_dir: str | Path = "",
        *,
        keys: Sequence[str] = ("variant",),
        own_seeds: str = "",
        problems: Sequence[str] = PAPER_PROBLEMS,
        supervision: str = "unrolled",
    ) -> None:
        torch.set_num_threads(1)  # of the notebook's own process: sums are added in the same order everywhere
        self.name, self.preset, self.jobs = name, preset, check_count(jobs, "jobs")
        self.settings: Preset = settings(preset)
        self.seeds = parse_seeds(seeds, own_seeds or self.settings.seeds)
        self.keys, self.problems, self.supervision = tuple(keys), tuple(problems), supervision
        #: What was trained, by (problem, *variant, seed): the networks, what was asked for, and their losses by epoch.
        self.models: dict[Key, ControlNetwork] = {}
        self.recipes: dict[Key, Recipe] = {}
        self.histories: dict[Key, dict[str, list[float]]] = {}
        self.record = Record(experiment_folder(name, preset, results_dir), jobs)
        self.generator = torch.Generator().manual_seed(0)
        self._instances: dict[tuple[str, str], Instances] = {}

    def choose(self, *, smoke: T, paper: T) -> T:
        """What the preset says of two."""
        return {"smoke": smoke, "paper": paper}[self.preset]

    def train(
        self, variants: Variants | Callable[[str], Variants], problems: Sequence[str] | None = None
    ) -> dict[Key, ControlNetwork]:
        """Train every variant on every problem under every seed, or find again what was trained already.

        `variants`, or a function of a problem's name that gives them, say what differs from the base recipe, see
        :func:`trc.artifact.presets.base_recipe`. Returned are all networks of the experiment so far, by
        ``(problem, *variant, seed)``.
        """
        asked: dict[Key, Recipe] = {}
        base = {"supervision": self.supervision}
        for problem in problems or self.problems:
            for variant, changes in (variants(problem) if callable(variants) else variants).items():
                parts = as_key(variant)
                if len(parts) != len(self.keys):
                    raise ValueError(f"a variant of {self.name} is named by {', '.join(self.keys)}, got {variant!r}.")
                for seed in self.seeds:
                    asked[(problem, *parts, seed)] = base_recipe(problem, self.preset, seed, **base | dict(changes))
        made = train_all(list(asked.values()), models_folder(), jobs=self.jobs)
        for (key, recipe), (model, record) in zip(asked.items(), made, strict=True):
            self.models[key], self.recipes[key], self.histories[key] = model, recipe, record["history"]
            self.time(key, phase="training", seconds=record["seconds"], commit=record["commit"])
        return self.models

    def model(self, *key: str | int | float) -> ControlNetwork:
        """One of the networks; a ``ValueError`` that lists the others if it was not trained."""
        if key not in self.models:
            known = "; ".join(", ".join(map(str, one)) for one in self.models) or "none yet"
            raise ValueError(f"{self.name} has not trained {', '.join(map(str, key))}; it has trained {known}.")
        return self.models[key]

    def _trained(self) -> dict[Key, ControlNetwork]:
        if not self.models:
            raise ValueError(f"{self.name} has trained nothing yet: call train before it is judged.")
        return self.models

    def instances(self, problem: str, name: str = "test") -> Instances:
        """Instances to judge by: ``"test"``, or from a ``"wide"`` or ``"wider"`` box."""
        if (problem, name) not in self._instances:
            self._instances[problem, name] = instances(problem, self.preset, name)
        return self._instances[problem, name]

    def judge(
        self,
        sets: Sequence[str] = (),
        *,
        models: Mapping[Key, ControlNetwork] | None = None,
        keys: Sequence[str] = (),
        **how: Any,
    ) -> Outcomes:
        """What the answers of the trained networks are worth, on evaluation sets that become a part of the key.

        Without `sets` it is the test set, and no part. Other `models`, by ``(problem, *keys, seed)``, may take the
        place of the trained ones. `how` they are asked is as for :func:`trc.propose`.
        """
        found = self._judged(sets, models, lambda iterates: {(): iterates.shape[1] - 1}, how)
        return self.outcomes(found, ("problem", *(["set"] if sets else []), *(keys or self.keys)))

    def judge_iterates(
        self,
        iterates: int | Sequence[int] | None = None,
        sets: Sequence[str] = (),
        *,
        models: Mapping[Key, ControlNetwork] | None = None,
        keys: Sequence[str] = (),
        teachers: bool = False,
        **how: Any,
    ) -> Outcomes:
        """The same for every iterate, or some of them, the key's last part; with `teachers`, beside their controls.

        Recursive networks refine until the last of the `iterates`, or as often as each was made to.
        """
        chosen = range(iterates + 1) if isinstance(iterates, int) else iterates
        asked = how if chosen is None else how | {"iterations": max(chosen)}

        def each(found: torch.Tensor) -> dict[Key, int]:
            all_of_them = range(found.shape[1])  # a plain network has one
            return {(k,): k for k in (all_of_them if chosen is None else chosen) if k in all_of_them}

        found = self._judged(sets, models, each, asked, teachers)
        return self.outcomes(found, ("problem", *(["set"] if sets else []), *(keys or self.keys), "iterate"))

    def _judged(
        self,
        sets: Sequence[str],
        models: Mapping[Key, ControlNetwork] | None,
        each: Callable[[torch.Tensor], dict[Key, int]],
        how: Mapping[str, Any],
        teachers: bool = False,
    ) -> dict[Key, Outcome]:
        """Outcomes by problem, set, variant and what `each` calls one of the iterates ``[N, K+1, T, m]``."""
        found: dict[Key, list[Outcome]] = {}
        solved = {problem: self.instances(problem).teacher_controls() for problem in self.problems if teachers}
        for (problem, *variant, _), model in (self._trained() if models is None else models).items():
            refines = isinstance(model, TinyRecursiveControl)
            for part in [(name,) for name in sets] or [()]:
                some = self.instances(problem, *part)
                iterates = propose(model, some.initial, some.target, **(how if refines else {}))
                judged = some.judge(iterates, solved.get(problem))
                for name, k in each(iterates).items():
                    found.setdefault((problem, *part, *variant, *name), []).append(judged[k])
        return {key: join(outcomes) for key, outcomes in found.items()}

    def answers(self, iterates: Outcomes) -> Outcomes:
        """Of outcomes of iterates those of the answers: after as many refinements as each network was trained with."""
        last = {key[:-1]: getattr(model.config, "num_outer_cycles", 0) for key, model in self.models.items()}
        chosen = {key: iterates[(*key, k)] for key, k in last.items()}
        return self.outcomes(chosen, iterates.names[:-1])

    def outcomes(
        self, by_key: Mapping[Key, Outcome], names: Sequence[str], seeds: Sequence[int] | None = None
    ) -> Outcomes:
        """Outcomes with the experiment's generator and number of resamples, and its seeds if no others are given."""
        drawn = {"generator": self.generator, "resamples": self.settings.resamples}
        return Outcomes(by_key=by_key, names=tuple(names), seeds=self.seeds if seeds is None else seeds, **drawn)

    def validation_gaps(self, problems: Sequence[str] | None = None) -> pd.DataFrame:
        """The networks' gaps to their teachers on what was held out of their training: what choices are made by."""
        rows = []
        for key, model in self.models.items():
            if key[0] in (problems or self.problems):
                data, training = self.recipes[key].dataset(models_folder()), self.recipes[key].training_config()
                held_out, _ = data.split(training.validation_fraction, seed=training.seed)
                states = held_out.initial_states, held_out.target_states
                found = evaluate(model, model.problem, *states, reference_cost=held_out.costs)
                rows.append((*key, found["gap"]))
        return pd.DataFrame(rows, columns=["problem", *self.keys, "seed", "gap"])

    def networks(self) -> pd.DataFrame:
        """What each variant's network costs: parameters, and operations of its matrix products for one instance."""
        first = {key[:-1]: model for key, model in self.models.items() if key[-1] == self.seeds[0]}
        rows = [(*key, model.num_parameters(), count_flops(model)) for key, model in first.items()]
        return pd.DataFrame(rows, columns=["problem", *self.keys, "parameters", "flops"])

    def losses(self) -> pd.DataFrame:
        """Losses by epoch: one row a network, a split (``train``, ``validation``) and an epoch."""
        rows = [
            (*key, epoch, split, loss)
            for key, history in self.histories.items()
            for split in ("train", "validation")
            for epoch, loss in enumerate(history[f"{split}_loss"])
        ]
        return pd.DataFrame(rows, columns=["problem", *self.keys, "seed", "epoch", "split", "loss"])

    def time(self, key: Key, **row: Any) -> None:
        """Note what took how long; times are outside every equality check."""
        self.record.time(**dict(zip(("problem", *self.keys, "seed"), key, strict=False)), **row)

    def keep_checkpoint(self, *key: str | int | float) -> None:
        """Keep a trained network beside the results, for ``make verify`` to evaluate it again."""
        path = self.record.folder.parent / "checkpoints" / f"{'-'.join(map(str, key[:-1]))}.safetensors"
        save_model(self.model(*key), path, training={"recipe": self.recipes[key].meaning()})

    def write(self, *, parameters: Mapping[str, Any] | None = None, **tables: pd.DataFrame) -> None:
        """Write the tables, each under its name, one of the models' recipes, the times and the manifest.

        `parameters` are what the numbers depend on beside preset, seeds and recipes.
        """
        if self.recipes:
            tables["models"] = pd.json_normalize([recipe.meaning() for recipe in self.recipes.values()], sep="_")
        base = {"preset": self.preset, **asdict(self.settings), "seeds": self.seeds, "bootstrap_seed": 0}
        inputs = ["results/teachers/optima.csv"] if self._instances else []
        self.record.write(tables, parameters={**base, **(parameters or {})}, inputs=inputs)
