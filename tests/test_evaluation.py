import pytest
import torch

import trc
from trc import evaluation


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


def test_evaluation_reports_the_last_iterate_against_lqr(model, double_integrator, draw):
    initial, target = draw(double_integrator, 30)
    iterates = trc.propose(model, initial, target)
    metrics = [trc.instance_metrics(double_integrator, initial, target, iterates[:, k]) for k in range(4)]
    reference = trc.lqr(double_integrator, initial, target).cost
    costs = torch.stack([m["cost"] for m in metrics], 1)
    expected = trc.aggregate(metrics[-1], reference) | {"monotone_share": trc.monotone_share(costs)}
    assert trc.evaluate(model, double_integrator, initial, target) == expected
    first = trc.evaluate(model, double_integrator, initial, target, iterations=0)
    assert first == trc.aggregate(metrics[0], reference)  # a single iterate can't fall
    own = trc.evaluate(model, double_integrator, initial, target, reference_cost=metrics[-1]["cost"])
    assert own["gap"] == own["gap_p99"] == 0


def test_chunks_do_not_change_the_proposals(monkeypatch, model, double_integrator, draw):
    x = draw(double_integrator, 10)
    whole = trc.propose(model, *x)
    monkeypatch.setattr(evaluation, "CHUNK", 3)
    torch.testing.assert_close(trc.propose(model, *x), whole, rtol=0, atol=1e-6)


def test_proposals_are_the_models_iterates_in_the_dtype_of_the_question(model, double_integrator, draw):
    initial, target = draw(double_integrator, 5)
    model.train()
    proposed = trc.propose(model, initial, target, iterations=6)
    assert model.training  # as before
    assert proposed.dtype == torch.float64
    own = model(initial.float(), target.float(), iterations=6, return_all_iterations=True)["all_controls"]
    torch.testing.assert_close(proposed, own.double(), rtol=0, atol=1e-6)


def test_random_controls_fill_their_bounds():
    problem = trc.make_problem("double_integrator", control_low=[-1], control_high=[3])
    first, again = (trc.random_controls(problem, 500, torch.Generator().manual_seed(s)) for s in (0, 0))
    assert torch.equal(first, again)
    assert first.shape == (500, 15, 1)
    assert -1 <= first.min() < -0.99
    assert 2.99 < first.max() <= 3
    assert first.mean().item() == pytest.approx(1, abs=0.1)


def test_bad_states_and_controls_are_refused(double_integrator):
    zero = torch.zeros(3, 2)
    with pytest.raises(ValueError, match="must be finite, but 3 of 3"):
        trc.instance_metrics(double_integrator, zero / 0, zero, torch.zeros(3, 15, 1))
    with pytest.raises(ValueError, match=r"controls of double_integrator must have shape \[3, 15, 1\]"):
        trc.instance_metrics(double_integrator, zero, zero, torch.zeros(3, 15, 2))
