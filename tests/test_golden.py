"""Golden numbers: the weights after three steps for each kind of training, and what each expert finds.

They tell when a change of the library changes what it computes. Where one is meant to, raise ``NUMERICS`` in
``trc/artifact/trained.py``, so that no kept model is taken for a new one, and write the numbers anew with
``python tests/test_golden.py --write``.
"""

import functools
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import trc
from trc.artifact.trained import NUMERICS

FILE = Path(__file__).with_name("golden.json")

#: Largest difference, relative where numbers are above 1. Other processors round otherwise, by up to 2e-7.
TOLERANCE = 2e-6

#: What a network is, and how it is trained.
DEEP = {"supervision": "deep", "most_depth": 3}
CARRIED = {"carry_latents": True}
KINDS = {
    "cloning-alone": ({"feedback": "none"} | CARRIED, {}),
    "cloning-feedback": (CARRIED, {}),
    "states": (CARRIED, {"state_weight": 10.0, "learning_rate": 5e-3, "warmup": 0.1}),
    "process-feedback": (CARRIED, {"loss": "process"}),
    "process-alone": ({"feedback": "none"} | CARRIED, {"loss": "process"}),
    "process-detached": (CARRIED, {"loss": "process", "reference": "first-detached"}),
    "process-teacher": (CARRIED, {"loss": "process", "reference": "teacher"}),
    "discounted": (CARRIED, {"loss": "discounted"}),
    "hinge": (CARRIED, {"loss": "hinge"}),
    "trajectory": (CARRIED, {"loss": "trajectory"}),
    "shuffled": ({"feedback": "shuffled"} | CARRIED, {}),
    "wrong": ({"feedback": "wrong"} | CARRIED, {}),
    "two-level": ({"use_two_level": True} | CARRIED, {}),
    "two-level-truncated": (
        {"use_two_level": True, "use_gradient_truncation": True} | CARRIED,
        {"loss": "process"},
    ),
    "trm-style": ("trm", {}),
    "mlp-full": ({"reasoning": "mlp", "decoder": "full"} | CARRIED, {}),
    "dropout": ({"dropout": 0.1} | CARRIED, {}),
    "feedforward": ("plain", {}),
    "deep": ({}, DEEP),
    "deep-carried": (CARRIED, DEEP),
    "deep-costate": ({"feedback": "costate"}, DEEP),
    "deep-newton": ({"feedback": "newton"}, DEEP),
    "deep-together": ({}, DEEP | {"mixed_ages": False, "start_noise": 0.0, "average": 0.0}),
    "deep-two-level": ({"use_two_level": True}, DEEP),
}

#: The problems, and all that solve each.
EXPERTS = {"double_integrator": ("lqr", "ilqr", "optimum", "minimum_energy"), "van_der_pol": ("lqr", "ilqr", "optimum")}

TRAININGS = [f"{problem} {kind}" for problem in EXPERTS for kind in KINDS]
SOLVED = [f"{problem} {expert}" for problem, experts in EXPERTS.items() for expert in experts]


@functools.cache
def training_data(problem):
    """Of 213 instances 192 are learnt from: three batches of 64."""
    return trc.generate_dataset(trc.make_problem(problem), 213, seed=42)


def train(case, **changes):
    """Numbers that follow from the weights of a trained network, and its losses."""
    name, kind = case.split()
    problem, (network, options) = trc.make_problem(name), KINDS[kind]
    if network == "plain":
        model = trc.FeedForward.create(problem=problem, width=32, seed=0)
    elif network == "trm":
        model = trc.TinyRecursiveControl.create_trm_style("small", problem=problem, seed=0)
    else:
        model = trc.TinyRecursiveControl.create_small(problem=problem, seed=0, **network)
    options = {"epochs": 1, "batch_size": 64, "seed": 0, "supervision": "unrolled"} | options | changes
    history = trc.train(model, training_data(name), problem, **options)
    return [*projections(model.state_dict()), *history.train_loss, *history.validation_loss]


def solve(case):
    """Numbers that follow from what an expert finds for 32 of the instances, and its mean cost."""
    name, expert = case.split()
    data = training_data(name).first(32)
    found = getattr(trc, expert)(data.problem, data.initial_states, data.target_states)
    return [*projections({"states": found.states, "controls": found.controls}), found.cost.mean().item()]


def projections(tensors):
    """What tensors are on four directions of random signs, in the order of their names, each of the same length."""
    generator, total = np.random.Generator(np.random.PCG64(0)), np.zeros(4)
    for _, tensor in sorted(tensors.items()):
        signs = 1.0 - 2 * generator.integers(2, size=(4, tensor.numel()))
        total += signs @ tensor.flatten().double().numpy() / tensor.numel() ** 0.5
    return total.tolist()


def compute(case):
    return (train if case in TRAININGS else solve)(case)


def difference(found, wanted):
    return max(abs(one - other) / max(1, abs(other)) for one, other in zip(found, wanted, strict=True))


def remembered():
    return json.loads(FILE.read_text())


@pytest.mark.parametrize("case", [*TRAININGS, *SOLVED])
def test_numbers_are_as_they_were(case):
    if "dropout" in case and not torch.backends.mkl.is_available():
        pytest.skip("torch drops others here")
    off = difference(compute(case), remembered()["numbers"][case])
    assert off <= TOLERANCE, (
        f"{case} gives other numbers, off by {off:.1e}. If this is meant to be, raise NUMERICS in "
        "trc/artifact/trained.py, so that no model kept from before is used, and run: "
        "python tests/test_golden.py --write"
    )


def test_numbers_are_those_of_the_present_numerics():
    assert remembered()["numerics"] == NUMERICS, "NUMERICS was raised: run python tests/test_golden.py --write"


@pytest.mark.parametrize(
    ("case", "changes"),
    [
        ("double_integrator states", {"state_weight": 10.1}),
        ("double_integrator process-feedback", {"process_weight": 0.101}),
        ("van_der_pol process-alone", {"process_weight": 0.101}),
        ("double_integrator feedforward", {"learning_rate": 1.01e-3}),
    ],
)
def test_change_of_one_per_cent_is_caught_in_the_weights_alone(case, changes):
    found, wanted = train(case, **changes), remembered()["numbers"][case]
    assert difference(found[:4], wanted[:4]) > 5 * TOLERANCE


def write():
    """Write the numbers anew; refused where they differ and NUMERICS was not raised."""
    torch.set_num_threads(1)
    before, numbers = remembered(), {case: compute(case) for case in (*TRAININGS, *SOLVED)}
    known = before["numbers"]
    changed = [case for case in numbers if case in known and difference(numbers[case], known[case]) > TOLERANCE]
    if changed and before["numerics"] == NUMERICS:
        sys.exit(f"{', '.join(changed)} changed: raise NUMERICS in trc/artifact/trained.py first.")
    rows = ",\n".join(f"  {json.dumps(case)}: {[round(one, 9) for one in row]}" for case, row in numbers.items())
    FILE.write_text(f'{{"numerics": {NUMERICS}, "numbers": {{\n{rows}\n}}}}\n')


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(__doc__)
    write()
