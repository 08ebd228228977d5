"""Bad input is one clear sentence, and what the README shows runs; each room's own tests have most of it."""

import json
import math
import random
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import trc
from trc.artifact import runner
from trc.common import memory
from trc.common.parallel import parallel_map
from trc.model.checkpoints import read_tensors, write_tensors
from trc.model.config import BLOCK
from trc.training.run_folder import RunFolder, epochs_done, teacher_of, training_summary

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
DI = trc.make_problem("double_integrator")
STATES = DI.sample(1000, generator=torch.Generator().manual_seed(0))
NETWORK = trc.TinyRecursiveControl.create_small(problem=DI, seed=0)
AT_THE_TARGET = trc.generate_dataset(
    DI.replace(initial_range=((0, 0), (0, 0)), target_range=((0, 0), (0, 0))), 2, seed=0
)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: trc.costate("v", torch.zeros(2, 2), torch.zeros(2, 15, 1), torch.zeros(2, 2)), "must be a Problem"),
        (lambda: trc.costate(DI, torch.zeros(2, 2), torch.zeros(2, 15, 1), torch.zeros(2, 2).double()), "convert one"),
        (lambda: trc.generate_dataset("v", 3, seed=0), "must be a Problem"),
        (lambda: trc.generate_dataset(DI, 3, seed=2**64), "seed must be below"),
        (lambda: trc.generate_dataset(DI, 3, seed=0, jobs=1.5), "jobs must be a whole number"),
        (lambda: trc.generate_dataset(DI, 3, seed=0, expert="oracle"), "unknown expert 'oracle'; known are "),
        (lambda: trc.propose(True, *STATES), "model must be a ControlNetwork, got True; make it with"),
        (lambda: trc.propose(NETWORK, [[0.0, 0.0]], STATES[1]), "initial states must be a floating-point tensor"),
        (lambda: trc.propose(NETWORK, STATES[0], STATES[1].numpy()), "target states must be a floating-point tensor"),
        (lambda: trc.evaluate(True, DI, *STATES), "model must be a ControlNetwork, got True"),
        (lambda: trc.evaluate(NETWORK, True, *STATES), "problem must be a Problem, got True"),
        (
            lambda: trc.rollout(DI.replace(initial_range=()), STATES[0], torch.zeros(1000, 15, 1)),
            "has no initial_range and target_range, so it",
        ),
        (
            lambda: trc.train(small(problem=AT_THE_TARGET.problem), AT_THE_TARGET, loss="process"),
            "2 of the instances cost their teacher nothing",
        ),
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


# What could never fit into memory


@pytest.fixture
def machine(monkeypatch):
    """A machine with 16 GB."""
    monkeypatch.setattr(memory, "MACHINE", 16 * 10**9)


