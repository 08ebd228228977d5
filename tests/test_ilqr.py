"""iLQR ends at a stationary point within the bounds, whatever the start."""

import itertools

import pytest
import torch
from made_up import Cart
from scipy.optimize import lsq_linear

import trc
from trc.experts.ilqr import box_minimum


def projected_gradient(problem, initial, target, controls):
    """The residual once more, by step-by-step autograd instead of the adjoint."""
    u = controls.clone().requires_grad_()
    states = [initial]
    for t in range(problem.horizon):
        states.append(problem.step(states[-1], u[:, t], problem.parameters))
    problem.cost(torch.stack(states, 1), u, target).sum().backward()
    return (controls - problem.clip(controls - u.grad)).abs().amax((1, 2))


def instances(problem, count=24, scale=1.0):
    generator = torch.Generator().manual_seed(5)
    return problem.sample(count, generator=generator, scale=scale, dtype=torch.float64)


PROBLEMS = {
    "double_integrator": trc.make_problem("double_integrator"),
    "tight double_integrator": trc.make_problem("double_integrator", control_low=(-0.5,), control_high=(0.5,)),
    "van_der_pol": trc.make_problem("van_der_pol", horizon=60),
    "cart": Cart(),
}


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("start", ["lqr", "zero"])
def test_result_is_stationary_feasible_and_no_worse_than_lqr(name, start):
    problem = PROBLEMS[name]
    initial, target = instances(problem, scale=1.5)
    found = trc.ilqr(problem, initial, target, start=start)
    low, high = problem.bounds(initial)
    assert found.converged.all()
    assert projected_gradient(problem, initial, target, found.controls).max() < 2e-6
    assert ((found.controls >= low) & (found.controls <= high)).all()
    torch.testing.assert_close(found.states, trc.rollout(problem, initial, found.controls))
    if start == "lqr":
        assert (found.cost <= trc.lqr(problem, initial, target).cost * (1 + 1e-12)).all()


def test_bounded_linear_problem_agrees_with_a_bounded_least_squares_solver():
    problem = PROBLEMS["tight double_integrator"]
    initial, target = instances(problem, 6)
    A, B = (m[0] for m in trc.step_jacobians(problem, torch.zeros(1, 2).double(), torch.zeros(1, 1).double()))
    T, Q, R, Q_final = problem.horizon, *problem.cost.matrices(initial)
    weights = torch.block_diag(*[Q.sqrt()] * (T - 1), Q_final.sqrt())
    gamma = torch.zeros(2 * T, T, dtype=torch.float64)
    for t, s in itertools.product(range(T), range(T)):
        if s <= t:
            gamma[2 * t : 2 * t + 2, s] = (torch.linalg.matrix_power(A, t - s) @ B)[:, 0]
    stacked = torch.cat((weights @ gamma, R.sqrt() * torch.eye(T, dtype=torch.float64)))
    found = trc.ilqr(problem, initial, target, tolerance=1e-10)
    for x, goal, controls in zip(initial, target, found.controls, strict=True):
        free = torch.cat([torch.linalg.matrix_power(A, t + 1) @ x - goal for t in range(T)])
        wanted = torch.cat((-weights @ free, torch.zeros(T, dtype=torch.float64)))
        exact = lsq_linear(stacked.numpy(), wanted.numpy(), (-0.5, 0.5), tol=1e-14, method="bvls")
        assert abs(controls[:, 0].numpy() - exact.x).max() < 1e-7


@pytest.mark.parametrize("m", [1, 2, 3])
def test_box_minimum_agrees_with_trying_every_active_set(m):
    generator = torch.Generator().manual_seed(m)
    count = 40
    root = torch.randn(count, m, m, generator=generator, dtype=torch.float64)
    H = root @ root.mT + 0.1 * torch.eye(m)
    g = 3 * torch.randn(count, m, 1, generator=generator, dtype=torch.float64)
    low, high = (
        -torch.rand(count, m, 1, generator=generator).double(),
        torch.rand(count, m, 1, generator=generator).double(),
    )
    d, _ = box_minimum(H, g, low, high)

    def value(d):
        return (0.5 * d.mT @ H @ d + g.mT @ d).flatten()

    best = torch.full((count,), torch.inf, dtype=torch.float64)
    for sides in itertools.product((-1, 0, 1), repeat=m):
        side = torch.tensor(sides).reshape(1, m, 1).expand(count, m, 1)
        fixed = torch.where(side < 0, low, torch.where(side > 0, high, torch.zeros_like(g)))
        free = (side == 0).double()
        masked = free * H * free.mT + torch.diag_embed(1 - free.squeeze(-1))
        candidate = fixed - free * torch.linalg.solve(masked, free * (g + H @ fixed))
        inside = ((candidate >= low - 1e-12) & (candidate <= high + 1e-12)).all(1).flatten()
        best = torch.minimum(best, torch.where(inside, value(candidate), best))
    torch.testing.assert_close(value(d), best, rtol=1e-9, atol=1e-9)


