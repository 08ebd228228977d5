import statistics

import pytest
import torch

import trc
from trc import evaluation
from trc.common.modes import evaluating
from trc.evaluation import refinement_metrics


def double(values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.fixture
def model(double_integrator):
    settings = {"latent_dim": 16, "hidden_dim": 24, "num_blocks": 1, "seed": 0}
    return trc.TinyRecursiveControl.create("small", problem=double_integrator, **settings)


def test_metrics_of_two_instances_by_hand():
    problem = trc.make_problem("double_integrator", dt=1.0, horizon=2)
    # controls +1, -1 from rest at the origin: (0, 0), (0.5, 1), (1, 0)
    initial, controls = double([[0, 0], [0, 0]]), double([[[1], [-1]], [[1], [-1]]])
    metrics = trc.instance_metrics(problem, initial, double([[1, 0.05], [-2, 4]]), controls)
    expected = {
        "terminal_error": [0.05, 5],
        "position_error": [0, 3],
        "velocity_error": [0.05, 4],
        "success": [1, 0],
        "cost": [10.0125 + 2.5 + 4.5125 + 0.2 + 0.25, 120 + 107.5 + 0.2 + 1800 + 1600],
        "control_effort": [2, 2],
    }
    assert set(metrics) == set(expected)
    for name, values in expected.items():
        torch.testing.assert_close(metrics[name], double(values), rtol=1e-12, atol=1e-12, msg=name)


def test_error_of_exactly_the_threshold_is_no_success():
    problem = trc.make_problem("double_integrator", dt=1.0, horizon=1, success_threshold=0.25)
    target = double([[0.25, 0], [0.2, 0]])
    success = trc.instance_metrics(problem, double([[0, 0]] * 2), target, double([[[0]]] * 2))["success"]
    assert success.tolist() == [0, 1]


def test_aggregate_of_three_instances_by_hand():
    metrics = {"cost": double([1, 3, 8]), "success": double([1, 0, 1])}
    report = trc.aggregate(metrics, double([1, 2, 4]))  # gaps 0, 0.5 and 1
    assert report == {
        "cost": pytest.approx(4),
        "success": pytest.approx(2 / 3),
        "gap": pytest.approx(12 / 7 - 1),
        "gap_median": pytest.approx(0.5),
        "gap_p99": pytest.approx(0.99),
    }


def test_monotone_share_by_hand():
    costs = double([[3, 2, 1], [1, 1, 1], [1, 2, 0], [0, 0, 1]])
    assert trc.monotone_share(costs) == 0.5
    assert trc.monotone_share(costs[:, :1]) == 1.0


def test_refinement_of_three_instances_by_hand():
    costs = double([[8, 4, 2], [3, 1, 2], [1, 2, 2]])  # falls; falls and rises a little; rises
    found = refinement_metrics(costs, control_mse=double([[4, 2, 1], [2, 1, 0], [0, 0, 2]]))
    assert found == {
        "iteration_costs": pytest.approx([4, 7 / 3, 2]),
        "improvements": pytest.approx([5 / 3, 1 / 3]),
        "convergence_rate": pytest.approx(1 - 0.5**0.5),
        "monotone_share": pytest.approx(1 / 3),
        "share_improving": pytest.approx(2 / 3),
        "control_mse": pytest.approx([2, 1, 1]),
    }


def test_single_iterate_is_no_refinement():
    with pytest.raises(ValueError, match="at least one iteration after the first guess"):
        refinement_metrics(double([[1.0], [2.0]]))


def test_evaluation_reports_the_last_iterate_against_lqr(model, double_integrator, draw):
    initial, target = draw(double_integrator, 30)
    iterates, label = trc.propose(model, initial, target), trc.lqr(double_integrator, initial, target)
    metrics = [trc.instance_metrics(double_integrator, initial, target, iterates[:, k]) for k in range(4)]
    costs, reference = torch.stack([m["cost"] for m in metrics], 1), label.cost
    distance = (iterates - label.controls.unsqueeze(1)).square().mean((-1, -2))
    found = refinement_metrics(costs, distance)
    own = trc.evaluate_refinement(model, double_integrator, initial, target, expert_controls=label.controls)
    assert own == {name: pytest.approx(value) for name, value in found.items()}
    expected = trc.aggregate(metrics[-1], reference)
    expected |= {name: found[name] for name in ("convergence_rate", "monotone_share", "share_improving")}
    assert trc.evaluate(model, double_integrator, initial, target) == pytest.approx(expected)
    first = trc.evaluate(model, double_integrator, initial, target, iterations=0)
    assert first == pytest.approx(trc.aggregate(metrics[0], reference))  # a single iterate can't fall
    own = trc.evaluate(model, double_integrator, initial, target, reference_cost=metrics[-1]["cost"])
    assert own["gap"] == own["gap_p99"] == 0


def test_proposals_are_the_models_iterates_in_the_dtype_of_the_question(monkeypatch, model, double_integrator, draw):
    initial, target = draw(double_integrator, 10)
    model.train()
    proposed = trc.propose(model, initial, target, iterations=6)
    assert model.training  # as before
    assert proposed.dtype == torch.float64
    own = model(initial.float(), target.float(), iterations=6, return_all_iterations=True)["all_controls"]
    torch.testing.assert_close(proposed, own.double(), rtol=0, atol=1e-6)
    monkeypatch.setattr(evaluation.models, "CHUNK", 3)
    torch.testing.assert_close(trc.propose(model, initial, target, iterations=6), proposed, rtol=0, atol=1e-6)


def test_random_controls_fill_their_bounds():
    problem = trc.make_problem("double_integrator", control_low=[-1], control_high=[3])
    first, again = (trc.random_controls(problem, 500, torch.Generator().manual_seed(s)) for s in (0, 0))
    assert torch.equal(first, again)
    assert first.shape == (500, 15, 1)
    assert -1 <= first.min() < -0.99
    assert 2.99 < first.max() <= 3
    assert first.mean().item() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("initial", "controls", "message"),
    [
        (torch.zeros(3, 2) / 0, torch.zeros(3, 15, 1), "must be finite, but 3 of 3"),
        (torch.zeros(3, 2), torch.zeros(3, 15, 2), r"controls of double_integrator must have shape \[3, 15, 1\]"),
        (torch.zeros(3, 2), torch.zeros(3, 7, 1), r"controls of double_integrator must have shape \[3, 15, 1\]"),
        (torch.zeros(3, 2), torch.full((3, 15, 1), 5.0), "must lie within the bounds of double_integrator; clip them"),
    ],
)
def test_bad_states_and_controls_are_refused(double_integrator, initial, controls, message):
    with pytest.raises(ValueError, match=message):
        trc.instance_metrics(double_integrator, initial, torch.zeros(3, 2), controls)


