"""Rollouts over whole horizons, of linear problems, and their costates; ``test_steps.py`` has steps of all kinds."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from made_up import Cart, Rover, with_step
from plain import step_by_step

import trc
from trc.problems import Cost
from trc.simulation.rollout import check_overflow


def randn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def test_gradient_with_one_parameter_for_all_is_that_of_finite_differences(van_der_pol):
    inputs = 0.5 * randn(3, 2), randn(3, 5, 1, seed=1), torch.tensor(1.3, dtype=torch.float64)
    inputs = [tensor.requires_grad_() for tensor in inputs]
    assert torch.autograd.gradcheck(lambda x, u, mu: trc.rollout(van_der_pol, x, u, {"mu": mu}), inputs)


@pytest.mark.parametrize("by", ["initial", "controls", "mu"])
@pytest.mark.parametrize("again", ["grad", "backward"])
def test_second_derivatives_are_those_of_a_loop(van_der_pol, by, again):
    found = []
    for simulate in (trc.rollout, step_by_step):
        given = {"initial": randn(2, 2), "controls": randn(2, 3, 1), "mu": torch.ones(2, dtype=torch.float64)}
        given[by].requires_grad_()
        states = simulate(van_der_pol, given["initial"], given["controls"], {"mu": given["mu"]})
        (once,) = torch.autograd.grad(states.square().sum(), given[by], retain_graph=True)
        (gradient,) = torch.autograd.grad(states.square().sum(), given[by], create_graph=True)
        torch.testing.assert_close(once, gradient.detach())
        if again == "grad":
            found.append(torch.autograd.grad(gradient.sin().sum(), given[by])[0])
        else:
            gradient.sin().sum().backward()
            found.append(given[by].grad)
    torch.testing.assert_close(*found)


def test_second_derivatives_by_everything_are_those_of_finite_differences(van_der_pol):
    inputs = 0.5 * randn(2, 2), randn(2, 3, 1, seed=1), torch.tensor(1.3, dtype=torch.float64)
    inputs = [tensor.requires_grad_() for tensor in inputs]
    assert torch.autograd.gradgradcheck(lambda x, u, mu: trc.rollout(van_der_pol, x, u, {"mu": mu}), inputs)


def test_second_derivative_takes_an_initial_state_on_which_the_controls_depend(van_der_pol):
    x, twice = randn(2, 2).requires_grad_(), []
    for simulate in (trc.rollout, step_by_step):
        states = simulate(van_der_pol, x, (x.sin() * x.cos()).unsqueeze(-1))
        (gradient,) = torch.autograd.grad(states.square().sum(), x, create_graph=True)
        twice += torch.autograd.grad(gradient.square().sum(), x)
    torch.testing.assert_close(*twice)


# Costates


@pytest.mark.parametrize("problem", [*map(trc.make_problem, trc.PROBLEMS), Cart(), Rover()], ids=lambda p: p.name)
def test_costate_is_the_gradient_by_autograd(problem, draw):
    initial, target = draw(problem, 5)
    controls = 0.3 * randn(5, problem.horizon, problem.control_dim)
    told = trc.costate(problem, initial, controls, target)
    x, u = initial.clone().requires_grad_(), controls.clone().requires_grad_()
    cost = problem.cost(step_by_step(problem, x, u), u, target)
    by_autograd = torch.autograd.grad(cost.sum(), (x, u))
    torch.testing.assert_close((told.cost, told.costate[:, 0], told.gradient), (cost.detach(), *by_autograd))


def test_costate_of_other_parameters_is_that_of_another_problem(draw):
    cart = Cart()
    initial, target = draw(cart, 20)
    u, drag = trc.lqr(cart, initial, target).controls, torch.linspace(0, 2, 20, dtype=torch.float64)
    told = trc.costate(cart, initial, u, target, {"drag": drag})
    other = trc.costate(cart.replace(drag=2.0), initial[-1:], u[-1:], target[-1:])
    torch.testing.assert_close((told.gradient[-1:], told.costate[-1:]), (other.gradient, other.costate))


# Linear problems


def spring(problem, x, u, p):
    """Semi-implicit Euler: linear, with a parameter."""
    velocity = x[..., 1] + problem.dt * (u[..., 0] - p["mu"] * x[..., 0])
    return torch.stack((x[..., 0] + problem.dt * velocity, velocity), -1)


def test_linear_rollout_has_second_derivatives(double_integrator):
    controls = randn(2, 3, 1).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda u: trc.rollout(double_integrator, randn(2, 2), u).square(), controls)


def test_linear_problem_steps_when_a_parameter_is_given():
    problem, (x, u) = with_step(spring, linear=True), (randn(3, 2), randn(3, 20, 1, seed=1))
    mu = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64, requires_grad=True)
    together = trc.rollout(problem, x, u, {"mu": mu})
    torch.testing.assert_close(together[1:2], trc.rollout(problem, x[1:2], u[1:2]))
    torch.testing.assert_close(together[2:], trc.rollout(problem.replace(mu=2.0), x[2:], u[2:]))
    assert torch.autograd.gradcheck(lambda mu: trc.rollout(problem, x, u, {"mu": mu}), mu)


def test_linear_rollouts_of_other_lengths_and_types_do_not_mix(double_integrator):
    x, u = randn(3, 2), 0.1 * randn(3, 600, 1)
    for length, dtype in ((5, torch.float32), (7, torch.float32), (7, torch.float64), (600, torch.float64)):
        states = trc.rollout(double_integrator, x.to(dtype), u[:, :length].to(dtype))
        expected = step_by_step(double_integrator, x, u[:, :length]).to(dtype)
        torch.testing.assert_close(states, expected, rtol=1e-5, atol=1e-5)


def test_linear_rollout_whose_matrix_overflows_is_stepped():
    growing = with_step(
        lambda problem, x, u, p: torch.stack((1.5 * x[..., 0] + u[..., 0], 0.9 * x[..., 1]), -1), linear=True
    )
    x, u = torch.tensor([[0.0, 1.0]]), torch.zeros(1, 300, 1)
    torch.testing.assert_close(trc.rollout(growing, x, u), step_by_step(growing, x, u))


def test_affine_step_is_refused_as_linear():
    falling = with_step(lambda problem, x, u, p: 0.9 * x + problem.dt * u - 0.5, linear=True)
    with pytest.raises(ValueError, match="says linear=True, but its step is not A x"):
        trc.rollout(falling, torch.zeros(2, 2), torch.zeros(2, 3, 1))


@pytest.mark.parametrize("size", [1.0, 1e-6, 1e-13])
def test_step_that_is_linear_in_the_state_alone_is_not_linear(size):
    cubic = with_step(lambda problem, x, u, p: 0.9 * x + size * u**3, linear=True)
    with pytest.raises(ValueError, match="says linear=True, but its step is not A x"):
        trc.rollout(cubic, torch.zeros(1, 2), torch.ones(1, 4, 1))
    linear = with_step(lambda problem, x, u, p: 0.9 * x + size * u, linear=True)
    assert trc.rollout(linear, torch.zeros(1, 2), torch.ones(1, 4, 1)).any()


def test_first_rollout_in_inference_mode_does_not_spoil_training(double_integrator):
    x, u = torch.zeros(2, 2), torch.zeros(2, 3, 1)
    with torch.inference_mode():
        trc.rollout(double_integrator, x, u)
    trc.rollout(double_integrator, x, u.requires_grad_()).sum().backward()
    with torch.inference_mode():
        trc.step_jacobians(trc.make_problem("van_der_pol"), x, u[:, 0].detach())


# What is refused

INITIAL, CONTROLS = torch.zeros(4, 2), torch.zeros(4, 5, 1)


@pytest.mark.parametrize(
    ("initial", "controls", "parameters", "message"),
    [
        (torch.zeros(4, 3), CONTROLS, None, r"initial states of van_der_pol must have shape \[any, 2\], got \[4, 3\]"),
        (INITIAL, torch.zeros(3, 5, 1), None, r"controls must have shape \[4, T, 1\], got \[3, 5, 1\]"),
        (INITIAL, torch.zeros(4, 0, 1), None, r"controls must not be empty, got shape \[4, 0, 1\]"),
        (INITIAL, CONTROLS.double(), None, "initial states are torch.float32 but controls are torch.float64; convert"),
        (INITIAL, CONTROLS, [1.0], "parameters must be a Mapping"),
        (INITIAL, CONTROLS, {"mass": 1.0}, "van_der_pol has no parameter 'mass'; it has mu"),
        (INITIAL, CONTROLS, {"mu": torch.ones(3)}, r"parameter 'mu' must be a scalar or have shape \[4\], got \[3\]"),
        (INITIAL, CONTROLS, {"mu": torch.ones(4).double()}, "'mu' is torch.float64 but the states are torch.float32"),
        (INITIAL, CONTROLS, {"mu": torch.tensor(torch.nan)}, "'mu' must be finite"),
        (INITIAL, CONTROLS, {"mu": "1.0"}, "'mu' must be a finite"),
        (INITIAL, CONTROLS, {"mu": torch.ones(2).numpy()}, "'mu' must be a finite"),
    ],
)
def test_bad_input_is_refused(van_der_pol, initial, controls, parameters, message):
    calls = [
        lambda: trc.rollout(van_der_pol, initial, controls, parameters),
        lambda: trc.costate(van_der_pol, initial, controls, torch.zeros_like(initial), parameters),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=message) as error:
            call()
        assert str(error.value).endswith(".")


def test_overflow_names_the_step_and_the_number_of_instances(van_der_pol):
    initial = torch.tensor([[0.0, 0.0], [1e3, 0.0], [2e3, 1.0]])
    controls = torch.zeros(3, 30, 1)
    finite = step_by_step(van_der_pol, initial, controls).isfinite().all(-1)
    first = int((~finite).any(0).nonzero()[0])
    assert 1 < first < 30 and (~finite[:, -1]).sum() == 2
    message = rf"overflows: at step {first} of 30 .*in the end in 2 of 3 instances; use smaller"
    with pytest.raises(ValueError, match=message):
        trc.rollout(van_der_pol, initial, controls)


def test_overflow_that_does_not_last_is_seen():
    states = torch.zeros(4, 3, 2)
    states[1, 2, 0] = torch.inf
    with pytest.raises(ValueError, match=r"at step 1 of 3 .*in 1 of 3 instances"):
        check_overflow(states)


@dataclass(frozen=True, kw_only=True)
class Learned(Cart):
    """A cart whose engine's strength is learned."""

    gain: Any = 1.0

    def step(self, x, u, parameters):
        return super().step(x, self.gain * u, parameters)


