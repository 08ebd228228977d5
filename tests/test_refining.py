"""Measures of a recursion, descent without a network, and rules for when to stop."""

import math

import pytest
import torch

import trc
from trc.evaluation import recursion
from trc.evaluation.halting import cost_of, halts, mixed, threshold_for
from trc.experts.descent import adam_descent, projected_gradient
from trc.model.halting import HALTINGS, HaltingHead, halting_features, plan_changes
from trc.training.halting import GAP_FLOOR, gains, train_halting

TINY = {"latent_dim": 16, "hidden_dim": 32, "num_blocks": 1, "num_inner_cycles": 1, "num_heads": 2}


@pytest.fixture
def small(double_integrator):
    return trc.TinyRecursiveControl.create_small(problem=double_integrator, seed=0, **TINY).double()


def some_instances(problem, count=8):
    generator = torch.Generator().manual_seed(3)
    return problem.sample(count, generator=generator, dtype=torch.float64)


# Descent


@pytest.mark.parametrize("descend", [projected_gradient, adam_descent])
def test_descent_never_rises_and_counts_what_it_takes(van_der_pol, descend):
    x0, target = some_instances(van_der_pol)
    found = descend(van_der_pol, x0, target, steps=30)
    zero = torch.zeros(8, van_der_pol.horizon, 1).double()
    start = van_der_pol.cost(trc.rollout(van_der_pol, x0, zero), zero, target)
    torch.testing.assert_close(found.costs[:, 0], start)
    assert (found.costs.diff(dim=1) <= 0).all()
    assert (found.costs[:, -1] < 0.5 * start).any()
    assert (found.controls.abs() <= 2).all()
    last = van_der_pol.cost(trc.rollout(van_der_pol, x0, found.controls), found.controls, target)
    torch.testing.assert_close(found.costs[:, -1], last)
    assert (found.adjoints == torch.arange(31.0)).all()
    assert (found.rollouts.diff(dim=1) >= 1).all()
    assert (found.rollouts[:, 0] == 1).all()


def test_projected_gradient_arrives_at_the_optimum(double_integrator):
    x0, target = some_instances(double_integrator)
    best = trc.ilqr(double_integrator, x0, target)
    found = projected_gradient(double_integrator, x0, target, steps=500)
    torch.testing.assert_close(found.costs[:, -1], best.cost, rtol=1e-6, atol=1e-9)


def test_descent_from_the_optimum_stays_there(double_integrator):
    x0, target = some_instances(double_integrator)
    best = trc.ilqr(double_integrator, x0, target)
    found = projected_gradient(double_integrator, x0, target, start=best.controls, steps=3)
    torch.testing.assert_close(found.controls, best.controls, rtol=0, atol=1e-6)


# The map from controls to controls


def linear(monkeypatch, matrix):
    """A refinement that multiplies controls by a matrix."""
    monkeypatch.setattr(recursion, "refined", lambda model, x0, target, u: (u.flatten(1) @ matrix.mT).view_as(u))


def test_contraction_is_the_spectral_radius_of_a_linear_map(small, double_integrator, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(15, 15, generator=generator).double())[0]
    linear(monkeypatch, basis @ torch.diag(torch.linspace(0.05, 0.8, 15).double()) @ basis.mT)
    x0, target = some_instances(double_integrator)
    found = recursion.contraction(small, x0, target, torch.zeros(8, 15, 1).double(), generator, iterations=200)
    torch.testing.assert_close(found, torch.full((8,), 0.8).double(), rtol=1e-3, atol=0)


def test_contraction_of_a_turning_map_is_its_factor(small, double_integrator, monkeypatch):
    turn = torch.zeros(15, 15).double()
    turn[:2, :2] = 0.6 * torch.tensor([[math.cos(1), -math.sin(1)], [math.sin(1), math.cos(1)]]).double()
    linear(monkeypatch, turn)
    x0, target = some_instances(double_integrator)
    generator = torch.Generator().manual_seed(0)
    found = recursion.contraction(small, x0, target, torch.zeros(8, 15, 1).double(), generator)
    torch.testing.assert_close(found, torch.full((8,), 0.6).double(), rtol=1e-6, atol=0)


def test_refined_is_a_step_of_the_iterates(small, double_integrator):
    x0, target = some_instances(double_integrator)
    iterates = trc.propose(small, x0, target, 3)
    with torch.no_grad():
        torch.testing.assert_close(recursion.refined(small, x0, target, iterates[:, 2]), iterates[:, 3])


