"""Saturated LQR and the control of least energy."""

import math
from dataclasses import dataclass

import control
import numpy as np
import pytest
import scipy.linalg
import torch
from made_up import Rover, WayCost, with_step

import trc
from trc.problems.double_integrator import DoubleIntegrator

COST = trc.QuadraticCost(
    Q=[[2, 1, 0], [1, 3, 0], [0, 0, 0]], R=[[1, 0.2], [0.2, 0.5]], Q_final=[[9, 0, 1], [0, 5, 0], [1, 0, 7]]
)


@dataclass(frozen=True, kw_only=True)
class ThreeStates(trc.Problem):
    """A linear problem of the test's own: three states, two controls, a constant drift at any target."""

    name: str = "three_states"
    state_names: tuple[str, ...] = ("a", "b", "c")
    control_names: tuple[str, ...] = ("u", "v")
    horizon: int = 12
    dt: float = 1.0
    cost: trc.QuadraticCost = COST
    control_low: tuple[float, ...] = (-1e6, -1e6)
    control_high: tuple[float, ...] = (1e6, 1e6)
    initial_range: tuple = ((-1, 1), (-1, 1), (-1, 1))
    target_range: tuple = ((-1, 1), (-1, 1), (-1, 1))
    linear: bool = True

    A = np.array([[0.9, 0.3, 0.0], [-0.2, 1.1, 0.1], [0.0, 0.5, 0.7]])
    B = np.array([[0.0, 1.0], [0.4, 0.0], [0.2, -0.3]])

    def step(self, x, u, parameters):
        return x @ x.new_tensor(self.A).T + u @ x.new_tensor(self.B).T


def unbounded(**settings):
    return trc.make_problem("double_integrator", control_low=[-1e6], control_high=[1e6], **settings)


def double_integrator_matrices(dt):
    exact = scipy.linalg.expm(np.array([[0, 1, 0], [0, 0, 1], [0, 0, 0]]) * dt)
    return exact[:2, :2], exact[:2, 2:]


def van_der_pol_matrices(dt, mu=1.0):
    """RK4 of the linear system at the origin: the exponential series, cut after the fourth power."""
    M, N = np.array([[0, 1], [-1, mu]]), np.array([[0], [1]])
    powers = [np.linalg.matrix_power(M * dt, k) / math.factorial(k) for k in range(5)]
    return sum(powers), dt * sum(powers[k] / (k + 1) for k in range(4)) @ N


def least_squares_controls(A, B, cost, initial, target, horizon):
    """The optimum of a linear problem as one dense least-squares problem over all controls."""
    n, m = B.shape
    free = np.concatenate([np.linalg.matrix_power(A, t) for t in range(1, horizon + 1)])
    forced = np.zeros((horizon * n, horizon * m))
    for t in range(1, horizon + 1):
        for s in range(t):
            forced[(t - 1) * n : t * n, s * m : (s + 1) * m] = np.linalg.matrix_power(A, t - 1 - s) @ B

    def root(matrix):  # W with WᵀW = matrix
        values, vectors = np.linalg.eigh(np.array(matrix))
        return np.diag(np.sqrt(values.clip(0))) @ vectors.T

    weigh = scipy.linalg.block_diag(*[root(cost.Q)] * (horizon - 1), root(cost.Q_final))
    rows = np.concatenate((weigh @ forced, scipy.linalg.block_diag(*[root(cost.R)] * horizon)))
    right = np.concatenate((weigh @ (np.tile(target, horizon) - free @ initial), np.zeros(horizon * m)))
    return np.linalg.lstsq(rows, right, rcond=None)[0].reshape(horizon, m)


@pytest.mark.parametrize(
    ("name", "matrices", "horizon"),
    [("double_integrator", double_integrator_matrices, 100), ("van_der_pol", van_der_pol_matrices, 500)],
)
@pytest.mark.parametrize("weights", [{}, {"Q": [[3, 1], [1, 1]], "R": [[2.0]]}], ids=["own weights", "other weights"])
def test_gains_of_a_long_horizon_are_those_of_control_dlqr(name, matrices, horizon, weights):
    problem = trc.make_problem(name, horizon=horizon, **weights)
    gains, offsets = trc.lqr_gains(problem, torch.zeros(1, 2, dtype=torch.float64))
    stationary, _, _ = control.dlqr(*matrices(problem.dt), np.array(problem.cost.Q), np.array(problem.cost.R))
    np.testing.assert_allclose(gains[0, 0], stationary, rtol=1e-8)
    assert (offsets == 0).all()  # the origin is an equilibrium


