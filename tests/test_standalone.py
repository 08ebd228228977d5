"""A planner that is written for the machine that controls plans what the network plans, without torch and trc."""

import json
import os
import re
import subprocess
import sys

import pytest
import torch
from made_up import with_step

import trc
from trc.standalone import export_standalone

PLAN = """
import json, sys
import numpy as np
sys.path.insert(0, ".")
from planner import Planner
questions = json.load(sys.stdin)
found = [Planner()(*states, **options).tolist() for states, options in questions]
assert not {"torch", "trc"} & set(sys.modules)
print(json.dumps(found))
"""

TRM = {
    "use_two_level": True,
    "carry_latents": True,
    "feedforward": "swiglu",
    "expansion": 4,
    "norm": "rms",
    "norm_first": False,
}
NETWORKS = {
    "double_integrator": {},
    "latents that go on": {"carry_latents": True},
    "van_der_pol": {"horizon": 5},
    "two levels, no feedback": {"use_two_level": True, "feedback": "none"},
    "as the Tiny Recursive Model, whole sequences": TRM | {"decoder": "full"},
    "perceptrons only": {"reasoning": "mlp", "norm_first": False},
    "perceptrons only, normalised first": {"reasoning": "mlp", "num_blocks": 1},
}


def network(name, **settings):
    settings = NETWORKS.get(name, {}) | settings
    known = {"horizon": settings.pop("horizon")} if "horizon" in settings else {}
    problem = trc.make_problem(name if name in trc.PROBLEMS else "double_integrator", **known)
    shape = {"latent_dim": 16, "hidden_dim": 24, "initial_scale": 1.0}
    return trc.TinyRecursiveControl.create_small(problem=problem, seed=0, **shape | settings).eval()


def plans(folder, questions, compiled):
    environment = {**os.environ, "NUMBA_DISABLE_JIT": str(int(not compiled))}
    command = [sys.executable, "-c", PLAN]
    ran = subprocess.run(
        command, cwd=folder, input=json.dumps(questions), env=environment, capture_output=True, text=True, check=True
    )
    return torch.tensor(json.loads(ran.stdout))


@pytest.mark.parametrize("name", NETWORKS)
def test_planner_plans_what_the_network_plans(name, tmp_path, compiled=False):
    model = network(name)
    x, target = model.problem.sample(3, generator=torch.Generator().manual_seed(0))
    pairs = list(zip(x.tolist(), target.tolist(), strict=True))
    folder = export_standalone(model, tmp_path / "planner")
    for options in ({}, {"time_remaining": 0.5, "iterations": 1}):
        with torch.no_grad():
            wanted = model(x, target, **options)["controls"]
        found = plans(folder, [(pair, options) for pair in pairs], compiled)
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["van_der_pol", "two levels, no feedback"])
def test_compiled_planner_plans_what_the_network_plans(name, tmp_path):
    test_planner_plans_what_the_network_plans(name, tmp_path, compiled=True)


@pytest.mark.slow
def test_compiled_planner_divides_by_zero_and_knows_infinity_as_torch_does(tmp_path):
    problem = with_step(lambda problem, x, u, p: 0.1 / (1 + 1 / x.clamp(-2, torch.inf)) + 0.1 * u)
    model = trc.TinyRecursiveControl.create_small(problem=problem, seed=0, initial_scale=1.0).eval()
    zero = torch.zeros(1, 2)
    with torch.no_grad():
        wanted = model(zero, zero)["controls"]
    found = plans(export_standalone(model, tmp_path), [(([0.0, 0.0], [0.0, 0.0]), {})], compiled=True)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=2e-5)


def test_step_that_can_not_be_written_is_refused(tmp_path):
    problem = with_step(lambda problem, x, u, p: x * x.abs().max())
    model = trc.TinyRecursiveControl.create_small(problem=problem, seed=0)
    with pytest.raises(ValueError, match="torch's max is not among the operations that are known"):
        export_standalone(model, tmp_path)
    assert not list(tmp_path.iterdir())


def test_same_network_is_written_with_the_same_bytes(tmp_path):
    one, other = (export_standalone(network("van_der_pol"), tmp_path / name) for name in "ab")
    for name in ("planner.py", "weights.npz"):
        assert (one / name).read_bytes() == (other / name).read_bytes()


@pytest.mark.parametrize(
    ("states", "options", "message"),
    [
        (([0.0], [0.0, 0.0]), {}, r"2 numbers each, got shapes \(1,\) and \(2,\)"),
        (([0.0, float("nan")], [0.0, 0.0]), {}, r"must be finite, got \[ ?0. nan\]"),
        (([0.0, 0.0], [0.0, 0.0]), {"time_remaining": float("nan")}, "states and time must be finite, got .* and nan"),
        (([0.0, 0.0], [0.0, 0.0]), {"iterations": 1.5}, "iterations must be a whole number, 0 or more, got 1.5"),
    ],
)
def test_planner_says_what_is_wrong_with_a_question(states, options, message, tmp_path):
    folder = export_standalone(network("double_integrator"), tmp_path)
    with pytest.raises(subprocess.CalledProcessError) as failed:
        plans(folder, [(states, options)], compiled=False)
    assert re.search(message, failed.value.stderr)


def test_weights_of_another_network_are_refused(tmp_path):
    folder = export_standalone(network("double_integrator"), tmp_path / "one")
    other = export_standalone(network("double_integrator", num_blocks=1), tmp_path / "other")
    (other / "weights.npz").replace(folder / "weights.npz")
    with pytest.raises(subprocess.CalledProcessError) as failed:
        plans(folder, [(([0.0] * 2, [0.0] * 2), {})], compiled=False)
    assert "weights, but this network needs" in failed.value.stderr


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: trc.FeedForward.create(problem=trc.make_problem("double_integrator"), width=8), "got a FeedForward"),
        (lambda: network("double_integrator", feedback="shuffled"), "this network has 'shuffled'"),
    ],
)
def test_networks_that_a_planner_does_not_know_are_refused(made, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        export_standalone(made(), tmp_path)
    assert not list(tmp_path.iterdir())
