"""iLQR ends at a stationary point within the bounds, whatever the start, and no worse than other solvers."""

from dataclasses import dataclass, replace

import ipopt
import pytest
import torch
from ipopt import VARIATIONS
from made_up import Cart, Rover, with_step
from plain import projected_gradient, step_by_step
from scipy.optimize import minimize

import trc
from trc.problems import Cost


def instances(problem, count=24, scale=1.0):
    generator = torch.Generator().manual_seed(5)
    return problem.sample(count, generator=generator, scale=scale, dtype=torch.float64)


PROBLEMS = {
    "double_integrator": trc.make_problem("double_integrator"),
    "tight double_integrator": trc.make_problem("double_integrator", control_low=(-0.5,), control_high=(0.5,)),
    "van_der_pol": trc.make_problem("van_der_pol", horizon=60),
    "cart": Cart(),
    "rover": Rover(),
}


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("start", ["lqr", "zero"])
def test_result_is_stationary_feasible_and_no_worse_than_lqr(name, start):
    problem = PROBLEMS[name]
    initial, target = instances(problem, scale=1.5)
    found = trc.ilqr(problem, initial, target, start=start)
    low, high = problem.bounds(initial)
    assert found.converged.all() and (found.residual <= 1e-7).all()
    assert projected_gradient(problem, initial, target, found.controls).max() < 1e-5  # of terms of up to 100
    assert ((found.controls >= low) & (found.controls <= high)).all()
    torch.testing.assert_close(found.states, trc.rollout(problem, initial, found.controls))
    if start == "lqr":
        assert (found.cost <= trc.lqr(problem, initial, target).cost * (1 + 1e-12)).all()


@pytest.mark.parametrize("name", ipopt.PROBLEMS)
@pytest.mark.parametrize("variation", VARIATIONS)
@pytest.mark.parametrize(
    ("start", "count"), [("zero", 8), *(pytest.param(start, 256, marks=pytest.mark.slow) for start in ("lqr", "zero"))]
)
def test_result_is_not_worse_than_that_of_ipopt(name, variation, start, count):
    found = ipopt.compare(ipopt.PROBLEMS[name], variation, count, start)
    assert found["ilqr_converged"] == found["ipopt_solved"] == count
    assert found["ilqr_residual"] <= 1e-7
    assert found["ipopt_residual"] < 1e-3
    assert found["cost_disagreement"] < 1e-10  # their dynamics and cost are ours
    assert found["largest_excess"] < 1e-6


@pytest.mark.parametrize("start", ["zero", "left", "right"])
def test_cost_that_is_not_quadratic_agrees_with_a_general_optimiser(start):
    """Where ours ends the other finds nothing better, and where the other ends, ours doesn't either."""
    problem = Rover(horizon=6)
    initial, target = instances(problem, 4)
    bounds = list(zip(problem.control_low, problem.control_high, strict=True)) * 4 * 6

    def cost_and_gradient(flat):
        u = torch.tensor(flat).view(4, 6, 2).requires_grad_()
        J = problem.cost(step_by_step(problem, initial, u), u, target).sum()
        J.backward()
        return J.item(), u.grad.flatten().numpy()

    def improve(controls):
        exact = {"jac": True, "bounds": bounds, "method": "L-BFGS-B", "options": {"ftol": 1e-15, "gtol": 1e-9}}
        return minimize(cost_and_gradient, controls.flatten().numpy(), **exact)

    ours = trc.ilqr(problem, initial, target, start=start)
    assert improve(ours.controls).fun == pytest.approx(ours.cost.sum().item(), rel=1e-9)
    theirs = improve(trc.ilqr(problem, initial, target, start=start, max_iterations=0).controls)
    after = trc.ilqr(problem, initial, target, start=torch.tensor(theirs.x).view(4, 6, 2))
    assert after.cost.sum().item() == pytest.approx(theirs.fun, rel=1e-9)


def test_optimum_tries_the_starts_that_the_problem_names():
    problem = Rover(horizon=6)
    initial, target = instances(problem, 4)
    best = trc.optimum(problem, initial, target)
    each = torch.stack([trc.ilqr(problem, initial, target, start=start).cost for start in problem.starts])
    torch.testing.assert_close(best.cost, each.min(0).values)
    assert len(set(each.argmin(0).tolist())) > 1  # no start is the best for all


