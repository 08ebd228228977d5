"""The command: what it writes, what it finds again, and how it tells what is wrong."""

import json
import re
import subprocess
import sys

import click
import pytest
import torch

import trc
from trc.cli import main
from trc.cli.main import trc as trc_command

SMALL = ["--model-size", "small", "--latent-dim", "16", "--num-heads", "2", "--num-blocks", "1"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(capsys):
    """Run a command; its output."""

    def command(*arguments):
        main([str(argument) for argument in arguments])
        return capsys.readouterr().out

    return command


def status(*arguments):
    """Run a command that does not end well; its exit status."""
    with pytest.raises(SystemExit) as exit:
        main([str(argument) for argument in arguments])
    return exit.value.code


@pytest.fixture
def fail(capsys):
    """Run a command that is refused; the one line that says why."""

    def command(*arguments):
        assert status(*arguments) == 2
        told = capsys.readouterr().err
        (line,) = [line for line in told.splitlines() if line.startswith("trc")]  # beside progress bars
        assert ": error: " in line and "Traceback" not in told
        return line

    return command


@pytest.fixture
def data(here, run):
    run("generate", "--num-samples", 40, "--output-dir", "data")
    return here / "data" / "lqr_dataset.npz"


@pytest.fixture
def checkpoint(here, run, data):
    run("train", "--data", data, "--epochs", 2, "--output-dir", "out", *SMALL)
    return here / "out" / "best_model.safetensors"


@pytest.fixture
def longer(here):
    """Data of a longer double integrator."""
    return trc.generate_dataset(trc.make_problem("double_integrator", horizon=20), 5, seed=1).save(here / "longer.npz")


# Data


def test_generated_data_are_those_of_the_library(run, data, double_integrator):
    expected = trc.generate_dataset(double_integrator, 40, seed=42)
    found = trc.load_dataset(data)
    assert found.origin == expected.origin
    assert torch.equal(found.control_sequences, expected.control_sequences)


def test_settings_of_the_problem(run, here):
    run(
        *("generate", "--problem", "vanderpol", "--num_samples", 5, "--num_steps", 20, "--time_horizon", 2.0),
        *("--expert", "ilqr", "--seed", 7, "--set", "mu=2", "--set", "control_high=[1]", "--output", "v.npz"),
    )
    data = trc.load_dataset(here / "v.npz")
    assert data.problem == trc.make_problem("van_der_pol", mu=2.0, horizon=20, dt=0.1, control_high=[1])
    assert (data.origin["expert"], data.origin["seed"], len(data)) == ("ilqr", 7, 5)


def test_data_are_found_again(run, data):
    before = data.stat().st_mtime_ns
    assert "found 40 instances of double_integrator" in run("generate", "--num-samples", 40, "--output-dir", "data")
    assert data.stat().st_mtime_ns == before


def test_other_data_are_not_overwritten(fail, data):
    before = data.read_bytes()
    said = fail("generate", "--num-samples", 41, "--seed", 1, "--output-dir", "data")
    assert "holds other data: seed (42 there, 1 here); num_samples (40 there, 41 here); choose another place" in said
    assert data.read_bytes() == before


# Training


def test_training_is_that_of_the_library(run, here, data):
    options = {"latent_dim": 16, "num_heads": 2, "num_blocks": 1}
    said = run(
        *("train", "--data_path", data, "--epochs", 3, "--batch_size", 16, "--learning-rate", 2e-3, "--seed", 4),
        *("--scheduler", "step", "--patience", 5, "--process_weight", 0.2, "--reference", "first-detached"),
        *("--use-two-level", "--H_cycles", 2, "--L_cycles", 3, "--use-gradient-truncation", "--output-dir", "out"),
        *SMALL,
    )
    loaded = trc.load_dataset(data)
    model = trc.TinyRecursiveControl.create_two_level_small(
        problem=loaded.problem, H_cycles=2, L_cycles=3, use_gradient_truncation=True, seed=4, **options
    )
    history = trc.train(
        *(model, loaded),
        **{"epochs": 3, "batch_size": 16, "learning_rate": 2e-3, "schedule": "step", "patience": 5},
        **{"loss": "process", "process_weight": 0.2, "reference": "first-detached", "seed": 4},
    )
    found = trc.load_model(here / "out" / "best_model.safetensors")
    assert found.config == model.config
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), model.parameters(), strict=True))
    assert f"{model.num_parameters():,} parameters" in said
    assert f"validation loss {min(history.validation_loss):.3g}" in said


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        (["--trm-style"], {"norm": "rms", "feedforward": "swiglu", "use_two_level": True, "norm_first": False}),
        (["--reasoning", "mlp", "--decoder", "full"], {"reasoning": "mlp", "decoder": "full"}),
        (["--feedback", "none", "--dropout", "0.1"], {"feedback": "none", "dropout": 0.1}),
        (["--num-outer-cycles", "5", "--num-inner-cycles", "2"], {"num_outer_cycles": 5, "num_inner_cycles": 2}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_kinds_of_networks(run, here, data, options, settings):
    run("train", "--data", data, "--epochs", 1, "--output-dir", "out", *SMALL, *options)
    config = trc.load_model(here / "out" / "best_model.safetensors").config
    assert {name: getattr(config, name) for name in settings} == settings


def test_value_predictor_is_trained_along(run, here, data):
    run("train", "--data", data, "--epochs", 1, "--output-dir", "out", "--use_value_predictor", *SMALL)
    assert trc.load_value_predictor(here / "out" / "best_model.safetensors").latent_dim == 16


def test_deep_supervision_is_that_of_the_library(run, here, data):
    options = {"most_depth": 5, "start_noise": 0.2, "gap_weight": 0.05, "gap_floor": 1e-3, "average": 0.5}
    words = [word for name, value in options.items() for word in ("--" + name.replace("_", "-"), value)]
    run("train", "--data", data, "--epochs", 1, "--output-dir", "out", *SMALL, *words)
    loaded = trc.load_dataset(data)
    sizes = {"latent_dim": 16, "num_heads": 2, "num_blocks": 1}
    model = trc.TinyRecursiveControl.create_small(problem=loaded.problem, seed=0, **sizes)
    trc.train(model, loaded, epochs=1, **options)
    found = trc.load_model(here / "out" / "best_model.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), model.parameters(), strict=True))


@pytest.mark.parametrize(
    ("options", "loss", "told"),
    [
        ("--use_two_level", "gap", True),
        ("--use-two-level", "gap", True),
        ("--trm-style", "gap", True),
        ("--use_value_predictor --value_weight 0.1", "gap", True),
        ("--use-two-level --loss cloning", "cloning", False),
        ("--use_two_level --process_weight 0.1", "process with process weight 0.1", False),
        ("--use-value-predictor --loss trajectory", "trajectory", False),
        ("", "gap", False),
    ],
)
def test_deep_supervision_where_process_supervision_may_be_meant_is_told(run, here, data, options, loss, told):
    said = run("train", "--data", data, "--epochs", 1, "--output-dir", "out", *SMALL, *options.split())
    assert f"loss {loss}\n" in said
    assert (
        "this is deep supervision of the gap" in said and "add --process-weight 0.1 and another --output-dir\n" in said
    ) == told


@pytest.mark.parametrize(("problem", "told"), [("van_der_pol", True), ("double_integrator", False)])
def test_data_of_an_expert_that_is_not_optimal_say_so(run, here, problem, told):
    for there in (False, True):  # whether they are made or found
        said = run("generate", "--problem", problem, "--num-samples", 4, "--output", "data.npz")
        assert ("found" in said) == there and ("its own teacher is --expert ilqr\n" in said) == told
    assert "own teacher" not in run("generate", "--problem", problem, "--num-samples", 4, "--expert", "ilqr")


def test_jobs_of_a_training_change_nothing(run, here, data):
    weights = []
    for jobs in ([], ["--jobs", 1], ["--jobs", 8]):
        run("train", "--data", data, "--epochs", 1, "--output-dir", f"out{len(weights)}", *SMALL, *jobs)
        weights.append((here / f"out{len(weights)}" / "best_model.safetensors").read_bytes())
    assert len(set(weights)) == 1


# Judgement


def test_evaluation_is_that_of_the_library(run, here, checkpoint, double_integrator):
    said = run("evaluate", "--checkpoint", checkpoint, "--num_eval_samples", 30, "--output", "results.json")
    results = json.loads((here / "results.json").read_text())
    test, model = trc.evaluation_set(double_integrator).first(30), trc.load_model(checkpoint)
    instances = test.initial_states, test.target_states
    best = trc.optimum(double_integrator, *instances).cost
    expected = trc.evaluate(model, double_integrator, *instances, reference_cost=best)
    found = results["metrics"] | results["refinement"]
    for name, value in expected.items():
        assert found[name] == pytest.approx(value)
    assert found["optimum_success"] == 1
    assert f"gap to the optimum    {expected['gap']:.3%}" in said
    assert len(results["refinement"]["iteration_costs"]) == len(results["refinement"]["control_mse"]) == 4
    assert results["training"]["epochs"] == 2
    assert results["training"]["samples_to_convergence"] in (36, 72)
    assert results["speed"]["weights_mb"] == pytest.approx(4e-6 * model.num_parameters())


def test_how_a_model_refines_can_be_said(run, here, checkpoint, double_integrator):
    options = ("--iterations", 5, "--start", "guess", "--start", "lqr", "--safeguard", "--tolerance", 1e-3)
    run("evaluate", "--checkpoint", checkpoint, "--num-eval-samples", 30, "--output", "results.json", *options)
    found = json.loads((here / "results.json").read_text())
    test, model = trc.evaluation_set(double_integrator).first(30), trc.load_model(checkpoint)
    how = {"iterations": 5, "start": ["guess", "lqr"], "safeguard": True, "tolerance": 1e-3}
    expected = trc.evaluate(model, double_integrator, test.initial_states, test.target_states, **how)
    assert found["metrics"]["cost"] == pytest.approx(expected["cost"])
    costs = found["refinement"]["iteration_costs"]
    assert len(costs) == 6 and costs == sorted(costs, reverse=True)
    lqr = trc.lqr(double_integrator, test.initial_states, test.target_states).cost.mean()
    assert costs[0] <= 1.00001 * lqr  # the network's plans are in float32


def test_comparison_is_that_of_the_library(run, here, checkpoint, double_integrator):
    said = run("compare", "--trc-checkpoint", checkpoint, "--num-eval-samples", 30, "--seed", 5, "--output", "c.json")
    methods = json.loads((here / "c.json").read_text())["methods"]
    test = trc.evaluation_set(double_integrator).first(30)
    instances, models = (test.initial_states, test.target_states), {"best_model": trc.load_model(checkpoint)}
    table = trc.compare(models, double_integrator, *instances, generator=torch.Generator().manual_seed(5))
    assert list(methods) == list(table.index)
    for name, row in methods.items():
        assert row == pytest.approx(table.loc[name].to_dict())
        assert re.search(rf"^{name} .*%", said, re.M)


def test_refinement_is_drawn_beside_its_baseline(run, here, data, checkpoint):
    run("train", "--data", data, "--epochs", 1, "--output-dir", "base", *SMALL)
    said = run("refine", "--checkpoint", checkpoint, "--baseline", "base/best_model.safetensors", "--data", data)
    found = json.loads((here / "refinement_analysis.json").read_text())
    assert list(found) == ["out", "base"]
    model, loaded = trc.load_model(checkpoint), trc.load_dataset(data)
    expected = trc.evaluate_refinement(
        model, loaded.problem, loaded.initial_states, loaded.target_states, expert_controls=loaded.control_sequences
    )
    assert found["out"].keys() == expected.keys()
    for name, value in expected.items():
        assert found["out"][name] == pytest.approx(value)
    assert f"last below first on {expected['share_improving']:.1%}" in said
    assert (here / "refinement_analysis.png").read_bytes().startswith(b"\x89PNG")


# All in one


def test_pipeline_makes_everything_and_finds_it_again(run, here):
    arguments = ("pipeline", 60, 2, "small", "--num-test", 20)
    said = run(*arguments)
    files = {str(path.relative_to(here)): path for path in here.rglob("*") if path.is_file()}
    folder = "outputs/supervised_small/"
    assert set(files) == {
        "data/lqr_train/lqr_dataset.npz",
        "data/lqr_test/lqr_dataset.npz",
        *(f"{folder}{name}.safetensors" for name in ("best_model", "last_model", "training_state")),
        *(f"{folder}{name}.json" for name in ("training_stats", "evaluation_results", "comparison_results")),
        f"{folder}training_curves.png",
    }
    assert trc.load_dataset(files["data/lqr_test/lqr_dataset.npz"]).origin["seed"] == 123
    assert "104,862 parameters" in said

    def kept():
        results = json.loads(files[f"{folder}evaluation_results.json"].read_text())
        return files[f"{folder}best_model.safetensors"].read_bytes(), results["metrics"]

    before, again = kept(), run(*arguments)
    assert all(f"found {what} " in again for what in ("60 instances", "20 instances", "2 of 2 epochs"))
    assert kept() == before


# What others register

PUDDLE = """
from dataclasses import dataclass

from trc.experts import EXPERTS, Trajectory
from trc.model.feedback import Observation, feedback
from trc.problems import register
from trc.problems.double_integrator import DoubleIntegrator
from trc.simulation import rollout
from trc.training import LOSSES, SCHEDULES

@register
@dataclass(frozen=True, kw_only=True)
class Puddle(DoubleIntegrator):
    "A drop that goes where it is pushed."

    teacher = "still"
    name: str = "puddle"
    horizon: int = 4
    linear: bool = False

    def step(self, x, u, parameters):
        return x + self.dt * u

@EXPERTS.register("still")
def still(problem, initial, target):
    controls = initial.new_zeros(len(initial), problem.horizon, problem.control_dim)
    states = rollout(problem, initial, controls)
    return Trajectory(states, controls, problem.cost(states, controls, target))

@feedback("halfway", size=lambda n, m, T: n)
def halfway(simulator, initial, target, controls, state_scale):
    states = simulator(initial, controls)
    return Observation(states, states[:, -1] - target, states[:, states.shape[1] // 2] - target)

@LOSSES.register("squared_cost")
def squared_cost(attempt, config):
    return attempt.cloning + config.process_weight * attempt.costs[:, -1].square().mean()

SCHEDULES.register("early")(lambda progress, losses: float(progress < 0.9))
"""


@pytest.fixture
def elsewhere(here, monkeypatch):
    """A file outside the package that registers a problem, an expert, a feedback, a loss and a schedule."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    (here / "puddle.py").write_text(PUDDLE)
    yield here / "puddle.py"
    sys.modules.pop("puddle", None)


def test_what_a_file_registers_is_known_to_the_command(run, here, elsewhere):
    assert "puddle" not in run("generate", "--help")
    assert "puddle" in run("--import", elsewhere, "generate", "--help")
    run("--import", elsewhere, "pipeline", 30, 1, "small", "--problem", "Puddle", "--num-test", 10)
    data = here / "data" / "puddle_still_train" / "lqr_dataset.npz"  # by the problem's own teacher
    assert trc.load_dataset(data).origin["expert"] == "still"
    said = run(
        *("train", "--data", data, "--epochs", 1, "--loss", "squared_cost", "--process-weight", 2),
        *("--scheduler", "early", "--feedback", "halfway", "--output-dir", "out", *SMALL),
    )
    assert "early, unrolled supervision, loss squared_cost with process weight 2" in said
    assert trc.load_model("out/best_model.safetensors").config.feedback == "halfway"
    for command, told in (("evaluate", "30 instances of puddle"), ("refine", "of 30 instances")):
        assert told in run(command, "--checkpoint", "out/best_model.safetensors", "--test-data", data)


def test_problem_that_lqr_cannot_solve_is_judged_without_it(run, here, elsewhere):
    steep = PUDDLE.replace("self.dt * u", "self.dt * u + 1e-9 * x.abs().sqrt()")  # no derivative at the target
    elsewhere.write_text(steep.replace('teacher = "still"', 'teacher, starts = "still", ("zero",)'))
    run("--import", elsewhere, "pipeline", 30, 1, "small", "--problem", "puddle", "--num-test", 10)
    folder = here / "outputs" / "puddle_small"
    few = ("--checkpoint", folder / "best_model.safetensors", "--num-eval-samples", 5)
    said = run("evaluate", *few)
    assert "gap to saturated LQR  none: LQR can't solve this problem" in said and "threshold 0.1 (the optimum" in said
    assert "saturated LQR is left out" in run("compare", *few)
    assert "gap_to_lqr" not in json.loads((folder / "evaluation_results.json").read_text())["metrics"]
    methods = json.loads((folder / "comparison_results.json").read_text())["methods"]
    assert set(methods) == {"random", "zero", "untrained", "trained", "optimum"}


@pytest.mark.parametrize("nested", [False, True], ids=["at the top", "nested"])
def test_problem_of_a_file_is_solved_in_other_processes(here, elsewhere, nested):
    if nested:  # other processes can't find it
        lines = PUDDLE.splitlines()
        at = lines.index("@register")
        inside = [f"    {line}" for line in lines[at:]]
        elsewhere.write_text("\n".join([*lines[:at], "def define():", *inside, "define()"]))
    command = ["--import", "puddle.py", "generate", "--problem", "puddle", "--expert", "still", "--num-samples", "3000"]
    at_once = "import trc.datasets; trc.datasets.START_OF_PROCESSES = 0; from trc.cli import main; main()"
    command = [sys.executable, "-c", at_once, *command, "--jobs", "2", "--output", "two.npz"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ("one process does all the work: " in done.stderr) == nested
    assert "3,000 instances of puddle, solved by still" in done.stdout


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("gone.py", None, "can't import gone.py: there is no such file"),
        ("gone_module", None, "can't import gone_module (ModuleNotFoundError: No module named 'gone_module')"),
        ("slip.py", "1 +", "can't import slip.py (SyntaxError: invalid syntax"),
        ("fault.py", "nothing", "can't import fault.py (NameError: name 'nothing' is not defined)"),
        ("json.py", "", "there is another module 'json'; give the file another name"),
    ],
)
def test_file_that_cannot_be_imported_is_told(fail, here, elsewhere, name, text, message):
    if text is not None:
        (here / name).write_text(text)
    assert message in fail("--import", name, "doctor")


# A look around


def test_doctor_finds_nothing_wrong(run):
    said = run("doctor")
    assert said.count("ok      ") == 4
    assert "all checks passed" in said


def test_doctor_tells_what_is_broken(monkeypatch, capsys):
    monkeypatch.setattr("trc.cli.demo.TOTALS", {"small": 1})
    assert status("doctor") == 1
    said = capsys.readouterr()
    assert "FAILED  all sizes: RuntimeError: small has 104,862 parameters, not 1" in said.out
    assert "1 of 4 checks failed" in said.err


@pytest.mark.slow
def test_demo_shows_four_things(run):
    said = run("demo")
    assert all(re.search(rf"^{number}  ", said, re.M) for number in (1, 2, 3, 4))
    assert "530,590 parameters" in said


COMMANDS = ("generate", "train", "evaluate", "compare", "refine", "demo", "doctor", "pipeline")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_explains_every_option(run, command):
    said = run(command, "--help")
    assert said.startswith(f"Usage: trc {command} ")
    options = [parameter for parameter in trc_command.commands[command].params if isinstance(parameter, click.Option)]
    assert [option.name for option in options if not option.help] == []
    assert all(option.opts[0] in said for option in options)
    assert set(COMMANDS) <= set(re.findall(r"^  ([a-z]+)  ", run("--help"), re.M))


# What is wrong is said in one line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("traln", "No such command 'traln'"),
        ("train", "Missing option '--data'"),
        ("compare --num-eval-samples 5", "Missing option '--trc-checkpoint'"),
        ("train --data DATA --xyz 1", "trc train: error: No such option '--xyz'. trc train --help lists all."),
        ("train --data none.npz", "no dataset at none.npz; make one with"),
        ("generate --set initial_range=[]", "has no initial_range and target_range, so it must define sample"),
        (f"generate --set horizon={'[' * 100_000}", "is no number or list, for example mu=2"),
        ("train --data DATA --jobs 0", "0 is not in the range x>=1"),
        ("train --data DATA --lr nan", "learning_rate must be a positive number, got nan"),
        ("train --data DATA --epochs 1.5", "'1.5' is not a valid integer"),
        ("train --data DATA --model-size huge", "'huge' is not one of 'small', 'medium', 'large'"),
        ("train --data DATA --loss mse", "'mse' is not one of 'cloning', 'process'"),
        ("train --data DATA --scheduler linear", "'linear' is not one of 'cosine', 'step', 'plateau', 'none'"),
        ("train --data DATA --device gpu", "unknown device 'gpu'; known are cpu, cuda"),
        ("train --data DATA --problem odd", "unknown problem 'odd'; known are "),
        ("train --data DATA --problem van-der-pol", "is for 'double_integrator', not for 'van_der_pol'"),
        ("train --data DATA --latent-dim 10 --num-heads 4", "latent_dim 10 must be a multiple of num_heads 4"),
        ("train --data DATA --output-dir DATA/out", "can't make the run's folder"),
        ("evaluate --checkpoint none.safetensors", "no checkpoint at none.safetensors"),
        ("evaluate --checkpoint DATA", "is not a readable trc checkpoint"),
        ("evaluate --checkpoint MODEL --problem van_der_pol", "is for 'double_integrator', not for 'van_der_pol'"),
        ("evaluate --checkpoint MODEL --num-eval-samples 2000", "there are only 1000 instances, not 2000"),
        ("evaluate --checkpoint MODEL --test-data LONGER", "horizon differ"),
        ("evaluate --checkpoint MODEL --num-eval-samples 5 --output DATA/x.json", "can't make the folder of"),
        ("train --data DATA --L-cycles 2", "--L-cycles is for --use-two-level"),
        ("train --data DATA --use-two-level --num-inner-cycles 2", "--num-inner-cycles is for one level"),
        ("train --data DATA --value-weight 2", "--value-weight is for --use-value-predictor"),
        ("train --data DATA --loss cloning --process-weight 2", "--process-weight is for process, discounted, hinge"),
        ("generate --output x.pkl", "a dataset is a .npz file, got x.pkl"),
        ("train --data DATA --lr 1e30 --epochs 2 --model-size small", "lower learning_rate (now 1e+30)"),
        ("evaluate --checkpoint MODEL --output MODEL", "the results are a .json file"),
        ("evaluate --checkpoint MODEL --num-eval-samples 5 --output /proc/x.json", "can't write /proc/x.json"),
        ("compare --checkpoint MODEL --checkpoint MODEL", "the same checkpoint is given twice"),
        ("generate --set name=2 --output x.npz", "has no setting 'name'"),
        ("generate --time-horizon 1e300 --num-samples 9 --output x.npz", "a number is too large to compute with"),
        ("pipeline 60 2 small --lr nan", "learning_rate must be a positive number, got nan"),
        ("refine --checkpoint MODEL --output x.pdf", "the figure is a .png file, got x.pdf"),
        ("generate --num-samples 0 --output x.npz", "num_samples must be a whole number, 1 or more, got 0"),
        ("generate --output x.npz --output-dir y", "give --output-dir or --output, not both"),
        ("generate --set mu", "'mu' is no name=value"),
        ("generate --set mu=x", "'x' is no number or list"),
        ("generate --expert mpc", "'mpc' is not one of 'lqr', 'ilqr', 'optimum'"),
        ("pipeline 10 1 huge", "'huge' is not one of"),
        ("pipeline ten", "'ten' is not a valid integer"),
        ("pipeline 1 1 small", "training needs at least 2 samples"),
    ],
)
def test_bad_input(fail, here, request, arguments, message):
    for name, fixture in (("DATA", "data"), ("MODEL", "checkpoint"), ("LONGER", "longer")):
        if name in arguments:
            arguments = arguments.replace(name, str(request.getfixturevalue(fixture)))
    assert message in fail(*arguments.split())


def test_interrupt_is_told(monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("trc.cli.generate.generate_dataset", interrupt)
    assert status("generate", "--output", "x.npz") == 130
    assert "give the same command again to go on" in capsys.readouterr().err
