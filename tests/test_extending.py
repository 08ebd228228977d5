"""To add a thing is to write it in one place: here each is written outside the package, and all go the whole way."""

import math

import pytest
import torch
from made_up import Rover

import trc
from trc.artifact import Experiment, experiment
from trc.cli import main
from trc.experts import EXPERTS
from trc.model.feedback import FEEDBACKS, Observation, feedback
from trc.problems import PROBLEMS, register
from trc.training import LOSSES, SCHEDULES

REGISTRIES = (PROBLEMS, EXPERTS, FEEDBACKS, LOSSES, SCHEDULES)


@pytest.fixture
def added():
    """A problem, an expert, a feedback, a loss and a schedule of one's own, for the length of a test."""
    before = [dict(registry) for registry in REGISTRIES]
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

    yield
    for registry, known in zip(REGISTRIES, before, strict=True):
        for name in set(registry) - set(known):
            del registry[name]


TRAINING = {"loss": "cloning_and_effort", "schedule": "halving"}


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
    outcomes = exp.judge(["test", "wide"])
    gaps = outcomes.by_seed(["gap", "success"])
    exp.write(runs=gaps, summary=outcomes.intervals(["gap"]), contrasts=outcomes.against("error", quantities=["gap"]))
    assert len(gaps) == 8
    assert (gaps[gaps["metric"] == "gap"]["value"] > -1e-6).all()  # against the best of the problem's own starts
    assert (tmp_path / "foreign" / "manifest.json").is_file()


def test_command_takes_it(added, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = ["generate", "--problem", "rover", "--num-samples", "20", "--expert", "left_or_right", "--output", "r.npz"]
    main([*data, "--jobs", "1"])
    options = ["--feedback", "nearest", "--loss", "cloning_and_effort", "--scheduler", "halving"]
    main(["train", "--data", "r.npz", "--model-size", "small", "--epochs", "1", "--output-dir", "run", *options])
    main(["refine", "--checkpoint", "run/best_model.safetensors", "--test-data", "r.npz"])
    assert "20 instances" in capsys.readouterr().out


def test_second_registration_of_a_name_is_one_clear_sentence(added):
    with pytest.raises(ValueError, match=r"there is an expert 'lqr' already \(trc.experts.lqr\); choose another name"):
        EXPERTS.register("lqr")(lambda problem, initial, target: None)
    with pytest.raises(ValueError, match=r"there is a loss 'cloning' already \(trc.training.losses\); choose another"):
        LOSSES.register("cloning")(lambda attempt, config: attempt.cloning)
    with pytest.raises(ValueError, match=r"there is a feedback 'error' already \(trc.model.feedback\); choose another"):
        feedback("error")(lambda *arguments: None)
