"""To add a thing is to write it in one place: here each is written outside the package, and all go the whole way.

The problems are those of ``made_up.py``.
"""

import math
import re

import pytest
import torch
from made_up import Cart, Rover

import trc
from trc.artifact import Experiment, experiment
from trc.common.provenance import project_root
from trc.experts import EXPERTS
from trc.model.feedback import Observation, feedback
from trc.problems import register
from trc.training import LOSSES, SCHEDULES

TRAINING = {"loss": "cloning_and_effort", "schedule": "halving"}


@pytest.fixture
def added():
    """A problem, an expert, a feedback, a loss and a schedule of one's own, for the length of a test."""
    register(Rover)

    @EXPERTS.register("left_or_right")
    def left_or_right(problem, initial, target):
        return trc.ilqr(problem, initial, target, start=("left", "right"), max_iterations=20)

    @feedback("nearest", size=lambda n, m, T: n + 1)
    def nearest(simulator, initial, target, controls, state_scale):
        states = simulator(initial, controls)
        error = states[:, -1] - target
        way = (states - target.unsqueeze(1))[..., :2].norm(dim=-1).amin(1, keepdim=True)
        return Observation(states, error, torch.cat((error / state_scale, way), -1))

    @LOSSES.register("cloning_and_effort")
    def cloning_and_effort(attempt, config):
        return attempt.cloning + config.process_weight * attempt.output["controls"].square().mean()

    @SCHEDULES.register("halving")
    def halving(progress, losses):
        return 0.5 ** math.floor(4 * progress)


def test_what_is_written_outside_goes_from_data_to_judgement(added, tmp_path, draw):
    rover = trc.make_problem("moon-car")
    data = trc.generate_dataset(rover, 40, seed=1, expert="left_or_right")
    data = trc.load_dataset(data.save(tmp_path / "rover.npz"))
    model = trc.TinyRecursiveControl.create_small(problem=rover, feedback="nearest", seed=0)
    history = trc.train(model, data, epochs=4, seed=0, output_dir=tmp_path / "run", **TRAINING)
    assert history.train_loss[-1] < history.train_loss[0]
    assert history.learning_rate[-1] == pytest.approx(1e-3 / 8)
    again = trc.load_model(tmp_path / "run" / "best_model.safetensors")
    x = draw(rover, 6)
    assert trc.evaluate(again, rover, *x) == trc.evaluate(model, rover, *x)


def test_experiment_takes_it(added, tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "models_folder", lambda: tmp_path / "models")
    exp = Experiment("foreign", "smoke", "0", results_dir=tmp_path, problems=["rover"])
    exp.train({"error": {}, "nearest": {"feedback": "nearest", **TRAINING}})
    outcomes = exp.judge(["wide"])
    gaps = outcomes.by_seed(["gap", "success"])
    exp.write(runs=gaps, summary=outcomes.intervals(["gap"]), contrasts=outcomes.against("error", quantities=["gap"]))
    assert len(gaps) == 4
    assert (gaps[gaps["metric"] == "gap"]["value"] > -1e-6).all()  # against the best of the problem's own starts
    assert (tmp_path / "foreign" / "manifest.json").is_file()


@pytest.mark.parametrize("kind", [Cart, Rover])
def test_model_learns_from_a_problem_of_ones_own_and_is_kept_and_judged(kind, tmp_path, draw):
    problem = register(kind)()
    data = trc.generate_dataset(problem, 64, seed=1)
    assert data.control_sequences.shape == (64, problem.horizon, 2)
    data = trc.load_dataset(data.save(tmp_path / "data.npz"))
    assert data.problem == problem
    for loss in ("cloning", "process", "trajectory"):
        model = trc.TinyRecursiveControl.create_small(problem=problem, feedback="error", seed=0)
        history = trc.train(model, data, epochs=3, seed=0, loss=loss)
        assert history.train_loss[-1] < history.train_loss[0]
    model = trc.load_model(trc.save_model(model, tmp_path / "model.safetensors"))
    assert model.problem == problem
    x = draw(problem, 3)
    table = trc.compare(model, problem, *x, generator=torch.Generator(), resamples=20)
    assert table.loc["trained", "cost"] == pytest.approx(trc.evaluate(model, problem, *x)["cost"])
    assert table["cost"].idxmin() == "optimum"
    assert table["success"].between(0, 1).all()


def test_what_readers_and_contributors_are_shown_runs():
    for page in ("README.md", "CONTRIBUTING.md"):
        for block in re.findall(r"```python\n(.*?)```", (project_root() / page).read_text(), re.DOTALL):
            exec(block, {"__name__": "shown"})
    data = trc.generate_dataset(trc.make_problem("rocket"), 8, seed=1)
    model = trc.TinyRecursiveControl.create_small(problem=data.problem, seed=0)
    trc.train(model, data, epochs=1, seed=0, loss="effort", process_weight=0.01)


def test_lqr_reaches_the_bounds_of_two_controls_and_beats_doing_nothing(draw):
    cart = Cart()
    initial, target = draw(cart, 20)
    solved = trc.lqr(cart, initial, target)
    low, high = cart.bounds(initial)
    assert ((solved.controls == low) | (solved.controls == high)).any()
    idle = torch.zeros_like(solved.controls)
    assert (solved.cost < cart.cost(trc.rollout(cart, initial, idle), idle, target)).double().mean() > 0.9


def test_files_of_a_problem_that_is_not_registered_say_what_to_do(tmp_path):
    cart = Cart()
    data = trc.generate_dataset(cart, 4, seed=1)
    path = data.save(tmp_path / "cart.npz")
    with pytest.raises(ValueError, match=r"for the problem 'cart', which is not registered here; .*give problem"):
        trc.load_dataset(path)
    assert torch.equal(trc.load_dataset(path, cart).costs, data.costs)
    with pytest.raises(ValueError, match="drag differ"):
        trc.load_dataset(path, cart.replace(drag=1.0))


def test_second_registration_of_a_name_is_one_clear_sentence(added):
    with pytest.raises(ValueError, match=r"there is an expert 'lqr' already \(trc.experts.lqr\); choose another name"):
        EXPERTS.register("lqr")(lambda problem, initial, target: None)
    with pytest.raises(ValueError, match=r"there is a loss 'cloning' already \(trc.training.losses\); choose another"):
        LOSSES.register("cloning")(lambda attempt, config: attempt.cloning)
    with pytest.raises(ValueError, match=r"there is a feedback 'error' already \(trc.model.feedback\); choose another"):
        feedback("error")(lambda *arguments: None)