def test_unfinished_instances_are_reported_and_not_called_converged():
    problem = PROBLEMS["van_der_pol"]
    initial, target = instances(problem, 4)
    best = trc.ilqr(problem, initial.float(), target.float())
    assert {t.dtype for t in (best.states, best.controls, best.cost)} == {torch.float32}  # as the question
    idle = torch.zeros_like(best.controls)
    alone = trc.ilqr(problem, initial, target, start=idle, max_iterations=1)
    assert not alone.converged.any() and (alone.residual > 1e-7).all() and (alone.iterations == 1).all()
    loose = trc.ilqr(problem, initial, target, start=idle, tolerance=0.1)
    assert loose.converged.all() and loose.residual.max() > 1e-7  # it goes no further than it is asked to
    solved = trc.ilqr(problem, initial, target).controls
    found = trc.ilqr(problem, initial, target, start=[idle, solved], max_iterations=1)
    assert found.converged.all() and (found.residual <= 1e-7).all()  # of two starts the better one says how it ended
    assert torch.equal(found.iterations, alone.iterations)  # one from zero controls, none from the best


@dataclass(frozen=True)
class Reward(trc.QuadraticCost):
    """A cost below zero, where what is lost to rounding counts as no improvement."""

    def final(self, state, target):
        return super().final(state, target) - 1e4


def test_search_ends_where_no_instance_gets_any_better():
    linear = PROBLEMS["double_integrator"]
    problem = replace(linear, cost=Reward(linear.cost.Q, linear.cost.R, linear.cost.Q_final))
    found = trc.ilqr(problem, *instances(problem, 4), start="zero", tolerance=1e-300)
    assert not found.converged.any() and (found.iterations < 100).all()
    assert found.residual.max() < 1e-9


def test_random_start_is_anywhere_within_the_bounds():
    problem = PROBLEMS["cart"]
    initial, target = instances(problem, 200)
    generator = torch.Generator().manual_seed(0)
    found = trc.ilqr(problem, initial, target, start="random", generator=generator, max_iterations=0)
    low, high = problem.bounds(initial)
    share = (found.controls - low) / (high - low)
    assert 0 <= share.min() and share.max() <= 1
    assert (share.mean((0, 1)) - 0.5).abs().max() < 0.03
    assert share.std() > 0.25


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_iterations": -1}, "max_iterations must be a whole number, 0 or more"),
        ({"tolerance": float("nan")}, "tolerance must be a positive number"),
        ({"start": None}, "unknown start None"),
        ({"start": "warm"}, "unknown start 'warm'; known are lqr, zero, random, left, right, or controls"),
        ({"start": []}, "start must name at least one of zero, left, right, or give controls"),
        ({"start": "random"}, "needs generator"),
        ({"start": torch.zeros(3)}, r"start controls must have shape \[2, 10, 2\]"),
    ],
)
def test_bad_options_are_refused(options, message):
    problem = PROBLEMS["rover"]
    with pytest.raises(ValueError, match=message):
        trc.ilqr(problem, *instances(problem, 2), **options)


@dataclass(frozen=True)
class Straight(Cost):
    """A cost that is linear in the first control and doesn't know the second."""

    def running(self, x, u, target):
        return (x - target).square().sum(-1) + 0.3 * u[..., 0]

    def final(self, x, target):
        return (x - target).square().sum(-1)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("controls", [1, 2])
def test_control_without_curvature_goes_to_its_bound_or_stays(controls, plain):
    bounds = {
        "control_names": ("u", "v")[:controls],
        "control_low": (-1.0,) * controls,
        "control_high": (2.0,) * controls,
    }
    problem = with_step(lambda problem, x, u, p: 0.9 * x + 0 * u[..., :1], horizon=5, cost=Straight(), **bounds)
    x = torch.ones(3, 2, dtype=torch.float64)
    start = torch.full((3, 5, controls), 0.25, dtype=torch.float64)
    with trc.accelerate(not plain):
        found = trc.ilqr(problem, x, 0 * x, start=start)
    assert found.converged.all() and found.controls[..., 0].eq(-1).all() and found.controls[..., 1:].eq(0.25).all()
