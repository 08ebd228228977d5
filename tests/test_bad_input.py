"""Bad input is one clear sentence, and what the README shows runs; each room's own tests have most of it."""

import re
from pathlib import Path

import pytest
import torch

import trc
from trc.artifact import runner

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
DI = trc.make_problem("double_integrator")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: trc.costate("v", torch.zeros(2, 2), torch.zeros(2, 15, 1), torch.zeros(2, 2)), "must be a Problem"),
        (lambda: trc.costate(DI, torch.zeros(2, 2), torch.zeros(2, 15, 1), torch.zeros(2, 2).double()), "convert one"),
        (lambda: trc.generate_dataset("v", 3, seed=0), "must be a Problem"),
        (lambda: trc.generate_dataset(DI, 3, seed=2**64), "seed must be below"),
        (lambda: trc.generate_dataset(DI, 3, seed=0, jobs=1.5), "jobs must be a whole number"),
        (lambda: trc.generate_dataset(DI, 3, seed=0, expert="oracle"), "unknown expert 'oracle'; known are "),
        (lambda: trc.evaluation_set(DI, "train"), "unknown evaluation set 'train'; known are test, wide, wider"),
        (lambda: trc.aggregate({"cost": torch.ones(4)}, torch.ones(3)), r"reference_cost must have shape \[4\]"),
    ],
)
def test_what_is_not_expected_is_said_in_a_sentence(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert str(error.value).endswith(".")


# The README


def test_what_the_readme_names_exists():
    assert all((ROOT / path).is_file() for path in re.findall(r"\]\((figures/[^)]*)\)", README))
    parameters = set(re.findall(r"-p (\w+) ", README))
    assert parameters <= set(runner.notebook_parameters(ROOT / "notebooks" / "comparison.ipynb"))
