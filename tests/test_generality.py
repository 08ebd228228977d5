"""A dozen lines make a problem; everything else follows from its step and its cost."""

import pytest
import torch
from ipopt import compare
from made_up import Cart
from plain import step_by_step

import trc


@pytest.fixture
def cart():
    return Cart()


@pytest.fixture
def instances(cart, draw):
    return draw(cart, 20)


def test_rollout_and_adjoint(cart, instances):
    x = instances[0][:3].clone().requires_grad_()
    u = torch.randn(3, 5, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True)
    drag = torch.tensor([0.1, 0.4, 2.0], dtype=torch.float64, requires_grad=True)
    states = trc.rollout(cart, x, u, {"drag": drag})
    torch.testing.assert_close(states[1:2], step_by_step(cart, x, u)[1:2])
    assert torch.autograd.gradcheck(lambda x, u, drag: trc.rollout(cart, x, u, {"drag": drag}), (x, u, drag))


def test_costate_is_the_gradient(cart, instances):
    initial, target = instances
    u = trc.lqr(cart, initial, target).controls.requires_grad_()
    cart.cost(step_by_step(cart, initial, u), u, target).sum().backward()
    torch.testing.assert_close(trc.costate(cart, initial, u.detach(), target).gradient, u.grad)


def test_costate_of_other_parameters_is_that_of_another_problem(cart, instances):
    initial, target = instances
    u = trc.lqr(cart, initial, target).controls
    drag = torch.linspace(0, 2, len(initial), dtype=torch.float64)
    told = trc.costate(cart, initial, u, target, {"drag": drag})
    other = trc.costate(cart.replace(drag=2.0), initial[-1:], u[-1:], target[-1:])
    torch.testing.assert_close(told.gradient[-1:], other.gradient)
    torch.testing.assert_close(told.costate[-1:], other.costate)


def test_lqr_reaches_its_bounds_and_beats_doing_nothing(cart, instances):
    initial, target = instances
    solved = trc.lqr(cart, initial, target)
    low, high = cart.bounds(initial)
    assert ((solved.controls == low) | (solved.controls == high)).any()
    idle = torch.zeros_like(solved.controls)
    assert (solved.cost < cart.cost(trc.rollout(cart, initial, idle), idle, target)).double().mean() > 0.9


def test_ilqr_agrees_with_ipopt(cart):
    found = compare(cart, "as it is", 8, "lqr")
    assert found["ilqr_converged"] == found["ipopt_solved"] == 8
    assert found["largest_excess"] < 1e-6
    assert found["largest_saving"] < 1e-6


def test_dataset(cart, tmp_path):
    data = trc.generate_dataset(cart, 12, seed=1, expert="ilqr")
    assert data.control_sequences.shape == (12, 12, 2)
    data.check_problem(cart)
    data.save(tmp_path / "cart.npz")
    assert torch.equal(trc.load_dataset(tmp_path / "cart.npz", cart).costs, data.costs)
    with pytest.raises(ValueError, match="drag differ"):
        trc.load_dataset(tmp_path / "cart.npz", cart.replace(drag=1.0))
    with pytest.raises(ValueError, match="cart"):
        data.check_problem(trc.make_problem("van_der_pol"))


def test_model_learns_from_it(cart):
    data = trc.generate_dataset(cart, 64, seed=1)
    model = trc.TinyRecursiveControl.create_small(problem=cart, feedback="error")
    history = trc.train(model, data, cart, epochs=3, seed=0)
    assert history.validation_loss[-1] < history.validation_loss[0]