# Comparison


def test_comparison_has_every_method_judged_alike(model, double_integrator, draw):
    initial, target = draw(double_integrator, 40)
    models, chance = {"a": model, "b": model}, torch.Generator().manual_seed(3)
    table = trc.compare(models, double_integrator, initial, target, generator=chance)
    assert list(table.index) == ["random", "zero", "untrained", "a", "b", "lqr", "optimum"]
    label = trc.lqr(double_integrator, initial, target)
    own = trc.evaluate(model, double_integrator, initial, target, reference_cost=label.cost)
    for metric in ("terminal_error", "cost", "success", "control_effort"):
        assert table.loc["a", metric] == pytest.approx(own[metric])
    assert table.loc["a", "gap_to_lqr"] == pytest.approx(own["gap"])
    assert table.loc["b", "gap"] == table.loc["a", "gap"]
    assert table.loc["lqr", "gap_to_lqr"] == 0
    assert table.loc["optimum", "gap"] == pytest.approx(0, abs=1e-12)
    assert table.loc["lqr", "gap"] == pytest.approx(0, abs=1e-6)  # saturated LQR is optimal here
    assert table.loc["random", "error_reduction"] == 0
    errors = table["terminal_error"]
    assert table.loc["lqr", "error_reduction"] == pytest.approx(1 - errors["lqr"] / errors["random"])
    assert (table["cost_low"] <= table["cost_iqm"]).all() and (table["cost_iqm"] <= table["cost_high"]).all()
    assert table.loc["lqr", "cost_over_lqr_low"] == table.loc["lqr", "cost_over_lqr_high"] == 0
    assert table.loc["random", "cost_over_lqr_low"] > 0


def test_comparison_is_drawn_by_its_generator_alone(model, double_integrator, draw):
    x = draw(double_integrator, 10)
    state = torch.get_rng_state()
    first, again, other = (
        trc.compare(model, double_integrator, *x, generator=torch.Generator().manual_seed(seed), resamples=20)
        for seed in (0, 0, 1)
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert first.equals(again)
    assert not first.loc["random"].equals(other.loc["random"])
    assert not first.loc["untrained"].equals(other.loc["untrained"])
    assert first.loc["trained", "cost"] == other.loc["trained", "cost"]


def test_models_of_other_kinds_names_and_problems_are_refused(model, double_integrator, van_der_pol, draw):
    x, g = draw(double_integrator, 4), torch.Generator()
    for models, problem, message in (
        ({"lqr": None}, double_integrator, "model 'lqr' must be a ControlNetwork, got None; make it with"),
        ({}, double_integrator, "at least one model, got none"),
        ({"random": model, "optimum": model}, double_integrator, "can't be called optimum, random"),
        (model, van_der_pol, "'trained' is for 'double_integrator', not for 'van_der_pol'"),
    ):
        with pytest.raises(ValueError, match=message):
            trc.compare(models, problem, *x, generator=g)
    with pytest.raises(ValueError, match=r"the model is for 'double_integrator', not for 'van_der_pol'\."):
        trc.evaluate(model, van_der_pol, *x)


def test_network_is_as_it_was_after_a_failure_too(model):
    with pytest.raises(RuntimeError, match="stop"), evaluating(model.train()):
        assert not model.training
        raise RuntimeError("stop")
    assert model.training
    with evaluating(model.eval()):
        assert not model.training
    assert not model.training


# Speed


def test_speed_is_told_in_consistent_numbers(model, double_integrator):
    found = trc.measure_speed(model, double_integrator, batch_size=20, repeats=3)
    assert found["throughput"] == pytest.approx(20 / (found["batch_latency_ms"] / 1000))
    assert found["latency_ms_q1"] <= found["latency_ms"] <= found["latency_ms_q3"]
    assert found["weights_mb"] == pytest.approx(4 * model.num_parameters() / 1e6)
    assert 50 < found["peak_memory_mb"] < 100_000  # torch alone takes more than the one


def test_quartiles_are_those_of_the_times_taken(monkeypatch):
    clock = iter([0, 1, 10, 12, 20, 23, 30, 34, 40, 45])  # 1, 2, 3, 4 and 5 seconds
    monkeypatch.setattr(evaluation.speed.time, "perf_counter", lambda: next(clock))
    assert evaluation.speed._quartiles(lambda: None, 5) == statistics.quantiles([1, 2, 3, 4, 5], method="inclusive")