FAR = DI.replace(horizon=10_000_000)
small, medium = trc.TinyRecursiveControl.create_small, trc.TinyRecursiveControl.create_medium


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: DI.sample(10**9, generator=torch.Generator()), "1,000,000,000 instances would need about 56 GB"),
        (
            lambda: trc.generate_dataset(DI, 10**9, seed=0),
            "1,000,000,000 trajectories of 15 steps would need about 752 G",
        ),
        (lambda: trc.generate_dataset(FAR, 10_000, seed=0), "10,000 trajectories of 10,000,000 steps would .* 4.8 TB"),
        (lambda: trc.lqr(FAR, *STATES), "1,000 trajectories of 10,000,000 steps would need about 240 GB"),
        (lambda: trc.ilqr(FAR, *STATES), "1,000 trajectories of 10,000,000 steps"),
        (lambda: trc.lqr_gains(DI, STATES[1][:1], 10**12), "1 trajectories of 1,000,000,000,000 steps would"),
        (
            lambda: trc.rollout(DI, STATES[0][:1], torch.zeros(1, 1, 1).expand(1, 4 * 10**9, 1)),
            "1 trajectories of 4,000,000,000 steps would need about 96 GB",
        ),
        (
            lambda: trc.certify(
                DI.replace(horizon=10**5), *(tensor[:1] for tensor in STATES), torch.zeros(1, 10**5, 1)
            ),
            "second derivatives by 100,000 controls would need about 320 GB",
        ),
        (lambda: trc.random_controls(FAR, 1000, torch.Generator()), "1,000 controls of 10,000,000 steps .* 160 GB"),
        (lambda: small(problem=DI, latent_dim=10**6), "such a network, to be trained, would need about 320 TB"),
        (lambda: small(problem=DI, num_blocks=10**5), "such a network, to be trained, would need about 67 GB"),
        (lambda: small(problem=DI, num_blocks=10**8, latent_dim=1, num_heads=1), "such a network, to be trained"),
        (lambda: small(problem=DI, hidden_dim=10**9), "such a network, to be trained"),
        (lambda: small(problem=FAR), "such a network, to be trained"),
        (lambda: small(state_dim=10**9), "such a network would need about 64 GB"),
        (lambda: trc.TinyRecursiveControl(trc.ModelConfig.of_size("medium", problem=FAR)), "such a network would need"),
        (
            lambda: trc.FeedForward.create(problem=DI, width=10**6),
            "such a network, to be trained, would need about 40 TB",
        ),
        (lambda: trc.FeedForward.create_within(10**18, problem=DI), "such a network, to be trained"),
        (lambda: trc.ValuePredictor(10**6, 10**6), "such a value predictor would need about 4.0 TB"),
        (lambda: NETWORK(*STATES, iterations=10**9), "1,000,000,000 refinements would need about 60 TB"),
        (lambda: list(parallel_map(pow, [(2, 3)] * 1000, 1000)), "1,000 processes would need about 100 GB"),
    ],
)
def test_what_could_never_fit_is_refused_with_the_memory_that_it_would_need(machine, call, message):
    with pytest.raises(ValueError, match=rf"^{message}.* of memory; this machine has 16 GB, so .*\.$"):
        call()


def test_what_fits_is_not_refused(monkeypatch):
    for model in (NETWORK, medium(problem=DI), small(use_two_level=True), small(reasoning="mlp", decoder="full")):
        assert 0.5 * model.num_parameters() < model.config.least_weights() <= model.num_parameters()
    styled = trc.TinyRecursiveControl.create_trm_style("small", problem=DI)
    plain = trc.FeedForward.create(problem=DI, width=64)
    for model in (styled, plain):
        assert model.config.least_weights() <= model.num_parameters()
    monkeypatch.setattr(memory, "MACHINE", 4 * NETWORK.num_parameters() + 2 * memory_of_blocks(NETWORK))
    trc.TinyRecursiveControl(NETWORK.config)  # what is loaded is not trained
    with pytest.raises(ValueError, match="to be trained"):
        small(problem=DI)
    memory.check_memory(10**30, "what another device holds", "ask for less", "cuda")
    with torch.device("meta"):
        small(problem=FAR)
    monkeypatch.setattr(memory, "MACHINE", None)  # a system that does not tell
    memory.check_memory(10**30, "anything", "ask for less")


def memory_of_blocks(model):
    return BLOCK * model.config.num_blocks


def test_amounts_are_read_as_one_says_them():
    sizes = {999: "999 bytes", 1000: "1.0 kB", 7_340_000_000_000: "7.3 TB", 31 * 10**9: "31 GB", 10**24: "1,000,000 EB"}
    assert {size: memory.amount(size) for size in sizes} == sizes


# Files that can be read and mean nothing


WRONG = [None, True, "x", "", 3.5, -1, [], {}, [[]], {"a": 1}, math.nan, math.inf, 10**30, ["x"], [None], 2**63]


def places(document, at=()):
    """Where something stands in a JSON document."""
    yield at
    if isinstance(document, dict | list):
        keys = document if isinstance(document, dict) else range(min(len(document), 3))
        for key in keys:
            yield from places(document[key], (*at, key))


