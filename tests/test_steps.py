"""Recorded steps, Jacobians, costates and exact arrival."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

import trc
from trc.problems import DoubleIntegrator
from trc.steps import fast_step, linear_response


@pytest.mark.parametrize("name", trc.PROBLEMS)
def test_recorded_step_gives_the_same_bits_for_any_batch(name):
    problem = trc.make_problem(name)
    for count in (3, 50):
        x, u = torch.randn(count, 2), torch.randn(count, 1)
        recorded = fast_step(problem, x, u, problem.parameters)
        assert torch.equal(recorded(x, u), problem.step(x, u, problem.parameters))


def test_recorded_step_follows_a_parameter_that_changes():
    problem = trc.make_problem("van_der_pol")
    x, u = torch.randn(4, 2), torch.zeros(4, 1)
    for mu in (torch.full((4,), 0.5), torch.full((4,), 3.0)):
        recorded = fast_step(problem, x, u, {"mu": mu})
        assert torch.equal(recorded(x, u), problem.step(x, u, {"mu": mu}))


def test_trying_many_numbers_records_nothing_and_follows_each():
    problem = trc.make_problem("van_der_pol")
    x, u = torch.randn(4, 2), torch.zeros(4, 1)
    for mu in (0.5, 0.6, 0.7):
        step = fast_step(problem, x, u, {"mu": mu})
        assert torch.equal(step(x, u), problem.step(x, u, {"mu": mu}))
    assert not problem.cache


@dataclass(frozen=True, kw_only=True)
class Bouncing(DoubleIntegrator):
    """A step that looks at values, which can't be recorded."""

    linear: bool = False

    def step(self, x, u, parameters):
        return -x if bool((x[..., 0] < 0).all()) else x


def test_step_that_branches_on_values_is_called_as_it_is():
    problem = Bouncing()
    x, u = torch.ones(2, 2), torch.zeros(2, 1)
    step = fast_step(problem, x, u, {})
    assert torch.equal(step(x, u), x)
    assert torch.equal(step(-x, u), x)


def test_linear_response_is_the_rollout():
    problem = trc.make_problem("double_integrator")
    x, u = torch.randn(6, 2, dtype=torch.float64), torch.randn(6, 15, 1, dtype=torch.float64)
    Phi, Gamma = linear_response(problem, 15, x)
    states = (x @ Phi + u.flatten(1) @ Gamma).unflatten(1, (16, 2))
    torch.testing.assert_close(states, trc.rollout(problem, x, u))


@pytest.mark.parametrize("name", trc.PROBLEMS)
def test_costate_is_the_gradient_by_autograd(name):
    problem = trc.make_problem(name)
    x, target = problem.sample(5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u = 0.3 * torch.randn(5, problem.horizon, 1, dtype=torch.float64)
    told = trc.costate(problem, x, u, target)
    x, u = x.requires_grad_(), u.requires_grad_()
    cost = problem.cost(trc.rollout(problem, x, u), u, target)
    by_autograd = torch.autograd.grad(cost.sum(), (x, u))
    torch.testing.assert_close(told.cost, cost.detach())
    torch.testing.assert_close(told.costate[:, 0], by_autograd[0])
    torch.testing.assert_close(told.gradient, by_autograd[1])


def test_minimum_energy_arrives_exactly_with_the_least_norm():
    problem = trc.make_problem("double_integrator")
    x, target = problem.sample(20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = trc.minimum_energy(problem, x, target)
    assert (found.states[:, -1] - target).abs().max() < 1e-10
    A, B = (m[0] for m in trc.step_jacobians(problem, x[:1], found.controls[:1, 0]))
    reach = torch.cat([torch.linalg.matrix_power(A, 14 - t) @ B for t in range(15)], 1).numpy()
    missing = (target - x @ torch.linalg.matrix_power(A, 15).mT).numpy()
    least = np.linalg.lstsq(reach, missing.T, rcond=None)[0].T  # the least-norm solution
    np.testing.assert_allclose(found.controls[..., 0].numpy(), least, atol=1e-10)


def test_minimum_energy_needs_a_linear_problem_that_can_arrive():
    van_der_pol = trc.make_problem("van_der_pol")
    with pytest.raises(ValueError, match="needs a linear problem"):
        trc.minimum_energy(van_der_pol, torch.zeros(1, 2), torch.zeros(1, 2))
    short = trc.make_problem("double_integrator", horizon=1)
    with pytest.raises(ValueError, match="can't reach every state in 1 steps"):
        trc.minimum_energy(short, torch.zeros(1, 2), torch.zeros(1, 2))
