"""What the losses reward, by hand and by identity."""

import math
from functools import partial

import pytest
import torch
from plain import step_by_step

import trc
from trc.training.losses import (
    discounted_cost,
    improvement_reward,
    iterate_costs,
    rise_penalty,
    trajectory_loss,
    value_loss,
)

COSTS = torch.tensor([[8.0, 4.0, 6.0, 2.0], [10.0, 5.0, 5.0, 5.0]], dtype=torch.float64)
TEACHER = torch.tensor([2.0, 4.0], dtype=torch.float64)


def test_improvement_reward_by_hand():
    assert improvement_reward(COSTS).item() == pytest.approx(((4 - 2 + 4) / 8 / 3 + 5 / 10 / 3) / 2)
    assert improvement_reward(COSTS, reference="first-detached") == improvement_reward(COSTS)
    by_teacher = improvement_reward(COSTS, reference="teacher", teacher_costs=TEACHER)
    assert by_teacher.item() == pytest.approx((6 / 2 / 3 + 5 / 4 / 3) / 2)


def test_improvement_reward_telescopes():
    costs = 0.1 + torch.rand(200, 7, dtype=torch.float64)
    assert improvement_reward(costs).item() == pytest.approx(
        ((1 - costs[:, -1] / costs[:, 0]) / 6).mean().item(), 1e-12
    )
    shuffled = costs.clone()
    shuffled[:, 1:-1] = torch.rand(200, 5, dtype=torch.float64)  # the iterates in between do not matter
    assert improvement_reward(shuffled).item() == pytest.approx(improvement_reward(costs).item(), 1e-12)


@pytest.mark.parametrize(("reference", "sign"), [("first", 1), ("first-detached", 0), ("teacher", 1)])
def test_worse_first_guess_raises_the_reward_unless_it_is_detached(reference, sign):
    costs = COSTS.clone().requires_grad_()
    improvement_reward(costs, reference=reference, teacher_costs=TEACHER).backward()
    assert (costs.grad[:, 0].sign() == sign).all()
    assert costs.grad[:, 1:-1].abs().max() < 1e-15


@pytest.mark.parametrize("discount", [0.1, 0.5, 1.0])
def test_discounted_cost_wants_every_iterate_cheaper(discount):
    costs = COSTS.clone().requires_grad_()
    discounted_cost(costs, TEACHER, discount).backward()
    assert (costs.grad > 0).all()


def test_rise_penalty_rewards_a_worse_first_guess_only_where_the_next_one_is_worse():
    costs = torch.tensor([[2.0, 3.0, 1.0], [3.0, 2.0, 1.0]], requires_grad=True)
    rise_penalty(costs, torch.ones(2)).backward()
    assert costs.grad[:, 0].sign().tolist() == [-1, 0]


def test_discounted_cost_by_hand():
    assert discounted_cost(COSTS, TEACHER, 0.0).item() == pytest.approx((2 / 2 + 5 / 4) / 2)
    assert discounted_cost(COSTS, TEACHER, 1.0).item() == pytest.approx((20 / 4 / 2 + 25 / 4 / 4) / 2)
    weighted = (8 / 8 + 4 / 4 + 6 / 2 + 2) / (15 / 8)
    assert discounted_cost(COSTS[:1], TEACHER[:1], 0.5).item() == pytest.approx(weighted / 2)


def test_rises_alone_are_punished():
    assert rise_penalty(COSTS, TEACHER).item() == pytest.approx((2 / 2) / 6)
    assert rise_penalty(COSTS[1:], TEACHER[1:]) == 0


@pytest.mark.parametrize("feedback", ["none", "error"])
@pytest.mark.parametrize("create", ["create_small", "create_two_level_small"])
def test_iterate_costs_are_those_of_each_iterate(problem, draw, feedback, create):
    model = getattr(trc.TinyRecursiveControl, create)(problem=problem, feedback=feedback, seed=0).double()
    initial, target = draw(problem, 5)
    output = model(initial, target, return_all_iterations=True)
    assert ("all_states" in output) == (feedback == "error")
    costs = iterate_costs(output, initial, target, partial(trc.rollout, problem), problem.cost)
    assert costs.shape == (5, 4)
    for k in range(4):
        controls = output["all_controls"][:, k]
        expected = problem.cost(step_by_step(problem, initial, controls), controls, target)
        torch.testing.assert_close(costs[:, k], expected)


def test_only_the_last_iterate_is_simulated_again_and_final_states_alone_have_no_cost(double_integrator, draw):
    model = trc.TinyRecursiveControl.create_small(problem=double_integrator, feedback="error").double()
    initial, target = draw(double_integrator, 5)
    output, simulated = model(initial, target, return_all_iterations=True), []

    def final(initial, controls):
        simulated.append(len(controls))
        return trc.rollout(double_integrator, initial, controls)[:, -1]

    with pytest.raises(ValueError, match=r"needs trajectories \[B, T\+1, n\], but dynamics_fn returned final states"):
        iterate_costs(output, initial, target, final, double_integrator.cost)
    assert simulated == [5]


@pytest.mark.parametrize("create", ["create_small", "create_two_level_small"])
def test_truncation_leaves_the_simulated_iterates_their_gradient(double_integrator, draw, create):
    model = getattr(trc.TinyRecursiveControl, create)(
        problem=double_integrator, use_gradient_truncation=True, seed=0
    ).double()
    initial, target = draw(double_integrator, 5)
    gradients = []
    for again in (False, True):
        output = model(initial, target, return_all_iterations=True)
        if again:
            del output["all_states"]
        costs = iterate_costs(output, initial, target, partial(trc.rollout, double_integrator), double_integrator.cost)
        used = list(model.parameters())
        options = {"retain_graph": True, "materialize_grads": True}  # zeros where a weight has no part
        gradients.append([torch.autograd.grad(cost.mean(), used, **options) for cost in costs.T])
    torch.testing.assert_close(*gradients)


def test_trajectory_loss_counts_each_instance_relative_to_its_own_cost():
    costs = torch.tensor([1.0, math.e**3], dtype=torch.float64, requires_grad=True)
    loss = trajectory_loss(costs)
    loss.backward()
    assert loss.item() == pytest.approx(1.5)
    torch.testing.assert_close(costs.grad * costs.detach(), torch.full((2,), 0.5, dtype=torch.float64))


def test_value_loss_moves_the_prediction_and_not_the_costs():
    predicted = torch.tensor([[0.0, 1.0]], dtype=torch.float64, requires_grad=True)
    costs = torch.tensor([[math.e**2, math.e]], dtype=torch.float64, requires_grad=True)
    loss = value_loss(predicted, costs)
    loss.backward()
    assert loss.item() == pytest.approx((2**2 + 0) / 2)
    assert predicted.grad[0, 0] < 0  # too low
    assert costs.grad is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: improvement_reward(COSTS, reference="best"), "unknown reference 'best'; known are first"),
        (lambda: improvement_reward(COSTS, reference="teacher"), "needs teacher_costs"),
        (lambda: discounted_cost(COSTS, TEACHER, 1.5), "discount must lie between 0 and 1"),
    ],
)
def test_bad_options_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
