"""Replayed steps, Jacobians, costates and exact arrival."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

import trc
from trc.problems import DoubleIntegrator, QuadraticCost
from trc.steps import CHUNK, fast_step, linear_response


@pytest.mark.parametrize("name", trc.PROBLEMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(3,), (50,), (4, 5)])
def test_replayed_step_gives_the_same_bits(name, dtype, shape):
    problem = trc.make_problem(name)
    x, u = torch.randn(*shape, 2, dtype=dtype), torch.randn(*shape, 1, dtype=dtype)
    step = fast_step(problem, x, u, problem.parameters)
    assert problem.cache["step"] is not None
    first = step(x, u)
    assert torch.equal(first, problem.step(x, u, problem.parameters))
    assert torch.equal(step(first, u), problem.step(first, u, problem.parameters))
    assert torch.equal(first, problem.step(x, u, problem.parameters))  # not overwritten by the second


def test_replayed_step_follows_parameters_that_change():
    problem = trc.make_problem("van_der_pol")
    x, u = torch.randn(4, 2), torch.zeros(4, 1)
    for mu in (0.5, 0.6, torch.tensor(0.7), torch.tensor([0.5, 1.0, 2.0, 3.0])):
        step = fast_step(problem, x, u, {"mu": mu})
        assert torch.equal(step(x, u), problem.step(x, u, {"mu": mu}))


def test_jacobians_by_replay_are_those_by_autograd():
    problem = trc.make_problem("van_der_pol")
    count = CHUNK + 7  # a last chunk that is not whole
    x, u = torch.randn(3, count, 2, dtype=torch.float64), torch.randn(3, count, 1, dtype=torch.float64)
    mu = torch.rand(count, dtype=torch.float64)
    A, B = trc.step_jacobians(problem, x, u, {"mu": mu})
    problem.cache["jacobians"] = None  # as if the step could not be written out
    for replayed, expected in zip((A, B), trc.step_jacobians(problem, x, u, {"mu": mu}), strict=True):
        torch.testing.assert_close(replayed, expected, rtol=1e-13, atol=1e-13)


@dataclass(frozen=True, kw_only=True)
class Bouncing(DoubleIntegrator):
    """A step that looks at values, which can't be written out."""

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
    expected = [x]
    for t in range(15):
        expected.append(problem.step(expected[-1], u[:, t], {}))
    torch.testing.assert_close(states, torch.stack(expected, 1))


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


@dataclass(frozen=True, kw_only=True)
class Chain(DoubleIntegrator):
    """Four integrators in a row: hard to steer in little time."""

    state_names: tuple[str, ...] = ("a", "b", "c", "d")
    cost: QuadraticCost = QuadraticCost(Q=np.eye(4), R=np.eye(1), Q_final=np.eye(4))
    initial_range: tuple[tuple[float, float], ...] = ((-1, 1),) * 4
    target_range: tuple[tuple[float, float], ...] = ((0, 0),) * 4
    horizon: int = 30
    dt: float = 0.1

    def step(self, x, u, parameters):
        return torch.cat((x[..., :-1] + self.dt * x[..., 1:], x[..., -1:] + self.dt * u), -1)


def test_minimum_energy_arrives_or_says_so():
    x, target = torch.ones(1, 4, dtype=torch.float64), torch.zeros(1, 4, dtype=torch.float64)
    assert trc.minimum_energy(Chain(), x, target).states[:, -1].abs().max() < 1e-8
    for impossible in (Chain(horizon=3), Chain(dt=1e-5)):
        with pytest.raises(ValueError, match="can't reach every state"):
            trc.minimum_energy(impossible, x, target)


@dataclass(frozen=True, kw_only=True)
class Twins(DoubleIntegrator):
    """Two states that no control can part."""

    def step(self, x, u, parameters):
        return 0.9 * x + 0.1 * u


@pytest.mark.parametrize("horizon", [2, 5, 16, 30])
def test_minimum_energy_of_what_cannot_be_controlled_is_refused(horizon):
    with pytest.raises(ValueError, match="can't reach every state"):
        trc.minimum_energy(Twins(horizon=horizon), torch.tensor([[1.0, -1.0]]), torch.zeros(1, 2))
