"""What the experiments share: presets, the recipe that every variant starts from, and the instances that judge them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .checks import check_choice
from .datasets import EVALUATION_SETS, EXPERTS, evaluation_set
from .evaluation.outcomes import Outcome
from .problems import Problem, make_problem
from .recipes import Recipe
from .results import PRESETS, project_root, read_table

#: Who teaches: the cheapest teacher that is optimal on the problem's instances.
TEACHERS = {"double_integrator": "lqr", "van_der_pol": "ilqr"}


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Size of an experiment.

    Parameters
    ----------
    num_samples, epochs, batch_size : int
        Of the training.
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
    num_test: int
    seeds: str
    resamples: int


#: ``smoke`` shows that everything runs, ``paper`` gives the numbers of the book.
SETTINGS = {
    "smoke": Preset(num_samples=128, epochs=1, num_test=32, seeds="0,1", resamples=20),
    "paper": Preset(num_samples=10_000, epochs=5, num_test=1000, seeds="0,1,2,3,4", resamples=1000),
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
    **training
        Options of :func:`trc.train` that differ from the base's.
    """
    chosen = settings(preset)
    base = {
        "epochs": chosen.epochs,
        "batch_size": chosen.batch_size,
        "learning_rate": 5e-3,
        "warmup": 0.1,
        "state_weight": 10.0,
    }
    return Recipe(
        problem=problem,
        size=size,
        feedback=feedback,
        expert=TEACHERS[problem],
        num_samples=chosen.num_samples,
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
