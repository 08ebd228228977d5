"""Numbers are taken as NumPy and torch give them, and kept as Python's; what is made can be hashed, copied, sent."""

import copy
import json
from decimal import Decimal
from fractions import Fraction
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
import torch
from made_up import Rover
from torch.utils.data import DataLoader

import trc
from trc.artifact.results import parse_seeds
from trc.common.checks import as_json, check_count, check_real, plain
from trc.common.parallel import _packed
from trc.guide import train as train_by_the_guide
from trc.problems.double_integrator import DoubleIntegrator
from trc.training.run_folder import RunFolder

DI = trc.make_problem("double_integrator")
DATA = trc.generate_dataset(DI, 24, seed=1)
STATES = DATA.initial_states.float(), DATA.target_states.float()
TINY = {"latent_dim": 4, "hidden_dim": 4, "num_heads": 1, "num_blocks": 1}

COUNTS = [np.int64, np.int32, np.uint8, np.array, torch.tensor]
REALS = [np.float32, np.float64, np.longdouble, np.array, torch.tensor, Fraction, lambda number: Decimal(str(number))]
REALS += [lambda number: torch.tensor(number, requires_grad=True)]
as_counts = pytest.mark.parametrize("number", COUNTS, ids=lambda kind: kind.__name__)
as_reals = pytest.mark.parametrize("number", REALS)


def network(**settings):
    return trc.TinyRecursiveControl.create_small(problem=DI, **{"seed": 0, **TINY, **settings})


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (np.int8(3), 3),
        (np.array(3), 3),
        (torch.tensor(3), 3),
        (np.bool_(True), True),
        (torch.tensor(False), False),
        (np.float16(0.5), 0.5),
        (torch.tensor(0.5, dtype=torch.bfloat16, requires_grad=True), 0.5),
        (np.longdouble(0.25), 0.25),
        (Fraction(1, 4), 0.25),
        (Decimal("0.25"), 0.25),
        (7, 7),
        ("x", "x"),
        (None, None),
    ],
)
def test_number_becomes_pythons(given, kept):
    assert plain(given) == kept and type(plain(given)) is type(kept)


@pytest.mark.parametrize("thing", [[1.0], np.ones(1), torch.ones(1), torch.ones((), device="meta"), np.timedelta64(1)])
def test_what_is_no_number_stays_what_it_is(thing):
    assert plain(thing) is thing


NO_COUNTS = [True, np.bool_(True), torch.tensor(True), 1.0, np.float64(1), torch.tensor(1.0), "1", b"1", None, [1]]
NO_COUNTS += [np.ones(1, int), torch.ones(1, dtype=int), 0, np.int64(0), -1, 1j, np.timedelta64(1, "s"), 2**63, 10**400]


@pytest.mark.parametrize("value", NO_COUNTS, ids=lambda value: repr(value)[:20])
def test_what_is_no_count_is_refused(value):
    with pytest.raises(ValueError, match=r"^n must be (a whole number, 1 or more|below 2\*\*63), got .*\.$"):
        check_count(value, "n")


NO_REALS = [True, np.bool_(True), torch.tensor(True), "1", b"1", None, 1j, np.complex64(1), np.ones(1), torch.ones(1)]
NO_REALS += [np.float32("nan"), torch.tensor(torch.inf), 10**400, np.datetime64(1, "s"), torch.ones((), device="meta")]


@pytest.mark.parametrize("value", NO_REALS, ids=lambda value: repr(value)[:20])
def test_what_is_no_real_number_is_refused_on_one_line(value):
    with pytest.raises(ValueError, match=r"^x must be a finite number, got .{1,80}\.$"):
        check_real(value, "x")


@as_counts
def test_counts_and_seeds_of_any_kind_give_what_pythons_give(number, tmp_path):
    data = trc.generate_dataset(DI, number(5), seed=number(3), jobs=number(2))
    assert trc.load_dataset(data.save(tmp_path / "data.npz")).costs.equal(trc.generate_dataset(DI, 5, seed=3).costs)
    assert len(data.first(number(2))) == 2 and data.split(0.5, seed=number(1))[0].origin["split"][0]["seed"] == 1
    options = {"epochs": 1, "batch_size": 8, "seed": 2, "patience": 3}
    kept = trc.TrainingConfig(**{name: number(value) for name, value in options.items()})
    assert kept == trc.TrainingConfig(**options) and type(kept.epochs) is int
    made = network(latent_dim=number(8), num_outer_cycles=number(2), seed=number(1))
    model = trc.load_model(trc.save_model(made, tmp_path / "model.safetensors"))
    assert model.config == network(latent_dim=8, num_outer_cycles=2).config and type(model.config.latent_dim) is int
    assert all(map(torch.equal, model.parameters(), network(latent_dim=8, seed=1).parameters()))
    assert model(*STATES, iterations=number(4), return_all_iterations=True)["all_controls"].shape[1] == 5
    assert len(trc.random_controls(DI, number(3), torch.Generator())) == 3
    assert len(DI.sample(number(3), generator=torch.Generator())[0]) == 3
    assert trc.FeedForward.create(problem=DI, width=number(4), depth=number(2)).config.width == 4
    assert json.dumps(DoubleIntegrator(horizon=number(4), position_dims=[number(0)]).to_dict())
    assert trc.ValuePredictor.create(number(4), seed=number(1)).latent_dim == 4


