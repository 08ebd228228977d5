"""Networks further out than their training: as they are, under guard and from a better start, and what that takes."""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
import torch

from ..datasets import EVALUATION_SETS
from ..model import ControlNetwork
from .equal_cost import ASKS
from .experiment import Experiment
from .instances import Instances
from .outcomes import Key, Outcome

#: Ways to ask a network, and the options of its call.
HOW: dict[str, dict[str, Any]] = {
    "plain": {},
    "guarded": {"safeguard": True},
    "guarded-lqr": {"safeguard": True, "start": ("guess", "lqr")},
}


def judge_by_way(exp: Experiment, iterates: Sequence[int]) -> dict[Key, Outcome]:
    """Outcomes of iterates on each set, by ``problem, set, way``, the experiment's keys and ``iterate``."""
    found: dict[Key, Outcome] = {}
    for way, how in HOW.items():
        judged = exp.judge_iterates(iterates, list(EVALUATION_SETS), **how).by_key
        found |= {(*key[:2], way, *key[2:]): outcome for key, outcome in judged.items()}
    return found


def spent_by_way(exp: Experiment, iterates: Sequence[int], counted: Sequence[int]) -> pd.DataFrame:
    """Simulations and passes backwards of an instance in the mean, by the same, ``seed`` and ``iterate``.

    As they are, networks take the same for each refinement. The guard, whose candidates depend on the instance, counts,
    after as many refinements as `counted` says. The last of the experiment's keys is what networks are told.
    """
    rows: list[tuple[Any, ...]] = []
    for (problem, *keys, seed), model in exp.models.items():
        for name in EVALUATION_SETS:
            some = exp.instances(problem, name)
            for way, how in HOW.items():
                plain = ((k, *(k * count for count in ASKS[str(keys[-1])])) for k in iterates)
                taken = plain if way == "plain" else _counted(model, some, how, counted)
                rows += [(problem, name, way, *keys, seed, *one) for one in taken]
    return pd.DataFrame(rows, columns=["problem", "set", "way", *exp.keys, "seed", "iterate", "rollouts", "adjoints"])


def _counted(
    model: ControlNetwork, some: Instances, how: dict[str, Any], counted: Sequence[int]
) -> Iterator[tuple[int, float, float]]:
    """What the guard has counted after so many refinements."""
    for k in counted:
        with torch.inference_mode():
            output = model(some.initial.float(), some.target.float(), iterations=k, **how)
        rollouts, adjoints = (output[count].double().mean().item() for count in ("rollouts", "adjoints"))
        yield k, rollouts, adjoints