@pytest.mark.parametrize("target", [(0.5, 0.0), (-0.3, 0.7)], ids=["at rest", "moving: no equilibrium"])
def test_unbounded_lqr_is_the_least_squares_solution(target):
    problem = unbounded(Q=[[10, 2], [2, 5]])
    initial = torch.tensor([[1.5, -2.0]], dtype=torch.float64)
    solution = trc.lqr(problem, initial, torch.tensor([target], dtype=torch.float64))
    A, B = double_integrator_matrices(problem.dt)
    expected = least_squares_controls(A, B, problem.cost, initial[0].numpy(), np.array(target), problem.horizon)
    np.testing.assert_allclose(solution.controls[0], expected, rtol=0, atol=1e-8)


def test_problem_of_ones_own_needs_nothing_but_its_step(draw):
    problem = ThreeStates()
    initial, target = draw(problem, 4)
    solution = trc.lqr(problem, initial, target)
    for i in range(4):
        expected = least_squares_controls(
            problem.A, problem.B, problem.cost, initial[i].numpy(), target[i].numpy(), problem.horizon
        )
        np.testing.assert_allclose(solution.controls[i], expected, rtol=0, atol=1e-8)


def test_gains_are_given_one_target_at_a_time(problem):
    target = torch.tensor([[0.5, 0.0], [0.0, 0.0]], dtype=torch.float64)
    gains, offsets = trc.lqr_gains(problem, target)
    assert gains.shape == (2, problem.horizon, 1, 2)
    assert offsets.shape == (2, problem.horizon, 1)
    for i in range(2):
        alone = trc.lqr_gains(problem, target[i : i + 1])
        torch.testing.assert_close((gains[i], offsets[i]), (alone[0][0], alone[1][0]), rtol=1e-12, atol=1e-12)


