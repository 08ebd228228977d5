"""The compiled way and the plain one are two ways to the same: values, gradients, iterations, certificates."""

from dataclasses import fields

import pytest
import torch
from made_up import Cart

import trc

PROBLEMS = [*trc.PROBLEMS, "cart"]
each_problem = pytest.mark.parametrize("name", PROBLEMS)
each_type = pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-4), (torch.float64, 1e-10)])
#: Around what lies side by side (4, 8, 16), what a thread takes (64), and chunks of datasets (1024).
each_batch = pytest.mark.parametrize(
    "count", [1, 2, 3, 5, 9, 17, 65, *(pytest.param(count, marks=pytest.mark.slow) for count in (300, 1025, 5000))]
)


def made(name):
    return Cart() if name == "cart" else trc.make_problem(name)


def both_ways(ask):
    """What is found with kernels, all of which were made and taken, and what without."""
    problem, fast = ask()
    kernels = [kernel for key, kernel in problem.cache.items() if key[0] == "kernel"]
    assert kernels and all(kernels)
    with trc.accelerate(False):
        return fast, ask()[1]


def same(ours, theirs, tolerance):
    for name in ours:
        torch.testing.assert_close(
            ours[name], theirs[name], rtol=tolerance, atol=tolerance, msg=lambda text, name=name: f"{name}: {text}"
        )


@each_problem
@each_type
@each_batch
def test_simulations_costates_and_gradients_are_the_same(name, dtype, tolerance, count):
    def ask():
        problem, generator = made(name), torch.Generator().manual_seed(count)
        x, target = problem.sample(count, generator=generator, dtype=dtype)
        u = torch.rand(count, 12, problem.control_dim, generator=generator, dtype=dtype) - 0.5
        values = {key: value * (0.8 + 0.4 * torch.rand(count, generator=generator, dtype=dtype))
                  for key, value in problem.parameters.items()}  # fmt: skip
        leaves = {"x": x, "u": u, **values}
        for leaf in leaves.values():
            leaf.requires_grad_()
        states = trc.rollout(problem, x, u, values)
        gradients = torch.autograd.grad(states.sin().sum(), list(leaves.values()))
        told = trc.costate(problem, x, u, target, values)
        A, B = trc.step_jacobians(problem, x, u[:, 0], values)
        found = {f"gradient by {key}": gradient for key, gradient in zip(leaves, gradients, strict=True)}
        found |= {field.name: getattr(told, field.name) for field in fields(told)}
        return problem, {key: value.detach() for key, value in (found | {"states": states, "A_0": A, "B_0": B}).items()}

    ours, theirs = both_ways(ask)
    if name == "van_der_pol":  # additions, products and quotients alone
        assert torch.equal(ours["states"], theirs["states"])
    same(ours, theirs, tolerance)


@each_problem
@each_type
@each_batch
def test_experts_are_the_same_with_as_many_iterations_and_the_same_certificate(name, dtype, tolerance, count):
    def ask():
        problem, generator = made(name).replace(horizon=25), torch.Generator().manual_seed(count)
        x, target = problem.sample(count, generator=generator, scale=1.5, dtype=dtype)
        u = torch.rand(count, 25, problem.control_dim, generator=generator, dtype=dtype) - 0.5
        answers = {"lqr": trc.lqr(problem, x, target), "ilqr": trc.ilqr(problem, x, target)}
        answers["from controls"] = trc.ilqr(problem, x, target, start=u)
        return problem, {
            f"{expert} {field.name}": value.clone()
            for expert, answer in answers.items()
            for field in fields(answer)
            if (value := getattr(answer, field.name)) is not None
        }

    ours, theirs = both_ways(ask)
    for expert in ("ilqr", "from controls"):  # among thousands the last digit may decide for another way
        steps, others = ours[f"{expert} iterations"], theirs[f"{expert} iterations"]
        alike = (steps - others).abs() <= others // 30  # nor among dozens of iterations for one more or less
        assert alike.sum() >= count - count // 500
        for found in (ours, theirs):
            residual = found.pop(f"{expert} residual")  # far below the tolerance it is rounding
            found.pop(f"{expert} iterations")
            assert bool((residual[found[f"{expert} converged"]] <= 1e-7).all())
            found |= {key: value[alike] for key, value in found.items() if key.startswith(expert)}
    same(ours, theirs, max(tolerance, 1e-7))