def changed(document, chance):
    """A JSON document in which something is missing, of another kind, too short, or twice as long."""
    document = json.loads(json.dumps(document))
    *way, last = chance.choice(list(places(document))[1:])
    part = document
    for key in way:
        part = part[key]
    value = part.pop(last) if isinstance(part, dict) else part[last]
    how = chance.choice(["missing", "other", "other", "other", "shorter", "longer"])
    if how == "other" or not isinstance(value, list):
        value = chance.choice(WRONG)
    elif how != "missing":
        value = value[:-1] if how == "shorter" else value * 2
    if how != "missing" or isinstance(part, list):
        part[last] = value
    return document


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A dataset, and a run that was interrupted after its first epoch."""
    folder = tmp_path_factory.mktemp("made")
    data = trc.generate_dataset(DI, 24, seed=1)
    data.save(folder / "data.npz")

    def once(*arguments):
        keep(*arguments)
        raise KeyboardInterrupt

    keep = RunFolder.keep
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "keep", once)
        patch.setattr(RunFolder, "_draw", lambda *_: None)
        with pytest.raises(KeyboardInterrupt):
            go_on(folder / "run", data)
    return folder


def go_on(folder, data):
    model = small(problem=DI, seed=0, latent_dim=4, hidden_dim=4, num_heads=1, num_blocks=1)
    predictor = trc.ValuePredictor.create(4, seed=0)
    return trc.train(model, data, value_predictor=predictor, epochs=2, batch_size=8, output_dir=folder)


def tries(kind, folder, run, monkeypatch):
    """What writes a document of a kind, the document, and what reads it."""
    data = trc.load_dataset(folder / "data.npz")
    if kind == "dataset":
        with np.load(folder / "data.npz") as archive:
            arrays = dict(archive)
        origin = json.loads(str(arrays["origin"]))
        path = run / "data.npz"
        write = lambda new: np.savez(path, **arrays | {"origin": np.array(json.dumps(new))})  # noqa: E731
        return write, origin, [lambda: trc.load_dataset(path).split(0.5, seed=0)]
    if kind == "statistics":
        path = run / "training_stats.json"
        return lambda new: path.write_text(json.dumps(new)), json.loads(path.read_text()), [lambda: go_on(run, data)]
    path = run / ("best_model.safetensors" if kind == "checkpoint" else "training_state.safetensors")
    header, tensors = read_tensors(path)
    if kind == "checkpoint":
        readers = [trc.load_model, trc.load_value_predictor, training_summary, teacher_of]
        return lambda new: write_tensors(path, new, tensors), header, [lambda read=read: read(path) for read in readers]
    return lambda new: write_tensors(path, new, tensors), header, [lambda: epochs_done(run), lambda: go_on(run, data)]


@pytest.mark.parametrize("kind", ["dataset", "checkpoint", "state", "statistics"])
def test_file_of_another_form_is_a_sentence_and_no_accident(made, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(RunFolder, "_draw", lambda *_: None)
    run, chance, refused = tmp_path / "run", random.Random(kind), 0
    for _ in range(4 if kind == "statistics" else 25):
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(made / "run", run)
        write, document, readers = tries(kind, made, run, monkeypatch)
        write(changed(document, chance))
        for read in readers:
            try:
                read()
            except ValueError as error:  # anything else is an accident
                refused += 1
                assert str(error).endswith(".") and "\n" not in str(error)
    assert refused > 8 or kind == "statistics"  # these are for people alone


@pytest.mark.parametrize("part", ["weights/", "best/", "optimizer/"])
@pytest.mark.parametrize("how", ["missing", "not finite", "other shape", "other name"])
def test_state_with_other_tensors_is_refused(made, tmp_path, monkeypatch, part, how):
    monkeypatch.setattr(RunFolder, "_draw", lambda *_: None)
    shutil.copytree(made / "run", run := tmp_path / "run")
    path = run / "training_state.safetensors"
    header, tensors = read_tensors(path)
    name = next(name for name in tensors if name.startswith(part))
    tensor = tensors.pop(name)
    if how != "missing":
        other = {"not finite": tensor * torch.nan, "other shape": torch.zeros(3, 3, 3), "other name": tensor}[how]
        tensors[f"{part}9999/step" if how == "other name" else name] = other
    write_tensors(path, header, tensors)
    with pytest.raises(
        ValueError, match=r"training_state\.safetensors is not a readable state of a training .*anew\.$"
    ):
        go_on(run, trc.load_dataset(made / "data.npz"))
