"""Steps as users write them, and their Jacobians, held against PyTorch's own gradients."""

import pytest
import torch
from made_up import Cart, with_step
from plain import step_by_step

import trc
from trc.simulation.jacobians import CHUNK


class Sign(torch.autograd.Function):
    """Its gradient is not that of what it computes, and it has none forwards."""

    @staticmethod
    def forward(ctx, x):
        return x.sign()

    @staticmethod
    def backward(ctx, grad):
        return grad


def straight_through(problem, x, u, p):
    return torch.stack((x[..., 0] + 0.1 * x[..., 1], x[..., 1] + 0.1 * Sign.apply(u[..., 0])), -1)


def partly_without_gradient(problem, x, u, p):
    with torch.no_grad():
        drag = 0.3 * x[..., 1] * x[..., 1].abs()
    return torch.stack((x[..., 0] + 0.1 * x[..., 1], x[..., 1] + 0.1 * u[..., 0] - 0.1 * drag), -1)


def partly_detached(problem, x, u, p):
    return 0.9 * x + 0.1 * x.detach().sin() + 0.1 * u


def wall(problem, x, u, p):
    y = torch.stack((x[..., 0] + 0.1 * x[..., 1], x[..., 1] + 0.1 * u[..., 0]), -1)
    beyond, speed = x[..., 0] - 3, y[..., 1]
    speed -= 5 * (beyond + beyond.abs()) / 2
    return y


def by_dtype(problem, x, u, p):
    return x * (0.9 if x.dtype == torch.float32 else 0.8)


def column(value):
    return value[..., None] if isinstance(value, torch.Tensor) and value.ndim else value


def constant(problem, x, u, p):
    return torch.ones_like(x) * column(p["mu"])


def by_parameter_as_matrix(problem, x, u, p):
    return x + 0.1 * column(p["mu"]) * u


def of_two_dimensions(problem, x, u, p):
    return torch.stack((x[:, 0] + 0.1 * x[:, 1], x[:, 1] + 0.1 * p["mu"] * x[:, 0] + 0.1 * u[:, 0]), 1)


def of_clamps(problem, x, u, p):
    return torch.where(x > 0.5, x.clamp(max=2.0), 0.9 * x) + 0.1 * torch.atan2(u, 1 + x[..., :1] ** 2)


def of_matrices(problem, x, u, p):
    return x @ torch.tensor([[0.9, 0.1], [-0.1, 0.8]], dtype=x.dtype) + 0.1 * torch.cat((u, u * u), -1).sin()


STEPS = [straight_through, partly_without_gradient, partly_detached, wall, by_dtype, constant]
STEPS += [by_parameter_as_matrix, of_two_dimensions, of_clamps, of_matrices]
PROBLEMS = {step.__name__: with_step(step) for step in STEPS} | {name: trc.make_problem(name) for name in trc.PROBLEMS}
BACKWARDS = {"straight_through", "partly_without_gradient"}  # what can't be differentiated forwards
every_problem = pytest.mark.parametrize("name", [*PROBLEMS, "cart"])
both_types = pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-10)])


def made(name):
    return PROBLEMS[name].replace() if name in PROBLEMS else Cart()  # nothing derived yet


def inputs(problem, count, *horizon, dtype=torch.float64):
    """States, controls and one value of the problem's parameter for each instance, if it has one."""
    generator = torch.Generator().manual_seed(count)
    shapes = ((count, problem.state_dim), 0), ((count, *horizon, problem.control_dim), 2), ((count,), 0)
    x, u, value = (torch.rand(*shape, generator=generator, dtype=dtype) * 4 - low for shape, low in shapes)
    return x, u, dict.fromkeys(problem.parameters, value)


@every_problem
@both_types
@pytest.mark.parametrize("count", [2, 3])
def test_rollout_and_its_gradients_are_those_of_a_loop(name, dtype, tolerance, count):
    problem = made(name)
    x, u, parameters = inputs(problem, count, 20, dtype=dtype)
    results = []
    for simulate in (trc.rollout, step_by_step):
        leaves = [tensor.clone().requires_grad_() for tensor in (x, u, *parameters.values())]
        states = simulate(problem, *leaves[:2], dict(zip(parameters, leaves[2:], strict=True)))
        gradients = torch.autograd.grad(states.sin().sum(), leaves, materialize_grads=True)
        results.append((states.detach(), *gradients))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@every_problem
@both_types
def test_jacobians_are_those_of_reverse_mode(name, dtype, tolerance):
    problem = made(name)
    x, u, parameters = inputs(problem, 5, dtype=dtype)
    found = trc.step_jacobians(problem, x, u, parameters)

    whole = torch.autograd.functional.jacobian(lambda x, u: problem.step(x, u, parameters).sum(0), (x, u))
    for ours, theirs in zip(found, whole, strict=True):
        torch.testing.assert_close(ours, theirs.transpose(0, 1), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["van_der_pol", "straight_through"])
def test_jacobians_of_many_steps_come_in_chunks(name):
    problem, count = made(name), CHUNK // 2 + 7  # the last one is not whole
    x, u = torch.randn(3, count, 2, dtype=torch.float64), torch.randn(3, count, 1, dtype=torch.float64)
    mu = torch.rand(count, dtype=torch.float64)
    whole = trc.step_jacobians(problem, x, u, {"mu": mu})
    for i in (0, 2):
        alone = trc.step_jacobians(problem, x[i, -9:], u[i, -9:], {"mu": mu[-9:]})
        for many, few in zip(whole, alone, strict=True):
            torch.testing.assert_close(many[i, -9:], few, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (lambda problem, x, u, p: None, "step must return the next states, .* got NoneType"),
        (lambda problem, x, u, p: x[..., :1], r"must return the next states, .* got \[3, 1\]"),
        (lambda problem, x, u, p: x.float(), "must return the next states, .* got .*float32"),
        (lambda problem, x, u, p: x.add_(u), "changes its arguments in place"),
    ],
)
def test_step_that_is_none_is_refused(step, message):
    for call, shape in ((trc.rollout, (2, 3, 1)), (trc.step_jacobians, (2, 1))):
        with pytest.raises(ValueError, match=message):
            call(with_step(step), torch.zeros(2, 2), torch.zeros(shape))


@pytest.mark.parametrize(
    ("states", "controls", "message"),
    [
        (torch.zeros(2, 3, 2), torch.zeros(3, 2, 1), r"controls must have shape \[2, 3, 1\]"),
        (torch.zeros(3, 3), torch.zeros(3, 1), r"states of van_der_pol must have shape \[3, 2\]"),
        (torch.zeros(2), torch.zeros(1), r"states of van_der_pol must have shape \[any, 2\]"),
        (torch.zeros(3, 2), torch.zeros(3, 1).double(), "states are torch.float32 but controls are torch.float64"),
        ([[0.0, 0.0]], torch.zeros(1, 1), "must be a floating-point tensor, got list"),
    ],
)
def test_jacobians_of_what_does_not_fit_are_refused(van_der_pol, states, controls, message):
    with pytest.raises(ValueError, match=message):
        trc.step_jacobians(van_der_pol, states, controls)
