"""What the experiments share: presets, the recipe that every variant starts from, and the instances that judge them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .checks import check_choice
from .datasets import EVALUATION_SETS, EXPERTS, evaluation_set
from .evaluation import evaluate, propose
from .evaluation.outcomes import Key, Outcome, join, outcome
from .model import ControlNetwork
from .parallel import single_thread
from .problems import Problem, make_problem
from .recipes import Recipe
from .results import PRESETS, Record, project_root, read_table

#: Who teaches: the cheapest teacher that is optimal on the problem's instances.
TEACHERS = {"double_integrator": "lqr", "van_der_pol": "ilqr"}


#: The base recipe's learning rate, and that of networks wider than the small one: chosen on instances held out of the
#: training, with as many trials for each.
RATE, WIDE_RATE = 5e-3, 2.5e-3


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Size of an experiment.

    Parameters
    ----------
    num_samples, epochs, batch_size : int
        Of the training.
    warmup : float
        Share of its steps in which the learning rate rises.
    num_test : int
        Instances of each evaluation set, at most.
    seeds : str
        As :func:`trc.results.parse_seeds` reads them.
    resamples : int
        Of the bootstrap.
    """

    num_samples: int
    epochs: int
    batch_size: int = 64
    warmup: float = 0.1
    num_test: int
    seeds: str
    resamples: int


#: ``smoke`` shows that everything runs, ``paper`` gives the numbers of the book.
SETTINGS = {
    # One step an epoch; the first step of a warm-up has the rate 0 and would train nothing.
    "smoke": Preset(num_samples=32, epochs=1, warmup=0.0, num_test=16, seeds="0,1", resamples=10),
    "paper": Preset(num_samples=10_000, epochs=4, num_test=1000, seeds="0,1,2,3,4", resamples=1000),
}


def settings(preset: str) -> Preset:
    """The sizes of a preset, ``"smoke"`` or ``"paper"``."""
    check_choice(preset, "preset", PRESETS)
    return SETTINGS[preset]


def base_recipe(
    problem: str,
    preset: str,
    seed: int = 0,
    *,
    size: str = "small",
    feedback: str = "error",
    model: dict[str, Any] | None = None,
    num_samples: int | None = None,
    **training: Any,
) -> Recipe:
    """The network that every experiment varies: small, told the terminal error, cloning controls and states.

    Parameters
    ----------
    problem, preset : str
    seed : int
    size, feedback : str
    model : dict, optional
        Settings of the network that differ from its size's.
    num_samples : int, optional
        Instances to learn from; as many as the preset says by default.
    **training
        Options of :func:`trc.train` that differ from the base's.
    """
    chosen = settings(preset)
    base = {
        "epochs": chosen.epochs,
        "batch_size": chosen.batch_size,
        "learning_rate": RATE,
        "warmup": chosen.warmup,
        "state_weight": 10.0,
    }
    return Recipe(
        problem=problem,
        size=size,
        feedback=feedback,
        expert=TEACHERS[problem],
        num_samples=chosen.num_samples if num_samples is None else num_samples,
        seed=seed,
        model=model or {},
        training=base | training,
    )


def models_folder() -> Path:
    """Where trained models are kept and found again by every experiment."""
    return project_root() / "_build" / "models"


@dataclass(frozen=True)
class Instances:
    """Test instances of a problem with their optimum.

    Parameters
    ----------
    problem : Problem
    initial, target : Tensor ``[N, n]``
    lqr_controls : Tensor ``[N, T, m]``
        Of saturated LQR.
    optimal_cost, optimal_error : Tensor ``[N]``
        Cost and terminal error of the best stationary point known.
    """

    problem: Problem
    initial: Tensor
    target: Tensor
    lqr_controls: Tensor
    optimal_cost: Tensor
    optimal_error: Tensor

    def optimum(self) -> Outcome:
        """What the optimum would score itself."""
        success = (self.optimal_error < self.problem.success_threshold).double()
        found = {"cost": self.optimal_cost, "terminal_error": self.optimal_error, "success": success}
        found["optimal_cost"] = self.optimal_cost
        return {name: values.unsqueeze(0) for name, values in found.items()}

    def first(self, count: int) -> Instances:
        """The first `count` of them, or all if there are fewer."""
        each = {f.name: getattr(self, f.name)[:count] for f in fields(self) if f.name != "problem"}
        return Instances(self.problem, **each)

    def judge(self, iterates: Tensor, teacher_controls: Tensor | None = None) -> list[Outcome]:
        """What became of one seed's iterates ``[N, K+1, T, m]``; see :func:`trc.evaluation.outcome`."""
        return outcome(self.problem, self.initial, self.target, iterates, self.optimal_cost, teacher_controls)

    def teacher_controls(self) -> Tensor:
        """Controls ``[N, T, m]`` of the problem's teacher, solved anew."""
        teacher = EXPERTS[TEACHERS[self.problem.name]]
        return teacher(self.problem, self.initial.double(), self.target.double()).controls


def instances(problem: str, preset: str, name: str = "test") -> Instances:
    """The first instances of an evaluation set, with the optimal costs that the experiment ``teachers`` has found.

    Parameters
    ----------
    problem, preset : str
    name : {"test", "wide", "wider"}
    """
    made = make_problem(problem)
    data = evaluation_set(made, name)
    count = min(settings(preset).num_test, EVALUATION_SETS[name][0])
    some = data.first(count)
    optima = read_table("teachers", "optima.csv")
    rows = optima[(optima["problem"] == problem) & (optima["set"] == name)].sort_values("instance")[:count]
    best = (torch.tensor(rows[column].to_numpy()) for column in ("optimal_cost", "terminal_error"))
    return Instances(made, some.initial_states, some.target_states, some.control_sequences, *best)


def final_outcomes(
    models: Mapping[Key, ControlNetwork], preset: str, sets: Sequence[str] = ("test",)
) -> dict[Key, Outcome]:
    """What the last iterates of trained networks are worth, the seeds of a variant joined.

    Parameters
    ----------
    models : mapping
        By ``(problem, …, seed)``.
    preset : str
    sets : sequence of str
        Evaluation sets.

    Returns
    -------
    dict
        By ``(problem, set, …)``.
    """
    tests: dict[Key, Instances] = {}
    found: dict[Key, list[Outcome]] = {}
    with single_thread():
        for (problem, *variant, _), model in models.items():
            for name in sets:
                if (problem, name) not in tests:
                    tests[problem, name] = instances(problem, preset, name)
                some = tests[problem, name]
                last = some.judge(propose(model, some.initial, some.target))[-1]
                found.setdefault((problem, name, *variant), []).append(last)
    return {key: join(outcomes) for key, outcomes in found.items()}


def validation_gap(recipe: Recipe, model: ControlNetwork) -> float:
    """The gap to the teacher on the instances that were held out of the training; what choices are made by."""
    held_out, _ = recipe.dataset(models_folder()).split(recipe.training_config().validation_fraction, seed=recipe.seed)
    with single_thread():
        instances = (held_out.initial_states, held_out.target_states)
        return evaluate(model, model.problem, *instances, reference_cost=held_out.costs)["gap"]


def note_training(
    record: Record, names: Sequence[str], trained: Mapping[Key, tuple[ControlNetwork, dict[str, Any]]]
) -> None:
    """Keep how long each network took to train; `names` are those of the parts of the keys."""
    for key, (_, made) in trained.items():
        where = dict(zip(names, key, strict=True))
        record.time(**where, phase="training", seconds=made["seconds"], commit=made["commit"])
