"""Steps written out as elementwise operations, differentiated and replayed."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from plain import step_by_step

import trc
from trc.expressions import Expression, apply, derivative, in_order, write_out
from trc.problems import VanDerPol
from trc.replay import Plan


def run(inputs, outputs, *arrays):
    shape = np.broadcast_shapes(*(np.shape(array) for array in arrays))
    results, compute = Plan(inputs, outputs).bind([np.asarray(a, float) for a in arrays], shape, np.dtype(float))
    compute()
    return [np.broadcast_to(result, shape) for result in results]


STEPS = {
    "operators": lambda x, u, p: (2 - x) * x / (3 + u * u) - x / 2 + 1 / x - (-x) * 0.3,
    "powers": lambda x, u, p: x**3 + x**2 - x**1 + x**-1.5 + 2 * x**0.5,
    "trigonometry": lambda x, u, p: torch.sin(x) * x.cos() + torch.tan(u) * torch.tanh(x),
    "exponentials": lambda x, u, p: torch.exp(-x) + x.log() * torch.sqrt(x) + x.square(),
    "magnitudes": lambda x, u, p: x * torch.abs(x - 1) + torch.sign(u) * abs(x) + torch.zeros_like(x),
    "shapes": lambda x, u, p: torch.stack((x[..., 1] * u[..., 0] * p["k"], (x * x).sum(-1)), -1),
    "parts": lambda x, u, p: torch.cat((x[..., 1:] * 3, torch.ones_like(u)), dim=-1),
    "pieces": lambda x, u, p: torch.stack([part * part[..., None].sum(-1) for part in x.unbind(-1)], dim=-1),
    "constant": lambda x, u, p: 0 * x + 1,
    "input": lambda x, u, p: x,
}


@pytest.mark.parametrize("name", STEPS)
def test_step_and_jacobian_are_those_of_torch(name):
    step, k = STEPS[name], 0.7
    x, u = 0.2 + torch.rand(6, 2, dtype=torch.float64) * 2, torch.rand(6, 1, dtype=torch.float64) - 0.5
    inputs, outputs = write_out(step, 2, 1, ["k"])
    arrays = [*x.T.numpy(), *u.T.numpy(), k]
    expected = step(x, u, {"k": k})
    np.testing.assert_allclose(run(inputs, outputs, *arrays), expected.T, rtol=1e-12, atol=1e-15)
    columns = [run(inputs, derivative(outputs, variable), *arrays) for variable in inputs]
    by_torch = torch.autograd.functional.jacobian(
        lambda x, u, k: step(x, u, {"k": k}).sum(0), (x, u, torch.tensor(k, dtype=torch.float64).expand(6))
    )
    got = np.stack(columns)  # (input, output, batch)
    np.testing.assert_allclose(got[:2], by_torch[0].permute(2, 0, 1), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(got[2:3], by_torch[1].permute(2, 0, 1), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(got[3], by_torch[2], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    "step",
    [
        lambda x, u, p: torch.where(x > 0, x, -x),
        lambda x, u, p: x if x[..., 0] else -x,
        lambda x, u, p: x[:, :1] + x,
        lambda x, u, p: torch.stack((x[..., 0], x[..., 1]), 1),
        lambda x, u, p: torch.stack((x[..., 0], x[..., 1])),
        lambda x, u, p: x @ torch.eye(2),
        lambda x, u, p: x * torch.tensor([1.0, 2.0]),
        lambda x, u, p: torch.fft.fft(x),
        lambda x, u, p: 2**x,
        lambda x, u, p: x.reshape(-1),
        lambda x, u, p: x + np.ones(2) * u.numpy(),
        lambda x, u, p: torch.zeros(2),
        lambda x, u, p: x[..., 0],
        lambda x, u, p: x * float(p["k"]),
        lambda x, u, p: x.__iadd__(u),
        lambda x, u, p: x * (2 if x.dtype == torch.float32 else 1),
        lambda x, u, p: x * x.ndim,
    ],
)
def test_what_cannot_be_written_out_is_refused(step):
    with pytest.raises(TypeError):
        write_out(step, 2, 1, ["k"])


def test_numbers_are_computed_and_identities_left_out():
    a, b = Expression(), Expression()
    assert apply("add", 2, 0.5) == 2.5
    assert (a + 0, 0 + a, a - 0, a * 1, 1 * a, a / 1, a**1) == (a,) * 7
    assert (a * 0, 0 * b) == (0.0, 0.0)
    assert (0 - a).operation == "subtract"
    assert derivative([a * b + 3], Expression()) == [0.0]
    assert derivative([a, 2.0, a + b], a) == [1.0, 0.0, 1.0]


def test_equal_operations_are_done_once():
    a, b = Expression(), Expression()
    plan = Plan([a, b], [a * b + 1, (a * b) * 2, a * b])
    assert [function.__name__ for function, _ in plan.operations] == ["multiply", "add", "multiply"]


def test_buffers_are_shared_and_never_overwritten_too_early():
    choose = np.random.default_rng(0)
    inputs = [Expression() for _ in range(3)]
    arrays = choose.normal(size=(3, 5))
    terms, values = [*inputs, 0.5], [*arrays, np.full(5, 0.5)]
    for _ in range(300):
        operation = choose.choice(["add", "subtract", "multiply", "tanh"])
        which = choose.integers(max(0, len(terms) - 12), len(terms), 1 if operation == "tanh" else 2)
        terms.append(Expression("tanh", Expression(operation, *(terms[i] for i in which))))  # keeps them small
        values.append(np.tanh(getattr(np, operation)(*(values[i] for i in which))))
    wanted = [*choose.integers(0, len(terms), 20), len(terms) - 1]
    assert np.unique([values[i] for i in wanted]).size > 50
    for result, i in zip(run(inputs, [terms[i] for i in wanted], *arrays), wanted, strict=True):
        np.testing.assert_array_equal(result, values[i])
    plan = Plan(inputs, [terms[-1]])
    assert plan.size < 60 < len(plan.operations)


def test_output_that_is_also_used_is_kept():
    a = Expression()
    y = a + 1
    first, second = run([a], [y, (y + 1) * 2], np.array([9.0, 19.0]))
    np.testing.assert_array_equal(first, [10, 20])
    np.testing.assert_array_equal(second, [22, 42])


def test_every_expression_comes_after_its_terms():
    a = Expression()
    b = a * a
    c = b + a
    assert in_order([c, b]) == [a, b, c]


class Sign(torch.autograd.Function):
    """Its gradient is not that of what it computes."""

    @staticmethod
    def forward(ctx, x):
        return x.sign()

    @staticmethod
    def backward(ctx, grad):
        return grad


def with_symbols_another(problem, x, u, p):
    return VanDerPol.step(problem, x, u, p) if isinstance(x, torch.Tensor) else x


def straight_through(problem, x, u, p):
    push = Sign.apply(u[..., 0]) if isinstance(u, torch.Tensor) else torch.sign(u[..., 0])
    return torch.stack((x[..., 0] + 0.1 * x[..., 1], x[..., 1] + 0.1 * push), -1)


def partly_without_gradient(problem, x, u, p):
    with torch.no_grad():
        drag = 0.3 * x[..., 1] * x[..., 1].abs()
    return torch.stack((x[..., 0] + 0.1 * x[..., 1], x[..., 1] + 0.1 * u[..., 0] - 0.1 * drag), -1)


def wall(problem, x, u, p):
    y = torch.stack((x[..., 0] + 0.1 * x[..., 1], x[..., 1] + 0.1 * u[..., 0]), -1)
    beyond, speed = x[..., 0] - 3, y[..., 1]
    speed -= 5 * (beyond + beyond.abs()) / 2
    return y


def slow(problem, x, u, p):
    y = x * 1
    y += 1e-9 * u
    return y


def by_dtype(problem, x, u, p):
    return x * (0.9 if x.dtype == torch.float32 else 0.8)


def by_parameter_as_matrix(problem, x, u, p):
    return x + 0.1 * (p["mu"][..., None] if isinstance(p["mu"], torch.Tensor) and p["mu"].ndim else p["mu"]) * u


def of_two_dimensions(problem, x, u, p):
    return torch.stack((x[:, 0] + 0.1 * x[:, 1], x[:, 1] + 0.1 * p["mu"] * x[:, 0] + 0.1 * u[:, 0]), 1)


def of_clamps(problem, x, u, p):
    return torch.where(x > 0.5, x.clamp(max=2.0), 0.9 * x) + 0.1 * torch.atan2(u, 1 + x[..., :1] ** 2)


def of_matrices(problem, x, u, p):
    return x @ torch.tensor([[0.9, 0.1], [-0.1, 0.8]], dtype=x.dtype) + 0.1 * torch.cat((u, u * u), -1).sin()


ODD_STEPS = [
    with_symbols_another,
    straight_through,
    partly_without_gradient,
    wall,
    slow,
    by_dtype,
    by_parameter_as_matrix,
    of_two_dimensions,
    of_clamps,
    of_matrices,
]


SHAPES = [((2,), 0), ((40, 1), 2), ((), 0)]  # of states, controls and mu, and where their range of 4 begins


@pytest.mark.parametrize("step", ODD_STEPS, ids=lambda step: step.__name__)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("count", [2, 3])
def test_rollout_of_an_odd_step_is_that_of_a_loop(step, dtype, count):
    problem = dataclass(frozen=True, kw_only=True)(type("Odd", (VanDerPol,), {"step": step}))()
    assert not problem.linear
    generator = torch.Generator().manual_seed(count)
    given = [torch.rand(count, *rest, generator=generator, dtype=dtype) * 4 - low for rest, low in SHAPES]
    results = []
    for simulate in (trc.rollout, step_by_step):
        x, u, mu = (tensor.clone().requires_grad_() for tensor in given)
        states = simulate(problem, x, u, {"mu": mu})
        gradients = torch.autograd.grad(states.sin().sum(), (x, u, mu), materialize_grads=True)
        results.append((states.detach(), *gradients))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(
            ours, theirs, rtol=1e-4 if dtype == torch.float32 else 1e-10, atol=1e-4 if dtype == torch.float32 else 1e-10
        )


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (lambda problem, x, u, p: None, "step must return the next states, .* got NoneType"),
        (lambda problem, x, u, p: x[..., :1], r"must return the next states, .* got \[10, 1\]"),
        (lambda problem, x, u, p: x.float(), "must return the next states, .* got .*float32"),
        (lambda problem, x, u, p: x.add_(u), "changes its arguments in place"),
    ],
)
def test_step_that_is_none_is_refused(step, message):
    problem = dataclass(frozen=True, kw_only=True)(type("Odd", (VanDerPol,), {"step": step}))()
    with pytest.raises(ValueError, match=message):
        trc.rollout(problem, torch.zeros(2, 2), torch.zeros(2, 3, 1))


def test_honest_step_is_replayed(van_der_pol):
    trc.rollout(van_der_pol, torch.zeros(2, 2), torch.zeros(2, 3, 1))
    assert van_der_pol.cache["step"] is not None
    assert van_der_pol.cache["jacobians"] is not None


@dataclass(frozen=True, kw_only=True)
class Spring(VanDerPol):
    """Linear, with a parameter: semi-implicit Euler."""

    linear: bool = True

    def step(self, x, u, parameters):
        position, velocity = x.unbind(-1)
        velocity = velocity + self.dt * (u[..., 0] - parameters["mu"] * position)
        return torch.stack((position + self.dt * velocity, velocity), -1)


def test_linear_problem_steps_when_a_parameter_is_given():
    spring = Spring()
    x, u = torch.randn(3, 2, dtype=torch.float64), torch.randn(3, 20, 1, dtype=torch.float64)
    mu = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64, requires_grad=True)
    together = trc.rollout(spring, x, u, {"mu": mu})
    torch.testing.assert_close(together[1:2], trc.rollout(spring, x[1:2], u[1:2]))
    torch.testing.assert_close(together[2:], trc.rollout(spring.replace(mu=2.0), x[2:], u[2:]))
    assert torch.autograd.gradcheck(lambda mu: trc.rollout(spring, x, u, {"mu": mu}), mu)


def test_long_linear_rollout_is_that_of_short_ones():
    problem = trc.make_problem("double_integrator")
    x, u = torch.randn(3, 2, dtype=torch.float64), torch.randn(3, 600, 1, dtype=torch.float64)
    whole = trc.rollout(problem, x, u)
    first = trc.rollout(problem, x, u[:, :300])
    torch.testing.assert_close(whole[:, :301], first)
    torch.testing.assert_close(whole[:, 300:], trc.rollout(problem, first[:, -1], u[:, 300:]))


@dataclass(frozen=True, kw_only=True)
class Falling(VanDerPol):
    """Affine: it says linear and is not."""

    linear: bool = True

    def step(self, x, u, parameters):
        return 0.9 * x + self.dt * u - 9.81 * self.dt


def test_problem_that_is_not_linear_is_refused_as_linear():
    with pytest.raises(ValueError, match="says linear=True, but its step is not A x"):
        trc.rollout(Falling(), torch.zeros(2, 2), torch.zeros(2, 3, 1))


def test_linear_rollouts_of_other_lengths_and_types_do_not_mix():
    problem = trc.make_problem("double_integrator")
    x, u = torch.randn(3, 2, dtype=torch.float64), torch.randn(3, 7, 1, dtype=torch.float64)
    for length, dtype in ((5, torch.float32), (7, torch.float32), (7, torch.float64), (5, torch.float64)):
        states = trc.rollout(problem, x.to(dtype), u[:, :length].to(dtype))
        assert states.dtype == dtype
        torch.testing.assert_close(states.double(), step_by_step(problem, x, u[:, :length]), rtol=1e-5, atol=1e-5)


@dataclass(frozen=True, kw_only=True)
class Growing(VanDerPol):
    """Unstable in one direction only."""

    linear: bool = True

    def step(self, x, u, parameters):
        return torch.stack((1.5 * x[..., 0] + u[..., 0], 0.9 * x[..., 1]), -1)


def test_linear_rollout_whose_matrix_overflows_is_stepped():
    x = torch.tensor([[0.0, 1.0]])
    states = trc.rollout(Growing(), x, torch.zeros(1, 300, 1))
    torch.testing.assert_close(states, step_by_step(Growing(), x, torch.zeros(1, 300, 1)))


def test_first_rollout_in_inference_mode_does_not_spoil_training(double_integrator):
    x, u = torch.zeros(2, 2), torch.zeros(2, 3, 1)
    with torch.inference_mode():
        trc.rollout(double_integrator, x, u)
    trc.rollout(double_integrator, x, u.requires_grad_()).sum().backward()
    with torch.inference_mode():
        trc.step_jacobians(trc.make_problem("van_der_pol"), x, u[:, 0].detach())


@pytest.mark.parametrize(
    ("states", "controls", "message"),
    [
        (torch.zeros(5, 2), torch.zeros(7, 1), r"controls must have shape \[5, 1\], got \[7, 1\]"),
        (torch.zeros(2, 3, 2), torch.zeros(3, 2, 1), r"controls must have shape \[2, 3, 1\]"),
        (torch.zeros(3, 3), torch.zeros(3, 1), r"states of van_der_pol must have shape \[3, 2\]"),
        (torch.zeros(2), torch.zeros(1), r"states of van_der_pol must have shape \[any, 2\]"),
        (torch.zeros(3, 2) / 0, torch.zeros(3, 1), "must be finite"),
        (torch.zeros(3, 2), torch.zeros(3, 1).double(), "states are torch.float32 but controls are torch.float64"),
        ([[0.0, 0.0]], torch.zeros(1, 1), "must be a floating-point tensor, got list"),
    ],
)
def test_jacobians_of_what_does_not_fit_are_refused(van_der_pol, states, controls, message):
    with pytest.raises(ValueError, match=message):
        trc.step_jacobians(van_der_pol, states, controls)