@dataclass(frozen=True)
class Weighed(Cost):
    """A cost whose weight is learned."""

    weight: Any = 1.0

    def running(self, x, u, target):
        return self.weight * (x - target).square().sum(-1) + u.square().sum(-1)

    def final(self, x, target):
        return 10 * self.weight * (x - target).square().sum(-1)


@pytest.mark.parametrize("of_cost", [False, True])
@pytest.mark.parametrize("controls_too", [False, True])
def test_gradient_reaches_what_is_learned_of_a_problem(of_cost, controls_too):
    learned = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    problem = Cart(cost=Weighed(learned)) if of_cost else Learned(gain=learned)
    x, goal = problem.sample(3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u = torch.rand(3, 12, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    followed = u.clone().requires_grad_()
    states = step_by_step(problem, x, followed)
    cost = problem.cost(states, followed, goal)
    (slope,) = torch.autograd.grad(cost.sum(), followed, create_graph=True)
    found = trc.costate(problem, x, u.requires_grad_(controls_too), goal)
    pairs = [(found.cost, cost), (found.gradient.sin(), slope.sin())]
    if not of_cost:
        pairs.append((trc.rollout(problem, x, u), states))
    for mine, plain in pairs:
        wanted = torch.autograd.grad(plain.sum(), learned, retain_graph=True)
        torch.testing.assert_close(torch.autograd.grad(mine.sum(), learned, retain_graph=True), wanted)
