"""The guides' examples run, and what they call does what the library does."""

import json

import guide_examples
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import trc
from trc import TinyRecursiveControl as Model
from trc import guide

pytestmark = pytest.mark.filterwarnings("ignore:device=.cuda. is not available")


def run(example, **names):
    exec(example, names)
    return names


def short(example):
    assert "epochs=100" in example
    return example.replace("epochs=100", "epochs=2")


def load(data, tmp_path, batch_size=8):
    """Loaders of a dataset, by way of a file."""
    return guide.create_data_loaders(*guide.load_dataset(data.save(tmp_path / "data.npz")), batch_size=batch_size)


@pytest.fixture
def loaders(van_der_pol, tmp_path):
    return load(trc.generate_dataset(van_der_pol, 20, seed=1), tmp_path, batch_size=64)


COST = {"Q": torch.eye(2), "R": torch.eye(1), "Q_final": torch.eye(2)}


# The examples


@pytest.mark.parametrize("change", [short, pytest.param(lambda example: example, marks=pytest.mark.slow)])
def test_custom_training_loop(tmp_path, monkeypatch, double_integrator, capfd, change):
    monkeypatch.chdir(tmp_path)
    trc.generate_dataset(double_integrator, 40, seed=1).save("data.npz")
    names = run(change(guide_examples.CUSTOM_LOOP))
    assert names["trained_model"] is names["model"]
    best = trc.load_model("outputs/custom/best_model.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(best.parameters(), names["model"].parameters(), strict=True))


@pytest.mark.parametrize("change", [short, pytest.param(lambda example: example, marks=pytest.mark.slow)])
def test_process_supervision_and_evaluation(tmp_path, monkeypatch, van_der_pol, loaders, capfd, change):
    monkeypatch.chdir(tmp_path)
    names = run(change(guide_examples.PROCESS_SUPERVISION), train_loader=loaders[0], val_loader=loaders[1])
    model = names["trained_model"]
    assert model.needs_simulator
    given = {"problem": van_der_pol, "dynamics_fn": names["dynamics_fn"], "test_loader": loaders[1]}
    run(guide_examples.EVALUATION, trained_model=model, **given)
    assert "Samples improving: " in capfd.readouterr().out
    assert (tmp_path / "refinement.png").read_bytes().startswith(b"\x89PNG")


def test_dynamics_of_ones_own(double_integrator, draw, capfd):
    def propagateOneStep(init_state, control, dt, numsteps):
        position, velocity = init_state.flatten()
        u = control.item()
        return np.array([[position + velocity * dt + u * dt**2 / 2], [velocity + u * dt]])

    names = run(guide_examples.OWN_DYNAMICS, propagateOneStep=propagateOneStep)
    dynamics_fn = names["create_dynamics_wrapper"](dt=1 / 3)
    model, ours = Model.create_small(seed=0), Model.create_small(seed=0)
    current, target = draw(double_integrator, 3, torch.float32)
    seen = model(current, target, dynamics_fn=dynamics_fn)  # knows no gradient
    with torch.no_grad():
        expected = ours(current, target, dynamics_fn=lambda x, u: trc.rollout(double_integrator, x, u))["errors"]
    torch.testing.assert_close(seen["errors"], expected, rtol=1e-4, atol=1e-4)
    seen["controls"].sum().backward()
    assert model.decode[0].weight.grad.abs().max() > 0
    model = Model.create_small(problem=double_integrator)
    run(guide_examples.REFINEMENT, model=model, current=current, target=target, torch=torch)
    out = capfd.readouterr().out
    assert out.count("Iteration ") == 4
    assert out.count(" error: ") == 3


def test_training_loop_of_ones_own(tmp_path, double_integrator, capfd):
    path = trc.generate_dataset(double_integrator, 200, seed=1).save(tmp_path / "data.npz")
    names = run(guide_examples.OWN_TRAINING)
    model = Model.create_small(problem=double_integrator, seed=0)
    assert names["train_supervised"](model, path, epochs=11) is model
    first, last = (float(line.split("= ")[1]) for line in capfd.readouterr().out.splitlines())
    assert last < first / 2


def test_reward_of_ones_own():
    def navigation_reward_func(prompts, completions, initial_state, target_state):
        assert all(len(text.split(";")) == 15 for text in completions)
        return [len(completions), len(initial_state), len(target_state)]

    names = run(guide_examples.OWN_REWARD, navigation_reward_func=navigation_reward_func)
    states = [[1.0, 0.0], [0.5, -0.5]]
    assert names["evaluate_trm_controls"](Model.create_small(), states, [[0.0, 0.0]] * 2) == [2, 2, 2]


# What they call


@pytest.mark.parametrize(
    ("train", "options", "tolerance"),
    [
        ("train", {}, 0),
        ("train_with_process_supervision", {"process_weight": 0.3}, 0),
        # what needs the expert's outcome has it; the loaders hold single precision
        ("train_with_process_supervision", {"loss": "hinge"}, 1e-5),
        ("train_with_process_supervision", {"reference": "teacher"}, 1e-5),
        ("train_with_process_supervision", {"state_weight": 0.5}, 1e-5),
    ],
    ids=str,
)
def test_training_is_that_of_the_library(tmp_path, double_integrator, capfd, train, options, tolerance):
    data = trc.generate_dataset(double_integrator, 40, seed=1)
    dtype = torch.float64 if tolerance else torch.float32
    ours, theirs = (Model.create_small(problem=double_integrator, seed=0).to(dtype) for _ in range(2))
    default = {"loss": "cloning" if train == "train" else "process"}
    trc.train(ours, data, epochs=2, batch_size=8, **default | options)
    assert getattr(guide, train)(theirs, *load(data, tmp_path), epochs=2, **options) is theirs
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


def test_supervised_training_needs_no_more_than_a_file(tmp_path, double_integrator, capfd):
    path = trc.generate_dataset(double_integrator, 20, seed=1).save(tmp_path / "data.npz")
    model = Model.create_small(seed=0)
    before = model.decode[0].weight.clone()
    assert guide.train_supervised(model, path, epochs=1, lr=1e-3) is model
    assert not torch.equal(model.decode[0].weight, before)
    assert not model.needs_simulator  # none was known


def test_cost_parameters_are_used_and_recorded(tmp_path, van_der_pol, loaders, capfd):
    cost = {"Q": torch.eye(2), "R": 0.5 * torch.eye(1), "Q_final": 3 * torch.eye(2)}
    weights = []
    for name, parameters in (("own", None), ("other", cost)):
        model = Model.create_small(problem=van_der_pol, seed=0)
        guide.train_with_process_supervision(
            model, *loaders, epochs=1, process_weight=10.0, cost_params=parameters, output_dir=tmp_path / name
        )
        weights.append(model.decode[0].weight)
    assert not torch.equal(*weights)
    recorded = json.loads((tmp_path / "other" / "training_stats.json").read_text())["setup"]["cost"]
    assert recorded == {"Q": [[1, 0], [0, 1]], "R": [[0.5]], "Q_final": [[3, 0], [0, 3]]}


def test_oscillator_is_the_problem_with_its_parameters(draw, van_der_pol):
    x, _ = draw(van_der_pol, 3)
    u = torch.randn(3, 7, 1, dtype=torch.float64, requires_grad=True)
    states = guide.simulate_vanderpol_torch(x, u, mu=2.0, dt=0.1)
    assert states.shape == (3, 8, 2)
    torch.testing.assert_close(states, trc.rollout(trc.make_problem("van_der_pol", mu=2.0, dt=0.1), x, u))
    states.sum().backward()
    assert torch.isfinite(u.grad).all()


def test_dynamics_by_name_are_those_of_the_problem_and_train(draw, van_der_pol, loaders, capfd):
    x, _ = draw(van_der_pol, 3)
    u = torch.randn(3, 100, 1, dtype=torch.float64)
    simulate = guide.create_dynamics_function("vanderpol", mu=2.0, dt=0.1)
    torch.testing.assert_close(simulate(x, u), guide.simulate_vanderpol_torch(x, u, mu=2.0, dt=0.1))
    model = Model.create_small(control_horizon=100, seed=0)
    before = model.decode[0].weight.clone()
    simulate = guide.create_dynamics_function("Van der Pol")
    guide.train_with_process_supervision(model, *loaders, dynamics_fn=simulate, cost_params=COST, epochs=1)
    assert not torch.equal(before, model.decode[0].weight)


def test_evaluator_measures_the_iterates(van_der_pol, draw):
    model = Model.create_small(problem=van_der_pol, seed=0)
    x, t = draw(van_der_pol, 7, torch.float32)
    label = trc.lqr(van_der_pol, x, t)
    loader = DataLoader(TensorDataset(x, t, label.controls), batch_size=3)
    evaluator = guide.RefinementEvaluator(model)
    metrics = evaluator.evaluate(loader)
    expected = trc.evaluate_refinement(model.eval(), van_der_pol, x, t, expert_controls=label.controls)
    assert metrics.summary["iteration_costs"] == pytest.approx(expected["iteration_costs"], rel=1e-4)
    assert metrics.summary["control_mse"] == pytest.approx(expected["control_mse"], rel=1e-4)
    assert evaluator.analyze_convergence(metrics) == {
        "pct_samples_improving": pytest.approx(100 * expected["share_improving"]),
        "pct_monotone": pytest.approx(100 * expected["monotone_share"]),
        "convergence_rate": pytest.approx(expected["convergence_rate"], rel=1e-3),
    }


def test_folder_of_a_run_with_another_simulator_is_refused(tmp_path, loaders, capfd):
    def train(mu):
        model, options = Model.create_small(control_horizon=100, seed=0), {"epochs": 1, "output_dir": tmp_path / "run"}
        simulate = lambda x, u: guide.simulate_vanderpol_torch(x, u, mu=mu)  # noqa: E731
        guide.train_with_process_supervision(model, *loaders, dynamics_fn=simulate, cost_params=COST, **options)

    train(1.0)
    with pytest.raises(ValueError, match="holds another run: it differs in sha256"):
        train(2.0)


@pytest.mark.parametrize(
    ("simulate", "message"),
    [
        (lambda x, u: guide.simulate_vanderpol_torch(x, u.detach()), "the gradient of the simulation, but dynamics_fn"),
        (lambda x, u: guide.simulate_vanderpol_torch(x, u)[:, -1], "the cost needs trajectories"),
    ],
    ids=["without gradient", "final states alone"],
)
def test_simulation_that_is_not_enough_for_the_loss_is_refused(loaders, simulate, message):
    model = Model.create_small(control_horizon=100)
    with pytest.raises(ValueError, match=message):
        guide.train_with_process_supervision(model, *loaders, dynamics_fn=simulate, cost_params=COST, epochs=1)


def test_evaluator_judges_by_the_problem_that_it_is_given(van_der_pol, draw):
    other = van_der_pol.replace(mu=2.0)
    model = Model.create_small(problem=van_der_pol, seed=0)
    x, t = draw(van_der_pol, 5, torch.float32)
    loader = DataLoader(TensorDataset(x, t, trc.lqr(other, x, t).controls), batch_size=5)
    metrics = guide.RefinementEvaluator(model, problem=other).evaluate(loader)
    output = model(x, t, dynamics_fn=lambda x, u: trc.rollout(other, x, u), return_all_iterations=True)
    for k, u in enumerate(output["all_controls"].unbind(1)):
        torch.testing.assert_close(metrics.costs[:, k], other.cost(trc.rollout(other, x, u), u, t))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, ls: guide.train_with_process_supervision(m, *ls), "the cost is not known: give cost_params"),
        (
            lambda m, ls: guide.train_with_process_supervision(m, *ls, cost_params={"Q": torch.eye(2), "S": 1}),
            "cost_params are Q, R and Q_final; missing or unknown: Q_final, R, S",
        ),
        (lambda m, ls: guide.train_with_process_supervision(m, *ls, cost_params=COST), "supervision needs dynamics_fn"),
        (lambda m, ls: guide.train(m, [], []), "train_loader must be a DataLoader"),
        (lambda m, ls: guide.train(m, *ls, state_weight=1.0), "state_weight needs a model that was made with problem="),
        (lambda m, ls: guide.train(m, *ls, loss="process"), "train is behaviour cloning; call train_with_process"),
        (lambda m, ls: guide.train(Model.create_small(), *ls), "horizon 15, the data have 2, 1 and 100"),
        (lambda m, ls: guide.train(m, *ls, device="gpu"), "unknown device 'gpu'"),
        (lambda m, ls: guide.RefinementEvaluator(m), "needs a problem or dynamics_fn"),
        (
            lambda m, ls: guide.RefinementEvaluator(m, "vanderpol"),
            "problem must be a Problem, got 'vanderpol'",
        ),
        (lambda m, ls: guide.create_dynamics_function("odd"), "unknown problem 'odd'; known are"),
        (lambda m, ls: guide.create_dynamics_function("vdp", mass=1), "has no setting 'mass'"),
    ],
)
def test_bad_calls_are_refused(loaders, call, message):
    with pytest.raises(ValueError, match=message):
        call(Model.create_small(control_horizon=100), loaders)


def test_missing_gpu_is_told(monkeypatch, double_integrator):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    model = Model.create_small(problem=double_integrator)
    with pytest.warns(UserWarning, match="not available here; the CPU is used"):
        assert guide.RefinementEvaluator(model, device="cuda").device == "cpu"