def test_saturated_lqr_stays_in_its_bounds_reaches_them_and_holds_its_own_rollout_and_cost(problem, draw):
    initial, target = draw(problem, 200)
    solution = trc.lqr(problem, initial, target)
    assert (solution.controls.min(), solution.controls.max()) == (problem.control_low[0], problem.control_high[0])
    states = trc.rollout(problem, initial, solution.controls)
    torch.testing.assert_close(solution.states, states, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(solution.cost, problem.cost(states, solution.controls, target), rtol=1e-12, atol=0)


def test_lqr_beats_random_controls_on_every_instance(double_integrator, draw):
    initial, target = draw(double_integrator, 200)
    controls = trc.random_controls(double_integrator, 200, torch.Generator().manual_seed(1))
    random = double_integrator.cost(trc.rollout(double_integrator, initial, controls), controls, target)
    assert (trc.lqr(double_integrator, initial, target).cost < random).all()


def test_lqr_of_a_general_cost_is_that_of_its_curvature_at_the_target(draw):
    """Where the target is an equilibrium the cost's slope vanishes, and its Hessian is all there is."""
    rover = Rover(cost=WayCost(hill=0.0))
    initial, target = draw(rover, 5)
    weights = {"Q": torch.diag(torch.tensor([0.5, 0.5, 0])), "R": 0.1 * torch.eye(2)}
    alike = Rover(cost=trc.QuadraticCost(**weights, Q_final=20 * weights["Q"]))
    for mine, theirs in zip(trc.lqr_gains(rover, target), trc.lqr_gains(alike, target), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-9)
    assert torch.allclose(trc.lqr(rover, initial, target).controls, trc.lqr(alike, initial, target).controls, atol=1e-6)


def test_lqr_without_curvature_or_that_overflows_is_refused():
    flat, steep = Rover(cost=WayCost(effort=0.0, arrival=0.0)), trc.make_problem("van_der_pol", mu=1e4, horizon=400)
    for problem in (flat, steep):
        zero = torch.zeros(1, problem.state_dim)
        with pytest.raises(ValueError, match=r"the Riccati recursion overflows, or the cost does not curve .*\.$"):
            trc.lqr(problem, zero, zero)
    with pytest.raises(ValueError, match="rollout overflows"):
        trc.lqr(trc.make_problem("van_der_pol"), torch.full((2, 2), 1e3), torch.zeros(2, 2))


@pytest.mark.parametrize("expert", [trc.lqr, trc.ilqr, trc.optimum, trc.minimum_energy])
def test_experts_want_a_problem_and_costs_that_are_numbers(double_integrator, expert):
    with pytest.raises(ValueError, match="problem must be a Problem"):
        expert("double_integrator", torch.zeros(2, 2), torch.zeros(2, 2))
    with pytest.raises(ValueError, match=r"costs in torch\.float32 must be finite"):
        expert(double_integrator, torch.zeros(2, 2), torch.full((2, 2), 1e25))


def test_answer_has_the_dtype_of_the_question_and_is_computed_in_double(problem, draw):
    initial, target = draw(problem, 8, torch.float32)
    single, double = trc.lqr(problem, initial, target), trc.lqr(problem, initial.double(), target.double())
    assert torch.equal(single.controls, double.controls.float())
    assert torch.equal(single.cost, double.cost.float())


# The least energy


def test_minimum_energy_arrives_exactly_with_the_least_norm(double_integrator, draw):
    problem, (x, target) = double_integrator, draw(double_integrator, 20)
    found = trc.minimum_energy(problem, x, target)
    assert (found.states[:, -1] - target).abs().max() < 1e-10
    A, B = (m[0] for m in trc.step_jacobians(problem, x[:1], found.controls[:1, 0]))
    reach = torch.cat([torch.linalg.matrix_power(A, 14 - t) @ B for t in range(15)], 1).numpy()
    missing = (target - x @ torch.linalg.matrix_power(A, 15).mT).numpy()
    least = np.linalg.lstsq(reach, missing.T, rcond=None)[0].T  # the least-norm solution
    np.testing.assert_allclose(found.controls[..., 0].numpy(), least, atol=1e-10)


IDENTITIES = trc.QuadraticCost(Q=np.eye(4), R=np.eye(1), Q_final=np.eye(4))


@dataclass(frozen=True, kw_only=True)
class Chain(DoubleIntegrator):
    """Four integrators in a row: hard to steer in little time."""

    state_names: tuple[str, ...] = ("a", "b", "c", "d")
    cost: trc.QuadraticCost = IDENTITIES
    initial_range: tuple[tuple[float, float], ...] = ((-1, 1),) * 4
    target_range: tuple[tuple[float, float], ...] = ((0, 0),) * 4
    horizon: int = 30
    dt: float = 0.1

    def step(self, x, u, parameters):
        return torch.cat((x[..., :-1] + self.dt * x[..., 1:], x[..., -1:] + self.dt * u), -1)


def test_minimum_energy_arrives_or_says_so():
    x, target = torch.ones(1, 4, dtype=torch.float64), torch.zeros(1, 4, dtype=torch.float64)
    assert trc.minimum_energy(Chain(), x, target).states[:, -1].abs().max() < 1e-8
    twins = with_step(lambda problem, x, u, p: 0.9 * x + 0.1 * u, linear=True)  # no control can part them
    impossible = [Chain(horizon=3), Chain(dt=1e-5), trc.make_problem("double_integrator", horizon=1)]
    for problem in impossible + [twins.replace(horizon=horizon) for horizon in (2, 5, 16, 30)]:
        initial, goal = torch.ones(1, problem.state_dim), torch.zeros(1, problem.state_dim)
        initial[:, -1] = -1
        with pytest.raises(ValueError, match=f"can't reach every state in {problem.horizon} steps"):
            trc.minimum_energy(problem, initial, goal)
    with pytest.raises(ValueError, match="needs a linear problem"):
        trc.minimum_energy(trc.make_problem("van_der_pol"), goal, goal)