@as_reals
def test_real_numbers_of_any_kind_give_what_pythons_give(number, tmp_path):
    made = trc.make_problem(
        "van_der_pol", dt=number(0.25), mu=number(2.0), control_low=[number(-1.0)], R=[[number(0.5)]]
    )
    assert made == trc.make_problem("van_der_pol", dt=0.25, mu=2.0, control_low=[-1.0], R=[[0.5]])
    assert trc.make_problem("van_der_pol", **made.to_dict()["settings"]) == made
    data = trc.generate_dataset(DI, 4, seed=3, scale=number(1.5))
    assert data.save(tmp_path / "data.npz").is_file() and data.origin["scale"] == 1.5
    assert len(data.split(number(0.5), seed=0)) == 2
    options = {"learning_rate": 0.5, "warmup": 0.25, "weight_decay": 0.0, "discount": 0.5}
    kept = trc.TrainingConfig(**{name: number(value) for name, value in options.items()})
    assert kept == trc.TrainingConfig(**options) and type(kept.discount) is float
    model = network(dropout=number(0.5), time_scale=number(2.0))
    assert trc.load_model(trc.save_model(model, tmp_path / "model.safetensors")).config == model.config
    assert model(*STATES, time_remaining=number(2.0))["controls"].shape == (24, 15, 1)


def test_run_of_numpys_numbers_is_that_of_pythons(tmp_path, monkeypatch):
    monkeypatch.setattr(RunFolder, "_draw", lambda *_: None)  # which takes long
    options = {"epochs": 1, "batch_size": 8, "seed": 2, "learning_rate": 0.5}
    for kind in (np.array, lambda value: value):  # the second one finds the first one's run
        trc.train(network(), DATA, output_dir=tmp_path, **{name: kind(value) for name, value in options.items()})


def test_whole_numbers_stay_whole_so_that_recipes_keep_their_names():
    assert type(trc.TrainingConfig(process_weight=1).process_weight) is int
    assert type(network(time_scale=2).config.time_scale) is int


def test_arrays_and_tensors_are_taken_where_sequences_are():
    box = [[-1.0, 1.0], [0.0, 2.0]]
    settings = {"control_low": np.array([-1.0]), "control_high": torch.tensor([1.0]), "initial_range": np.array(box)}
    made = DI.replace(**settings, target_range=torch.tensor(box), Q=np.eye(2), Q_final=[torch.eye(2)[0], np.eye(2)[1]])
    same = DI.replace(control_low=(-1.0,), control_high=(1.0,), initial_range=box, target_range=box)
    assert made == same.replace(Q=((1, 0), (0, 1)), Q_final=((1, 0), (0, 1)))
    model = trc.TinyRecursiveControl.create_small(
        problem=DI, control_low=np.array([-4.0]), control_high=torch.tensor([4.0]), use_two_level=np.bool_(True)
    )
    assert model.config.use_two_level is True
    assert DoubleIntegrator(state_names=["a", "b"], control_names=("c",)).state_names == ("a", "b")