def test_what_carries_latents_is_no_map_of_controls(double_integrator):
    model = trc.TinyRecursiveControl.create_small(problem=double_integrator, carry_latents=True, **TINY)
    x0, target = double_integrator.sample(2, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="carries nothing but the controls"):
        recursion.refined(model, x0, target, torch.zeros(2, 15, 1))


def test_observed_rate_of_a_geometric_approach():
    iterates = (0.7 ** torch.arange(8).double()).view(1, 8, 1, 1).repeat(2, 1, 3, 1)
    iterates[1] = 1.0
    found = recursion.observed_rate(iterates)
    assert found[0].item() == pytest.approx(0.7)
    assert found[1].isnan()


def test_alignment_of_plans(small):
    plan = torch.randn(4, 15, 1, generator=torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(recursion.alignment(small, plan, 2 * plan), torch.ones(4).double())
    torch.testing.assert_close(recursion.alignment(small, plan, -plan), -torch.ones(4).double())


# Proposals under guard


def test_proposals_under_guard_are_as_many_as_were_asked_for(small, double_integrator):
    x0, target = some_instances(double_integrator)
    assert trc.propose(small, x0, target, 5, tolerance=1e9).shape == (8, 6, 15, 1)
    iterates = trc.propose(small, x0, target, 5, safeguard=True)
    costs = torch.stack(
        [double_integrator.cost(trc.rollout(double_integrator, x0, u), u, target) for u in iterates.unbind(1)], 1
    )
    assert (costs.diff(dim=1) <= 0).all()


# When to stop


def test_instances_halt_at_the_first_low_score_or_at_the_end():
    scores = torch.tensor([[3.0, 1.0, 2.0], [3.0, 3.0, 3.0], [0.5, 9.0, 0.0]])
    assert halts(scores, 1.0).tolist() == [2, 3, 1]
    costs = torch.tensor([[9.0, 8.0, 7.0, 6.0]] * 3)
    assert cost_of(costs, halts(scores, 1.0)).tolist() == [7.0, 6.0, 8.0]
    assert mixed(costs, 1.5).tolist() == [7.5] * 3


def test_threshold_gives_the_mean_and_a_lower_one_more():
    scores = torch.rand(500, 12, generator=torch.Generator().manual_seed(0))
    for mean in (1.5, 2.0, 4.0):
        threshold = threshold_for(scores, mean)
        assert mean - 0.1 < halts(scores, threshold).double().mean() <= mean
        assert halts(scores, threshold - 1e-3).double().mean() > mean


def test_gain_is_what_the_best_later_refinement_takes_off():
    found = gains(torch.tensor([[0.5, 0.1, 0.3, 0.2]]))
    wanted = torch.tensor([[0.4, 0.0, 0.1, 0.0]]) + GAP_FLOOR
    torch.testing.assert_close(found.exp(), wanted)


def test_heads_learn_to_go_on_where_it_helps():
    generator = torch.Generator().manual_seed(0)
    hard = torch.rand(400, 1, generator=generator) < 0.5
    gaps = torch.where(hard, torch.tensor([1.0, 0.5, 0.1, 1e-4]), torch.tensor([1e-4, 1e-4, 1e-4, 1e-4]))
    features = torch.stack((hard.float().expand(-1, 4), torch.arange(4.0).expand(400, -1)), -1)
    for kind in HALTINGS:
        scores = train_halting(kind, features, gaps, steps=300, learning_rate=1e-2).scores(features)
        assert scores[hard[:, 0], 0].min() > scores[~hard[:, 0], 0].max(), kind


def test_features_are_of_each_refinement(small, double_integrator):
    x0, target = some_instances(double_integrator)
    with torch.no_grad():
        output = small(x0, target, iterations=4, return_all_iterations=True)
    plans = output["all_controls"]
    states = [trc.rollout(double_integrator, x0, u) for u in plans.unbind(1)]
    pairs = zip(states, plans.unbind(1), strict=True)
    costs = torch.stack([double_integrator.cost(x, u, target) for x, u in pairs], 1)
    features = halting_features(small, output, costs, torch.stack([x[:, -1] for x in states], 1), target)
    assert features.shape == (8, 4, 4 + 2 + 16)
    change = (plans[:, 1] - plans[:, 0]).squeeze(-1) / 4
    torch.testing.assert_close(plan_changes(small, plans)[:, 0], change.square().mean(1).sqrt())


def test_unknown_head_is_refused():
    with pytest.raises(ValueError, match="halting"):
        HaltingHead("luck", 3)
