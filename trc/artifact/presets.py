"""How large an experiment is, and the recipe that every variant of every experiment starts from."""

from dataclasses import dataclass
from typing import Any

from ..common.checks import check_choice
from ..problems import PROBLEMS
from .trained import Recipe

#: The problems of the paper; the tests go through all that are registered.
PAPER_PROBLEMS = ("double_integrator", "van_der_pol")

#: The base recipe's learning rate, and that of networks wider than the small one: chosen on instances held out of the
#: training, with as many trials for each.
RATE, WIDE_RATE = 5e-3, 2.5e-3


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Size of an experiment: of the training, of each evaluation set at most, seeds, and resamples of the bootstrap."""

    num_samples: int
    epochs: int
    batch_size: int = 64
    warmup: float = 0.1  # share of the steps in which the learning rate rises
    num_test: int
    seeds: str
    resamples: int


#: ``smoke`` shows that everything runs, ``paper`` gives the numbers of the book.
PRESETS = {
    # One step an epoch; the first step of a warm-up has the rate 0 and would train nothing.
    "smoke": Preset(num_samples=32, epochs=1, warmup=0.0, num_test=16, seeds="0,1", resamples=10),
    "paper": Preset(num_samples=10_000, epochs=4, num_test=1000, seeds="0,1,2,3,4", resamples=1000),
}


def settings(preset: str) -> Preset:
    """The sizes of a preset, ``"smoke"`` or ``"paper"``."""
    check_choice(preset, "preset", PRESETS)
    return PRESETS[preset]


def base_recipe(
    problem: str,
    preset: str,
    seed: int = 0,
    *,
    size: str = "small",
    feedback: str = "error",
    expert: str | None = None,
    model: dict[str, Any] | None = None,
    num_samples: int | None = None,
    **training: Any,
) -> Recipe:
    """The network that every experiment varies: small, told the terminal error, cloning controls and states.

    `model` are settings of the network that differ from its size's, `training` options of :func:`trc.train` that differ
    from the base's; `num_samples` is the preset's by default, and the expert the problem's teacher.
    """
    chosen = settings(preset)
    base = {"epochs": chosen.epochs, "batch_size": chosen.batch_size, "warmup": chosen.warmup}
    base |= {"learning_rate": RATE, "state_weight": 10.0}
    return Recipe(
        problem=problem,
        size=size,
        feedback=feedback,
        expert=expert or PROBLEMS.find(problem).teacher,
        num_samples=chosen.num_samples if num_samples is None else num_samples,
        seed=seed,
        model=model or {},
        training=base | training,
    )
