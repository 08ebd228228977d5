"""The cost of a trajectory: by hand, and its derivatives against PyTorch's own."""

from dataclasses import dataclass

import pytest
import torch
from made_up import Cart, Rover, WayCost

import trc
from trc.problems import Cost


@dataclass(frozen=True)
class Rewritten(Cost):
    """A quadratic cost as a stranger would write it, without its matrices."""

    of: trc.QuadraticCost

    def running(self, x, u, target):
        return self.of.running(x, u, target)

    def final(self, x, target):
        return self.of.final(x, target)


@dataclass(frozen=True)
class Linear(Cost):
    """Its derivatives don't depend on anything, and its final one not even on the state."""

    def running(self, x, u, target):
        return x[..., 0] + 2 * u[..., 0]

    def final(self, x, target):
        return target[..., 0]


COSTS = {
    "way": WayCost(),
    "steep hill": WayCost(hill=50.0, effort=0.01),
    "linear": Linear(),
    "quadratic": Cart().cost,
    "rewritten": Rewritten(Cart().cost),
}
each_cost = pytest.mark.parametrize("cost", COSTS.values(), ids=COSTS)


@pytest.fixture
def trajectories(draw):
    """States ``[T+1, B, n]``, controls ``[T, B, m]`` and targets of the rover, time first, near the hill."""
    generator = torch.Generator().manual_seed(0)
    x = 0.4 * torch.randn(5, 6, 3, generator=generator, dtype=torch.float64)
    return x, torch.randn(4, 6, 2, generator=generator, dtype=torch.float64), draw(Rover(), 6)[1]


def test_cost_of_two_steps_by_hand():
    cost = trc.QuadraticCost(Q=[[1, 0], [0, 2]], R=[[3]], Q_final=[[4, 1], [1, 5]])
    states = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]]])
    controls = torch.tensor([[[1.0], [2.0]]])
    # deviations (1, -1), (0, 0), (2, 1): running 1 + 2, control 3 + 12, final 16 + 4 + 5
    for one in (cost, Rewritten(cost)):
        assert one(states, controls, torch.tensor([[0.0, 1.0]])).tolist() == [43.0]


def test_weights_are_those_of_the_design(paper_problem):
    assert paper_problem.cost == trc.QuadraticCost(Q=[[10, 0], [0, 5]], R=[[0.1]], Q_final=[[200, 0], [0, 100]])


@each_cost
def test_gradient_is_that_of_torch(cost, trajectories):
    x, u, target = trajectories
    by_torch = torch.autograd.functional.jacobian(
        lambda x, u: cost(x.transpose(0, 1), u.transpose(0, 1), target).sum(), (x, u)
    )
    with torch.inference_mode():
        torch.testing.assert_close(cost.gradient(x, u, target), by_torch, rtol=1e-12, atol=1e-12)


def flattened(matrix):
    """A matrix with the negative eigenvalues set to zero, in units in which its diagonal is one."""
    unit = torch.tensor(
        [1 / abs(own) ** 0.5 if own else 1.0 for own in matrix.diagonal().tolist()], dtype=matrix.dtype
    ).diag()
    values, vectors = torch.linalg.eigh(unit @ matrix @ unit)
    return unit.inverse() @ vectors @ torch.diag_embed(values.clamp_min(0)) @ vectors.mT @ unit.inverse()


@each_cost
def test_hessian_is_that_of_torch_without_what_bends_downwards(cost, trajectories):
    x, u, target = trajectories
    running, final = cost.hessian(x, u, target)
    running, final = running.expand(4, 6, 5, 5), final.expand(6, 3, 3)
    bent = 0
    for t, b in ((0, 0), (1, 3), (3, 5)):
        z = torch.cat((x[t, b], u[t, b]))
        own = torch.autograd.functional.hessian(lambda z, b=b: cost.running(z[:3], z[3:], target[b]), z)
        last = torch.autograd.functional.hessian(lambda z, b=b: cost.final(z, target[b]), x[-1, b])
        torch.testing.assert_close(running[t, b], flattened(own), rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(final[b], flattened(last), rtol=1e-10, atol=1e-10)
        bent += bool((torch.linalg.eigvalsh(own) < -1e-3).any())
    assert (bent > 0) == isinstance(cost, WayCost)  # so that the flattening is tried
    assert min(torch.linalg.eigvalsh(running).min(), torch.linalg.eigvalsh(final).min()) > -1e-12


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"Q": [[1, 2], [0, 1]]}, "Q must be symmetric"),
        ({"Q": [[1, 2], [2, 1]]}, "Q must be positive semidefinite, but its smallest eigenvalue is -1"),
        ({"Q": [[-1e-13, 0], [0, 1e-13]]}, "Q must be positive semidefinite"),
        ({"R": [[0]]}, "R must be positive definite"),
        ({"Q_final": [[float("nan"), 0], [0, 1]]}, "Q_final must be finite"),
        ({"Q": [[1, 0]]}, r"Q must be a square matrix, got shape \(1, 2\)"),
        ({"Q": []}, "Q must be a square matrix"),
        ({"Q": torch.eye(2) * 1j}, "Q must be a square matrix"),
        ({"Q": [[10**400, 0], [0, 1]]}, "Q must be"),
        ({"Q": [[1]]}, "Q is 1 x 1 but Q_final is 2 x 2"),
    ],
)
def test_bad_cost_weights_are_refused(weights, message):
    good = {"Q": [[1, 0], [0, 0]], "R": [[1]], "Q_final": [[1, 0], [0, 1]]}
    trc.QuadraticCost(**good)  # a state may be free of cost
    with pytest.raises(ValueError, match=message) as error:
        trc.QuadraticCost(**good | weights)
    assert str(error.value).endswith(".")


def test_weights_are_definite_relative_to_their_size():
    v = torch.tensor([[0.3], [0.7]], dtype=torch.float64) * 1e3
    for i in range(50):
        rotated = v + i
        trc.make_problem("double_integrator", Q=rotated @ rotated.T)  # of rank one, whatever the rounding


def odd(base=WayCost, **written):
    return type("Odd", (base,), written)()


@pytest.mark.parametrize(
    ("cost", "kind", "message"),
    [
        (odd(running=lambda self, x, u, goal: x), ValueError, r"the running cost of rover .* got \[2, 3\]\.$"),
        (odd(running=lambda self, x, u, goal: x.sum()), ValueError, r"the running cost of rover .* got \[\]\.$"),
        (odd(final=lambda self, x, goal: 3.0), ValueError, r"the final cost of rover must give one .* got float\.$"),
        (odd(running=Cost.running), TypeError, r"Odd must define running\(x, u, target\)\.$"),
        (odd(final=Cost.final), TypeError, r"Odd must define final\(x, target\)\.$"),
        (odd(Cost), ValueError, r"the cost of rover must be a dataclass, so that its weights can be kept"),
        (trc.make_problem("van_der_pol").cost, ValueError, "for 2 states and 1 controls, .* 'rover' has 3 and 2"),
        (None, ValueError, "cost must be a Cost, got None; give a trc.QuadraticCost, or one of your own"),
    ],
)
def test_cost_that_is_none_is_refused_with_the_problem(cost, kind, message):
    with pytest.raises(kind, match=message):
        Rover(cost=cost)
