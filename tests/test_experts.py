"""Saturated LQR and the control of least energy."""

from dataclasses import dataclass

import control
import numpy as np
import pytest
import torch
from made_up import Cart, Rover, WayCost, with_step
from plain import step_by_step

import trc
from trc.problems.double_integrator import DoubleIntegrator

COST = trc.QuadraticCost(
    Q=[[2, 1, 0], [1, 3, 0], [0, 0, 0]], R=[[1, 0.2], [0.2, 0.5]], Q_final=[[9, 0, 1], [0, 5, 0], [1, 0, 7]]
)


@dataclass(frozen=True, kw_only=True)
class ThreeStates(Cart):
    """A linear problem with the cart's states and controls, and a constant drift at any target."""

    name: str = "three_states"
    cost: trc.QuadraticCost = COST
    control_low: tuple[float, ...] = (-1e6, -1e6)
    control_high: tuple[float, ...] = (1e6, 1e6)
    target_range: tuple = ((-1, 1), (-1, 1), (-1, 1))
    linear: bool = True

    def step(self, x, u, parameters):
        A, B = [[0.9, 0.3, 0.0], [-0.2, 1.1, 0.1], [0.0, 0.5, 0.7]], [[0.0, 1.0], [0.4, 0.0], [0.2, -0.3]]
        return x @ x.new_tensor(A).T + u @ x.new_tensor(B).T


def optimum_without_bounds(problem, initial, target):
    """Newton's step from zero controls, which is exact where the cost is quadratic in them."""
    zero = torch.zeros(1, problem.horizon, problem.control_dim, dtype=torch.float64)

    def cost(u):
        return problem.cost(step_by_step(problem, initial, u), u, target).sum()

    slope = torch.autograd.functional.jacobian(cost, zero)
    curvature = torch.autograd.functional.hessian(cost, zero).view(zero.numel(), zero.numel())
    return -torch.linalg.solve(curvature, slope.flatten()).view_as(zero)


@pytest.mark.parametrize("weights", [{}, {"Q": [[3, 1], [1, 1]], "R": [[2.0]]}], ids=["own weights", "other weights"])
def test_gains_of_a_long_horizon_are_those_of_control_dlqr(paper_problem, weights):
    problem, origin = paper_problem.replace(horizon=500, **weights), torch.zeros(1, 2, dtype=torch.float64)
    gains, offsets = trc.lqr_gains(problem, origin)
    (A,), (B,) = trc.step_jacobians(problem, origin, origin[:, :1])
    stationary, _, _ = control.dlqr(A.numpy(), B.numpy(), np.array(problem.cost.Q), np.array(problem.cost.R))
    np.testing.assert_allclose(gains[0, 0], stationary, rtol=1e-8)
    assert (offsets == 0).all()  # the origin is an equilibrium


UNBOUNDED = trc.make_problem(
    "double_integrator", control_low=[-1e6], control_high=[1e6], Q=[[10, 2], [2, 5]], target_range=((-1, 1), (-1, 1))
)


@pytest.mark.parametrize("problem", [UNBOUNDED, ThreeStates()], ids=lambda problem: problem.name)
def test_unbounded_lqr_is_the_optimum(problem, draw):
    initial, target = draw(problem, 4)  # the targets move, so they are no equilibria
    controls = trc.lqr(problem, initial, target).controls
    for x, goal, found in zip(initial.split(1), target.split(1), controls.split(1), strict=True):
        torch.testing.assert_close(found, optimum_without_bounds(problem, x, goal), rtol=0, atol=1e-8)


def test_gains_are_given_one_target_at_a_time(problem):
    target = torch.zeros(2, problem.state_dim, dtype=torch.float64)
    target[0, 0] = 0.5
    both = trc.lqr_gains(problem, target)
    for i in range(2):
        alone = trc.lqr_gains(problem, target[i : i + 1])
        torch.testing.assert_close([part[i] for part in both], [part[0] for part in alone], rtol=1e-12, atol=1e-12)


def test_saturated_lqr_is_the_clipped_law_reaches_its_bounds_and_holds_its_own_rollout_and_cost(paper_problem, draw):
    initial, target = draw(paper_problem.replace(target_range=((-1, 1), (-1, 1))), 200)
    solution = trc.lqr(paper_problem, initial, target)
    assert solution.controls.aminmax() == (paper_problem.control_low[0], paper_problem.control_high[0])
    states = trc.rollout(paper_problem, initial, solution.controls)
    torch.testing.assert_close(solution.states, states, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(solution.cost, paper_problem.cost(states, solution.controls, target), rtol=1e-12, atol=0)
    gains, offsets = trc.lqr_gains(paper_problem, target)
    deviation = (states[:, :-1] - target.unsqueeze(1)).unsqueeze(-1)
    law = paper_problem.clip(-(gains @ deviation).squeeze(-1) - offsets)
    torch.testing.assert_close(solution.controls, law, rtol=0, atol=1e-10)


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


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (torch.zeros(1, 2, dtype=torch.int64), "must be a floating-point tensor, got one of torch.int64"),
        ([[0.0, 0.0]], "must be a floating-point tensor, got list"),
        (torch.zeros(1, 3), r"must have shape \[any, 2\], got \[1, 3\]"),
    ],
)
def test_target_of_gains_is_checked(double_integrator, target, message):
    with pytest.raises(ValueError, match=f"target states of double_integrator {message}"):
        trc.lqr_gains(double_integrator, target)
    with pytest.raises(ValueError, match="ask for fewer instances or a shorter horizon"):
        trc.lqr_gains(double_integrator, torch.zeros(1, 2), 10**12)


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
        with pytest.raises(ValueError, match="can't reach"):
            trc.minimum_energy(problem, 1e-9 * initial, goal)  # in another unit
        with pytest.raises(ValueError, match="can't reach"):
            trc.minimum_energy(problem, torch.cat((initial, 0 * initial + 1e12)), torch.cat((goal, goal)))
    with pytest.raises(ValueError, match="needs a linear problem"):
        trc.minimum_energy(trc.make_problem("van_der_pol"), goal, goal)