def test_seeds_are_taken_in_any_form():
    for seeds in ("0,1,2", [0, 1, 2], range(3), np.arange(3), torch.arange(3), (np.int64(0), 1, "2")):
        assert parse_seeds(seeds, "7") == [0, 1, 2]
    assert parse_seeds(np.int64(3), "7") == parse_seeds(torch.tensor(3), "7") == [3]
    for seeds in (True, [True], [0, 0], [1.5], [], None, np.ones(2)):
        with pytest.raises(ValueError, match="seeds must be different whole numbers"):
            parse_seeds(seeds, "7")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: DI.replace(control_low="1"), "control_low needs 1 entry"),
        (lambda: DI.replace(control_low=b"1"), "control_low needs 1 entry"),
        (lambda: DI.replace(control_low={1.0}), "control_low needs 1 entry"),
        (lambda: DI.replace(control_high=[True]), "control_high must be a finite number, got True"),
        (lambda: DI.replace(R=[[True]]), "R must be a square matrix, got"),
        (lambda: DI.replace(Q="ab"), "Q must be a square matrix, got 'ab'"),
        (lambda: DoubleIntegrator(state_names="xy"), "state_names must be names, one a dimension"),
        (lambda: DoubleIntegrator(control_names=(1,)), "control_names must be names"),
        (lambda: DoubleIntegrator(position_dims=0), r"position_dims must be dimensions, such as \(0, 1\), got 0"),
        (lambda: DoubleIntegrator(velocity_dims=(2,)), "velocity_dims has 2, but there are 2 dimensions"),
        (lambda: DoubleIntegrator(linear="yes"), "linear must be a bool, got 'yes'"),
        (lambda: DoubleIntegrator(parameters=[1]), "parameters must be a Mapping"),
        (
            lambda: network()(*STATES, time_remaining="1"),
            "time_remaining must be sec",
        ),
        (lambda: network()(*STATES, time_remaining=True), "time_remaining must be"),
        (lambda: DI.sample(2, generator=0), r"generator must be a Generator, got 0; make one with torch\.Generator"),
        (lambda: trc.random_controls(DI, 2, None), "generator must be a Generator"),
        (lambda: trc.TrainingConfig(schedule=["cosine"]), r"unknown schedule \['cosine'\]; known are"),
        (lambda: trc.load_dataset(3), r"a path must be text or a pathlib\.Path that leads somewhere, got 3"),
        (lambda: trc.save_model(network(), b"x"), "a path must be text"),
    ],
)
def test_what_can_not_be_meant_is_refused(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert str(error.value).endswith(".")


# Hashes, copies, messages


def sent(thing):
    """What another process gets."""
    return ForkingPickler.loads(_packed(thing))


def test_problems_are_keys():
    others = [DI.replace(horizon=4), DI.replace(Q=((1, 0), (0, 1))), trc.make_problem("van_der_pol", mu=2.0), Rover()]
    known = {problem: name for name, problem in enumerate([DI, *others])}
    again = trc.make_problem("van_der_pol", mu=np.int64(2))
    assert len(known) == 5 and known[trc.make_problem("double_integrator")] == 0 and known[again] == 3
    assert hash(Rover()) == hash(Rover()) and hash(DI.cost) == hash(DI.replace(Q=np.diag([10, 5])).cost)
    assert len({DATA, DATA.first(3), DATA}) == 2  # a dataset is known by which it is


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, sent])
def test_copies_are_equal_and_what_is_compiled_stays_behind(again):
    problem = trc.make_problem("double_integrator")
    states = problem.sample(3, generator=torch.Generator().manual_seed(0))
    model = trc.TinyRecursiveControl.create_small(problem=problem, seed=0, **TINY)
    trc.train(model, DATA, epochs=1)
    wanted = trc.lqr(problem, *states), model(*states)["controls"]
    assert problem.cache
    same = again(problem)
    assert same == problem and same.cache == {} and trc.lqr(same, *states).cost.equal(wanted[0].cost)
    for thing in (problem.cost, model.config, trc.TrainingConfig(epochs=2)):
        assert again(thing) == thing
    found = again(wanted[0])
    assert found.states.equal(wanted[0].states) and found.cost.equal(wanted[0].cost) and len(found) == 3
    other = again(model)
    assert other.problem == problem and other(*states)["controls"].equal(wanted[1])
    assert again(DATA).costs.equal(DATA.costs) and again(DATA).origin == DATA.origin


# Loaders


@pytest.mark.parametrize("how", [{}, {"shuffle": True}, {"num_workers": 2}])
def test_loader_gives_batches_of_a_dataset(how):
    batches = list(DataLoader(DATA, batch_size=10, **how))
    assert [len(batch.costs) for batch in batches] == [10, 10, 4]
    assert batches[0].control_sequences.shape == (10, 15, 1) and batches[0].state_trajectories.shape == (10, 16, 2)
    costs = torch.cat([batch.costs for batch in batches])
    assert costs.sort().values.equal(DATA.costs.sort().values)
    assert costs.equal(DATA.costs) or "shuffle" in how
    for batch in batches:  # an instance's parts stay together
        assert torch.allclose(
            DI.cost(batch.state_trajectories, batch.control_sequences, batch.target_states), batch.costs
        )


def test_dataset_is_a_sequence():
    assert len(list(DATA)) == len(DATA) and DATA[np.int64(-1)].costs == DATA.costs[-1]
    assert DATA[2:5].initial_states.equal(DATA.initial_states[2:5])
    with pytest.raises(IndexError):
        DATA[24]
    loader = DataLoader(DATA, batch_size=8)
    assert train_by_the_guide(network(), loader, loader, epochs=1).num_parameters()


def test_json_takes_what_numpy_and_torch_give_and_nothing_else():
    given = {"a": np.float32(0.5), "b": torch.arange(2), "c": np.ones((1, 2)), "d": Fraction(1, 2)}
    assert json.loads(json.dumps(given, default=as_json)) == {"a": 0.5, "b": [0, 1], "c": [[1, 1]], "d": 0.5}
    with pytest.raises(TypeError, match="no number, text, list or dict: <object"):
        json.dumps(object(), default=as_json)