def test_of_several_starts_the_cheaper_result_is_kept():
    problem = PROBLEMS["van_der_pol"]
    initial, target = instances(problem, 8, scale=2.0)
    generator = torch.Generator().manual_seed(0)
    several = trc.ilqr(problem, initial, target, start=["lqr", "zero", "random"], generator=generator)
    for start in ("lqr", "zero"):
        assert (several.cost <= trc.ilqr(problem, initial, target, start=start).cost).all()


def test_unfinished_instances_are_reported_and_not_called_converged():
    problem = PROBLEMS["van_der_pol"]
    initial, target = instances(problem, 8)
    found = trc.ilqr(problem, initial, target, start="zero", max_iterations=1)
    assert not found.converged.any()
    assert (found.residual > 1e-6).all()
    assert (found.iterations == 1).all()


def test_result_has_the_dtype_of_the_instances():
    initial, target = (t.float() for t in instances(PROBLEMS["cart"], 3))
    found = trc.ilqr(PROBLEMS["cart"], initial, target)
    assert {t.dtype for t in (found.states, found.controls, found.cost)} == {torch.float32}


def test_bad_starts_say_what_is_possible():
    problem = PROBLEMS["cart"]
    initial, target = instances(problem, 3)
    with pytest.raises(ValueError, match="unknown start 'warm'; known are lqr, zero, random"):
        trc.ilqr(problem, initial, target, start="warm")
    with pytest.raises(ValueError, match="needs generator"):
        trc.ilqr(problem, initial, target, start="random")
    with pytest.raises(ValueError, match=r"start controls must have shape \[3, 12, 2\]"):
        trc.ilqr(problem, initial, target, start=initial)


def test_of_two_starts_the_better_one_says_how_it_ended():
    problem = PROBLEMS["van_der_pol"]
    initial, target = instances(problem, 4)
    best = trc.ilqr(problem, initial, target)
    idle = torch.zeros_like(best.controls)
    found = trc.ilqr(problem, initial, target, start=[idle, best.controls], max_iterations=1)
    alone = trc.ilqr(problem, initial, target, start=idle, max_iterations=1)
    assert not alone.converged.any()
    assert found.converged.all()
    assert (found.residual <= 1e-6).all()
    assert torch.equal(found.iterations, alone.iterations)  # one from zero controls, none from the best


def test_random_start_is_anywhere_within_the_bounds():
    problem = PROBLEMS["cart"]
    initial, target = instances(problem, 200)
    found = trc.ilqr(
        problem, initial, target, start="random", generator=torch.Generator().manual_seed(0), max_iterations=0
    )
    low, high = problem.bounds(initial)
    share = (found.controls - low) / (high - low)
    assert share.min() >= 0
    assert share.max() <= 1
    assert (share.mean((0, 1)) - 0.5).abs().max() < 0.03
    assert share.std() > 0.25


def test_start_that_overflows_is_refused():
    problem = PROBLEMS["van_der_pol"]
    with pytest.raises(ValueError, match=r"rollout overflows: at step \d+ of 60 .*in 1 of 2 instances"):
        trc.ilqr(problem, torch.tensor([[0.0, 0.0], [1e3, 0.0]]), torch.zeros(2, 2), start="zero")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_iterations": -1}, "max_iterations must be a whole number, 0 or more"),
        ({"max_iterations": 2.5}, "max_iterations must be a whole number"),
        ({"tolerance": float("nan")}, "tolerance must be a positive number"),
        ({"start": None}, "unknown start None"),
        ({"start": 5}, "unknown start 5"),
        ({"start": []}, "start must name at least one"),
        ({"start": "random", "generator": 3}, "needs generator"),
    ],
)
def test_bad_options_are_refused(options, message):
    problem = PROBLEMS["cart"]
    with pytest.raises(ValueError, match=message):
        trc.ilqr(problem, *instances(problem, 2), **options)
