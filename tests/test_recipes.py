import pytest
import torch

import trc
from trc import recipes
from trc.checkpoints import read_training_record
from trc.recipes import Recipe, fit, fit_all, single_thread

SETTINGS = {"problem": "double_integrator", "size": "small", "feedback": "none", "num_samples": 8}


def recipe(**changes):
    return Recipe(**SETTINGS | {"training": {"epochs": 1}} | changes)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"data_seed": 1},
        {"num_samples": 9},
        {"size": "medium"},
        {"feedback": "error"},
        {"overrides": {"horizon": 10}},
        {"model": {"num_outer_cycles": 2}},
        {"training": {"epochs": 2}},
        {"size": "feedforward", "model": {"width": 8}},
    ],
    ids=str,
)
def test_every_change_of_a_recipe_makes_another_model(tmp_path, change):
    assert recipe().path(tmp_path) == recipe().path(tmp_path)
    assert recipe(**change).path(tmp_path) != recipe().path(tmp_path)


def test_what_is_spelt_out_is_the_same_model(tmp_path):
    spelt = recipe(model={"num_outer_cycles": 3}, training={"epochs": 1, "loss": "cloning", "reference": "first"})
    assert spelt.digest() == recipe().digest()
    fit(recipe(), tmp_path)
    before = recipe().path(tmp_path).stat().st_mtime_ns
    assert fit(spelt, tmp_path).stat().st_mtime_ns == before


def test_change_of_the_sources_makes_another_model(monkeypatch):
    before = recipe().digest()
    monkeypatch.setattr(recipes, "sources_digest", lambda: "other sources")
    assert recipe().digest() != before


def test_all_sources_of_a_model_are_watched():
    package = recipes.Path(recipes.__file__).parent
    watched = {name.removesuffix(".py") for name in recipes.SOURCES}
    assert {name for name in watched if not list(package.glob(f"{name}*"))} == set()
    assert {"problems", "simulation", "experts", "datasets", "model", "losses", "training"} <= watched


def test_recipe_gives_the_model_that_its_steps_give(tmp_path):
    chosen = recipe(feedback="error", overrides={"horizon": 5}, seed=3)
    path = fit(chosen, tmp_path)
    problem = trc.make_problem("double_integrator", horizon=5)
    data = trc.generate_dataset(problem, 8, seed=42)
    model = trc.TinyRecursiveControl.create("small", problem=problem, feedback="error", seed=3)
    history = trc.train(model, data, epochs=1, seed=3)
    fitted, record = trc.load_model(path), read_training_record(path)
    assert fitted.problem == problem
    assert fitted.needs_simulator
    assert record["history"]["train_loss"] == history.train_loss
    for name, tensor in model.state_dict().items():
        assert torch.equal(fitted.state_dict()[name], tensor)


def test_interrupted_work_keeps_what_is_done_and_is_not_done_again(tmp_path, monkeypatch):
    good, bad = recipe(), recipe(training={"epochs": 3, "learning_rate": 1e30})
    with pytest.raises(ValueError, match="lower learning_rate"):
        fit_all([good, bad], tmp_path, progress=False)
    assert list(tmp_path.glob("*.safetensors")) == [good.path(tmp_path)]
    monkeypatch.setattr(recipes, "train", None)  # would fail if it were called
    ((model, record),) = fit_all([good], tmp_path, progress=False)
    assert model.num_parameters() == 104_862
    assert record["recipe"]["num_samples"] == 8


def test_recipe_that_makes_no_sense_is_refused_before_any_work(tmp_path):
    with pytest.raises(ValueError, match="epochs must be a whole number"):
        fit_all([recipe(), recipe(training={"epochs": -1})], tmp_path, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_what_is_asked_for_twice_is_trained_once_on_data_that_are_solved_once(tmp_path, monkeypatch):
    trained, solved = [], []
    train, generate = recipes.train, recipes.generate_dataset
    monkeypatch.setattr(recipes, "train", lambda *a, **k: trained.append(1) or train(*a, **k))
    monkeypatch.setattr(recipes, "generate_dataset", lambda *a, **k: solved.append(1) or generate(*a, **k))
    asked = [recipe(), recipe(seed=1), recipe(), recipe(model={"num_inner_cycles": 1})]
    models = [model for model, _ in fit_all(asked, tmp_path, progress=False)]
    assert (len(trained), len(solved)) == (3, 1)
    assert [model.config.num_inner_cycles for model in models] == [3, 3, 3, 1]


def test_damaged_data_and_models_are_made_anew(tmp_path):
    one = recipe()
    path = fit(one, tmp_path)
    before = trc.load_model(path).state_dict()
    path.write_bytes(b"half")
    one.data_path(tmp_path).write_bytes(b"half")
    after = trc.load_model(fit(one, tmp_path)).state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_model_of_another_recipe_under_a_recipes_name_is_trained_anew(tmp_path):
    one, other = recipe(), recipe(seed=1)
    own = trc.load_model(fit(one, tmp_path)).state_dict()
    one.path(tmp_path).write_bytes(fit(other, tmp_path).read_bytes())
    again = trc.load_model(fit(one, tmp_path)).state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in own.items())


def test_table_of_recipes_says_everything(tmp_path):
    table = recipes.recipe_table([recipe(), recipe(seed=1, training={"epochs": 3})])
    assert list(table["seed"]) == [0, 1]
    assert list(table["training_epochs"]) == [1, 3]
    assert list(table["training_learning_rate"]) == [1e-3] * 2


@pytest.mark.slow
def test_number_of_jobs_does_not_change_the_models(tmp_path):
    both = [recipe(), recipe(seed=1)]
    for jobs in (1, 2):
        fit_all(both, tmp_path / str(jobs), jobs=jobs, progress=False)
    for one in both:
        alone, together = (trc.load_model(one.path(tmp_path / str(jobs))) for jobs in (1, 2))
        for name, tensor in alone.state_dict().items():
            assert torch.equal(together.state_dict()[name], tensor)


def test_single_thread_is_for_a_while():
    torch.set_num_threads(2)
    try:
        with pytest.raises(KeyError), single_thread():
            assert torch.get_num_threads() == 1
            raise KeyError
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
