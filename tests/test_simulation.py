import pytest
import torch
from plain import step_by_step

import trc
from trc.simulation import check_overflow


def randn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def test_states_are_those_of_one_step_after_another(problem):
    initial, controls = randn(4, 2), randn(4, 7, 1, seed=1)
    torch.testing.assert_close(
        trc.rollout(problem, initial, controls), step_by_step(problem, initial, controls), rtol=1e-14, atol=1e-14
    )


@pytest.mark.parametrize("mu", [torch.tensor(1.3), torch.tensor([0.5, 1.0, 2.0])], ids=["scalar", "one an instance"])
def test_gradient_of_van_der_pol_is_that_of_finite_differences(van_der_pol, mu):
    inputs = [0.5 * randn(3, 2), randn(3, 6, 1, seed=1), mu.double()]
    for tensor in inputs:
        tensor.requires_grad_()
    assert torch.autograd.gradcheck(lambda x, u, mu: trc.rollout(van_der_pol, x, u, {"mu": mu}), inputs)


def test_gradient_of_the_double_integrator_is_that_of_finite_differences(double_integrator):
    inputs = [randn(3, 2).requires_grad_(), randn(3, 5, 1, seed=1).requires_grad_()]
    assert torch.autograd.gradcheck(lambda x, u: trc.rollout(double_integrator, x, u), inputs)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-13)])
def test_adjoint_equals_step_by_step_autograd(van_der_pol, draw, dtype, tolerance):
    initial, target = draw(van_der_pol, 32, dtype)
    controls, mu = randn(32, van_der_pol.horizon, 1, dtype=dtype), 1 + 0.1 * randn(32, seed=1, dtype=dtype)
    gradients = []
    for simulate in (trc.rollout, step_by_step):
        inputs = [tensor.clone().requires_grad_() for tensor in (initial, controls, mu)]
        states = simulate(van_der_pol, *inputs[:2], {"mu": inputs[2]})
        gradients.append(torch.autograd.grad(van_der_pol.cost(states, inputs[1], target).mean(), inputs))
    for adjoint, reference in zip(*gradients, strict=True):
        assert (adjoint - reference).norm() < tolerance * reference.norm()


@pytest.mark.parametrize("by", ["initial", "controls", "mu"])
@pytest.mark.parametrize("again", ["grad", "backward"])
def test_second_derivative_is_refused(van_der_pol, by, again):
    given = {"initial": randn(2, 2), "controls": randn(2, 3, 1), "mu": torch.ones(2, dtype=torch.float64)}
    given[by].requires_grad_()
    states = trc.rollout(van_der_pol, given["initial"], given["controls"], {"mu": given["mu"]})
    (gradient,) = torch.autograd.grad(states.square().sum(), given[by], create_graph=True)
    with pytest.raises(RuntimeError, match="rollout can be differentiated once only"):
        if again == "grad":
            torch.autograd.grad(gradient.square().sum(), given[by])
        else:
            gradient.sum().backward()


def test_first_derivative_with_a_graph_is_the_same(van_der_pol):
    controls = randn(2, 3, 1).requires_grad_()
    states = trc.rollout(van_der_pol, randn(2, 2), controls)
    (first,) = torch.autograd.grad(states.square().sum(), controls, create_graph=True)
    states = trc.rollout(van_der_pol, randn(2, 2), controls)
    (second,) = torch.autograd.grad(states.square().sum(), controls)
    assert torch.equal(first, second)


def test_linear_rollout_has_second_derivatives(double_integrator):
    controls = randn(2, 3, 1).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda u: trc.rollout(double_integrator, randn(2, 2), u).square(), controls)


def test_one_parameter_an_instance_equals_single_runs(van_der_pol):
    initial, controls, mu = randn(3, 2), randn(3, 5, 1, seed=1), torch.tensor([0.2, 1.0, 3.0], dtype=torch.float64)
    together = trc.rollout(van_der_pol, initial, controls, {"mu": mu})
    for i in range(3):
        alone = trc.rollout(van_der_pol, initial[i : i + 1], controls[i : i + 1], {"mu": mu[i].item()})
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(together[1:2], trc.rollout(van_der_pol, initial[1:2], controls[1:2]))


def test_jacobians_are_those_of_reverse_mode(problem):
    x, u = randn(3, 4, 2), randn(3, 4, 1, seed=1)
    A, B = trc.step_jacobians(problem, x, u)
    jacobian = torch.func.jacrev(lambda x, u: problem.step(x, u, problem.parameters), argnums=(0, 1))
    expected_A, expected_B = torch.func.vmap(torch.func.vmap(jacobian))(x, u)
    torch.testing.assert_close(A, expected_A, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(B, expected_B, rtol=1e-13, atol=1e-13)


INITIAL, CONTROLS = torch.zeros(4, 2), torch.zeros(4, 5, 1)


@pytest.mark.parametrize(
    ("initial", "controls", "parameters", "message"),
    [
        (torch.zeros(4, 3), CONTROLS, None, r"initial states of van_der_pol must have shape \[any, 2\], got \[4, 3\]"),
        (INITIAL * float("nan"), CONTROLS, None, "must be finite, but 4 of 4 instances"),
        (INITIAL, torch.zeros(3, 5, 1), None, r"controls must have shape \[4, T, 1\] .*got \[3, 5, 1\]"),
        (INITIAL, torch.zeros(4, 5, 2), None, r"controls must have shape \[4, T, 1\] .*got \[4, 5, 2\]"),
        (INITIAL, torch.zeros(4, 5), None, r"controls must have shape \[4, T, 1\] .*got \[4, 5\]"),
        (INITIAL, CONTROLS.double(), None, "initial states are torch.float32 but controls are torch.float64; convert"),
        (INITIAL, CONTROLS, {"mass": 1.0}, "van_der_pol has no parameter 'mass'; it has mu"),
        (INITIAL, CONTROLS, {"mu": torch.ones(3)}, r"parameter 'mu' must be a scalar or have shape \[4\], got \[3\]"),
    ],
)
def test_bad_input_is_refused(van_der_pol, initial, controls, parameters, message):
    with pytest.raises(ValueError, match=message):
        trc.rollout(van_der_pol, initial, controls, parameters)


def test_overflow_names_the_step_and_the_number_of_instances(van_der_pol):
    initial = torch.tensor([[0.0, 0.0], [1e3, 0.0], [2e3, 1.0]])
    controls = torch.zeros(3, 30, 1)
    reference = step_by_step(van_der_pol, initial, controls)
    finite = reference.isfinite().all(-1)
    first = int((~finite).any(0).nonzero()[0])
    assert 1 < first < 30
    assert (~finite[:, -1]).sum() == 2
    with pytest.raises(
        ValueError, match=rf"overflows: at step {first} of 30 .*in the end in 2 of 3 instances; use smaller"
    ):
        trc.rollout(van_der_pol, initial, controls)


def test_overflow_that_does_not_last_is_seen(van_der_pol):
    states = torch.zeros(4, 3, 2)
    states[1, 2, 0] = torch.inf
    with pytest.raises(ValueError, match=r"at step 1 of 3 .*in 1 of 3 instances"):
        check_overflow(states)
