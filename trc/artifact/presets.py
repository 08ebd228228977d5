"""How large an experiment is, and the recipe that every variant of every experiment starts from."""

from dataclasses import dataclass
from typing import Any

from ..common.checks import check_choice
from ..evaluation import count_flops
from ..model import FEEDBACKS, FeedForward, TinyRecursiveControl
from ..problems import PROBLEMS, make_problem
from .trained import Recipe

#: The problems of the paper; the tests go through all that are registered.
PAPER_PROBLEMS = ("double_integrator", "van_der_pol")

#: How every network of the book's base is trained; and what is different where the simulator proposes steps, since a
#: few of those are enough.
BASE: dict[str, Any] = {"supervision": "deep", "batch_size": 128, "learning_rate": 1e-3, "warmup": 0.02}
BASE |= {"gap_weight": 0.005, "gap_floor": 1e-4}
STEPPING: dict[str, Any] = {"gap_weight": 0.05, "gap_floor": 1e-6, "most_depth": 8}

#: What is different for a plain network, which has nothing to refine.
PLAIN: dict[str, Any] = {"supervision": "unrolled", "loss": "gap", "average": 0.999}

#: The learning rate of unrolled networks, and of those that are wider than the small one.
RATE, WIDE_RATE = 5e-3, 2.5e-3

#: How networks are trained that the book holds against them, as the guides do: one loss through all refinements, a few
#: epochs, a larger loss for what moves the states.
UNROLLED: dict[str, Any] = {"supervision": "unrolled", "loss": "cloning", "average": 0.0}
UNROLLED |= {"learning_rate": RATE, "state_weight": 10.0}


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Size of an experiment: of the training, of each evaluation set at most, seeds, and resamples of the bootstrap.

    The first four are of unrolled training; those of the base follow.
    """

    num_samples: int
    epochs: int
    batch_size: int = 64
    warmup: float = 0.1  # share of the steps in which the learning rate rises
    base_samples: int
    base_epochs: int
    stepping_epochs: int  # of the base where the simulator proposes steps
    plain_epochs: int  # of a plain network, which makes a step an instance and not one a refinement
    most_depth: int
    num_test: int
    seeds: str
    resamples: int


#: ``smoke`` shows that everything runs, ``paper`` gives the numbers of the book.
PRESETS = {
    # One step an epoch; the first step of a warm-up has the rate 0 and would train nothing.
    "smoke": Preset(
        num_samples=32,
        epochs=1,
        warmup=0.0,
        base_samples=32,
        base_epochs=1,
        stepping_epochs=1,
        plain_epochs=1,
        most_depth=4,
        num_test=16,
        seeds="0,1",
        resamples=10,
    ),
    "paper": Preset(
        num_samples=10_000,
        epochs=4,
        base_samples=16_000,
        base_epochs=7,
        stepping_epochs=16,
        plain_epochs=80,
        most_depth=64,
        num_test=1000,
        seeds="0,1,2,3,4",
        resamples=1000,
    ),
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
    overrides: dict[str, Any] | None = None,
    supervision: str = "deep",
    **training: Any,
) -> Recipe:
    """The network that every experiment varies: small, told the terminal error, trained after every refinement.

    `model` are settings of the network that differ from its size's, `overrides` those of the problem that it is trained
    on, `training` options of :func:`trc.train` that differ from the base's; `num_samples` is the preset's by default,
    and the expert the optimum's. With ``supervision="unrolled"`` it is the network that the guides train, whose latents
    go on, and whose expert is the problem's teacher.
    """
    chosen = settings(preset)
    if supervision == "unrolled":
        base = UNROLLED | {name: getattr(chosen, name) for name in ("epochs", "batch_size", "warmup")}
        usual, samples, own = PROBLEMS.find(problem).teacher, chosen.num_samples, {"carry_latents": True}
    else:
        base = BASE | {"epochs": chosen.base_epochs, "most_depth": chosen.most_depth}
        if FEEDBACKS.find(feedback).steps:
            base |= STEPPING | {"epochs": chosen.stepping_epochs}
            base["most_depth"] = min(base["most_depth"], chosen.most_depth)
        if size == "feedforward":
            base |= PLAIN | {"epochs": chosen.plain_epochs}
        usual, samples, own = "ilqr", chosen.base_samples, {}
    own = {} if size == "feedforward" else own
    return Recipe(
        problem=problem,
        size=size,
        feedback=feedback,
        expert=expert or usual,
        num_samples=samples if num_samples is None else num_samples,
        seed=seed,
        overrides=overrides or {},
        model=own | (model or {}),
        training=base | training,
    )


def opponents(problem: str) -> dict[str, dict[str, Any]]:
    """What the base is held against: the same network told nothing, and a plain one with as much arithmetic as it."""
    made = make_problem(problem)
    flops = count_flops(TinyRecursiveControl.create("small", problem=made))
    width = FeedForward.create_within(flops // 2, problem=made).config.width
    plain = {"size": "feedforward", "feedback": "none", "model": {"width": width}}
    return {"none": {"feedback": "none"}, "plain": plain}
