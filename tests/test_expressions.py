"""Steps written out as elementwise operations, differentiated and replayed."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

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
    np.testing.assert_allclose(run(inputs, outputs, *arrays), expected.T, rtol=1e-15)
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
        terms.append(Expression(operation, *(terms[i] for i in which)))
        values.append(np.tanh(getattr(np, operation)(*(values[i] for i in which))))
        terms.append(Expression("tanh", terms[-1]))  # keeps the numbers small
        values.append(values[-1])
    wanted = [*choose.integers(0, len(terms), 6), len(terms) - 1]
    values_of = [values[i] if i < 4 or i % 2 else None for i in wanted]
    results = run(inputs, [terms[i] for i in wanted], *arrays)
    for result, value in zip(results, values_of, strict=True):
        if value is not None:
            np.testing.assert_array_equal(result, value)
    plan = Plan(inputs, [terms[-1]])
    assert plan.size < 60 < len(plan.operations)


def test_every_expression_comes_after_its_terms():
    a = Expression()
    b = a * a
    c = b + a
    assert in_order([c, b]) == [a, b, c]


@dataclass(frozen=True, kw_only=True)
class Deceiving(VanDerPol):
    """A step that does something else with symbols than with tensors."""

    def step(self, x, u, parameters):
        return super().step(x, u, parameters) if isinstance(x, torch.Tensor) else x


def test_step_is_only_replayed_if_it_says_the_same():
    problem, honest = Deceiving(), trc.make_problem("van_der_pol")
    x, u = torch.randn(3, 2), torch.randn(3, 20, 1)
    assert torch.equal(trc.rollout(problem, x, u), trc.rollout(honest, x, u))
    assert problem.cache["step"] is None
    assert honest.cache["step"] is not None


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
