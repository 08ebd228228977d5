from dataclasses import make_dataclass
from functools import partial

import pytest
import torch

import trc
from trc.artifact import trained
from trc.artifact.trained import Recipe, find, train_all, train_one
from trc.training import TrainingConfig

SETTINGS = {"problem": "double_integrator", "size": "small", "feedback": "none", "num_samples": 8}


def recipe(**changes):
    return Recipe(**SETTINGS | {"training": {"epochs": 1}} | changes)


def weights(one, folder):
    """State of the recipe's model, trained or found."""
    ((model, _),) = train_all([one], folder, progress=False)
    return model.state_dict()


def same(first, second):
    return all(torch.equal(tensor, second[name]) for name, tensor in first.items())


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"data_seed": 1},
        {"num_samples": 9},
        {"size": "medium"},
        {"feedback": "error"},
        {"overrides": {"horizon": 10}},
        {"overrides": {"R": [[0.2]]}},
        {"model": {"num_outer_cycles": 2}},
        {"training": {"epochs": 2}},
        {"size": "feedforward", "model": {"width": 8}},
    ],
    ids=str,
)
def test_every_change_of_a_recipe_makes_another_model(tmp_path, change):
    assert recipe().path(tmp_path) == recipe().path(tmp_path)
    assert recipe(**change).path(tmp_path) != recipe().path(tmp_path)


def test_what_is_spelt_out_and_options_that_are_added_later_change_no_model(tmp_path, monkeypatch):
    spelt = recipe(model={"num_outer_cycles": 3}, training={"epochs": 1, "supervision": "deep", "reference": "first"})
    assert spelt.path(tmp_path) == recipe().path(tmp_path)
    train_one(recipe(), tmp_path)
    before = recipe().path(tmp_path).stat().st_mtime_ns
    change = partial(make_dataclass, "Changed", bases=(TrainingConfig,), frozen=True, kw_only=True)
    monkeypatch.setattr(trained, "TrainingConfig", change([("new", float, 0.5)]))
    train_all([recipe(), spelt], tmp_path, progress=False)
    assert recipe(training={"epochs": 1, "new": 1.0}).path(tmp_path) != spelt.path(tmp_path)
    assert spelt.path(tmp_path).stat().st_mtime_ns == before
    monkeypatch.setattr(trained, "TrainingConfig", change([("discount", float, 0.5)]))  # another default than then
    assert find(recipe(), tmp_path) is None


def test_model_of_other_numerics_is_trained_anew_and_says_so(tmp_path, monkeypatch):
    one = recipe()
    train_one(one, tmp_path)
    assert find(one, tmp_path) is not None
    old = trained.NUMERICS
    monkeypatch.setattr(trained, "NUMERICS", old + 1)
    message = f"was trained under NUMERICS {old}, and this code has {old + 1}; it is trained"
    with pytest.warns(UserWarning, match=message):
        ((_, record),) = train_all([one], tmp_path, progress=False)
    assert record["numerics"] == old + 1


def test_recipe_gives_the_model_that_its_steps_give_and_a_record_of_them(tmp_path):
    chosen = recipe(feedback="error", overrides={"horizon": 5}, seed=3)
    ((fitted, record),) = train_all([chosen], tmp_path, progress=False)
    problem = trc.make_problem("double_integrator", horizon=5)
    data = trc.generate_dataset(problem, 8, seed=42)
    model = trc.TinyRecursiveControl.create("small", problem=problem, feedback="error", seed=3)
    history = trc.train(model, data, epochs=1, seed=3)
    assert fitted.problem == problem
    assert fitted.needs_simulator
    assert same(model.state_dict(), fitted.state_dict())
    assert record["history"]["train_loss"] == history.train_loss
    assert (record["recipe"], record["numerics"]) == (chosen.meaning(), trained.NUMERICS)
    assert record["seconds"] > 0


def test_interrupted_work_keeps_what_is_done_and_is_not_done_again(tmp_path, monkeypatch):
    good, bad = recipe(), recipe(training={"epochs": 3, "learning_rate": 1e30})
    with pytest.raises(ValueError, match="lower learning_rate"):
        train_all([good, bad], tmp_path, progress=False)
    assert list(tmp_path.glob("*.safetensors")) == [good.path(tmp_path)]
    monkeypatch.setattr(trained, "train", None)  # would fail if it were called
    ((model, _),) = train_all([good], tmp_path, progress=False)
    assert model.num_parameters() == 104_862


def test_recipe_that_makes_no_sense_is_refused_before_any_work(tmp_path):
    with pytest.raises(ValueError, match="epochs must be a whole number"):
        train_all([recipe(), recipe(training={"epochs": -1})], tmp_path, progress=False)
    with pytest.raises(ValueError, match="has no feedback: it must be \"none\", got 'error'"):
        recipe(size="feedforward", feedback="error", model={"width": 8}).network()
    assert list(tmp_path.iterdir()) == []


def test_what_is_asked_for_twice_is_trained_once_on_data_that_are_solved_once(tmp_path, monkeypatch):
    calls = []
    train, generate = trained.train, trained.generate_dataset
    monkeypatch.setattr(trained, "train", lambda *a, **k: calls.append("train") or train(*a, **k))
    monkeypatch.setattr(trained, "generate_dataset", lambda *a, **k: calls.append("solve") or generate(*a, **k))
    asked = [recipe(), recipe(seed=1), recipe(), recipe(model={"num_inner_cycles": 1})]
    models = [model for model, _ in train_all(asked, tmp_path, progress=False)]
    assert calls == ["solve", "train", "train", "train"]
    assert [model.config.num_inner_cycles for model in models] == [3, 3, 3, 1]


def test_data_and_models_that_are_damaged_or_of_another_recipe_are_made_anew(tmp_path):
    one, other = recipe(), recipe(seed=1)
    own = weights(one, tmp_path)
    train_one(other, tmp_path)
    for wrong in (b"half", other.path(tmp_path).read_bytes()):
        one.path(tmp_path).write_bytes(wrong)
        one.data_path(tmp_path).write_bytes(b"half")
        assert same(own, weights(one, tmp_path))


@pytest.mark.slow
def test_number_of_jobs_does_not_change_the_models(tmp_path):
    both = [recipe(), recipe(seed=1)]
    alone, together = (train_all(both, tmp_path / str(jobs), jobs=jobs, progress=False) for jobs in (1, 2))
    for (one, _), (other, _) in zip(alone, together, strict=True):
        assert same(one.state_dict(), other.state_dict())
