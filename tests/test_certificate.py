"""An optimum is one in whatever units it is written, or says that it is none; what overflows harms nothing else."""

import warnings
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from made_up import Cart, with_step
from scipy.optimize import lsq_linear

import trc
from trc.experts import Overflowing
from trc.experts.backward import ROUNDS, box_minimum
from trc.experts.certificate import second_derivatives
from trc.problems import Cost, Problem


def in_units(problem, of_states, of_controls, of_cost):
    """The same problem, its states, controls and cost written in smaller units."""

    @dataclass(frozen=True, kw_only=True)
    class InUnits(Problem):
        def step(self, x, u, parameters):
            s, c = x.new_tensor(of_states), x.new_tensor(of_controls)
            return s * problem.step(x / s, u / c, parameters)

    def weights(matrix, unit):
        return tuple(
            tuple(of_cost * w / (a * b) for w, b in zip(row, unit, strict=True))
            for row, a in zip(matrix, unit, strict=True)
        )

    def scaled(values, unit):
        return tuple(unit_one * value for value, unit_one in zip(values, unit, strict=True))

    cost = problem.cost
    weighed = weights(cost.Q, of_states), weights(cost.R, of_controls), weights(cost.Q_final, of_states)
    box = tuple((s * low, s * high) for (low, high), s in zip(problem.initial_range, of_states, strict=True))
    names = ("name", "state_names", "control_names", "horizon", "dt", "parameters")
    return InUnits(
        **{name: getattr(problem, name) for name in names},
        cost=trc.QuadraticCost(*weighed),
        control_low=scaled(problem.control_low, of_controls),
        control_high=scaled(problem.control_high, of_controls),
        initial_range=box,
        target_range=tuple((s * low, s * high) for (low, high), s in zip(problem.target_range, of_states, strict=True)),
    )


UNITS = [10.0**k for k in (-7, -4, -1, 2, 5, 7)]
WAYS = [(unit, True) for unit in UNITS] + [(1e-7, False), (1e7, False)]  # what is compiled is written for its units


@pytest.mark.parametrize(("unit", "plain"), WAYS)
@pytest.mark.parametrize("name", ["double_integrator", "van_der_pol", "cart"])
def test_same_instances_have_the_same_answer_in_any_units(name, unit, plain):
    problem = Cart() if name == "cart" else trc.make_problem(name, horizon=25)
    n, m = problem.state_dim, problem.control_dim
    of_states = tuple(unit ** ((i % 2) * 2 - 1) for i in range(n))  # one up, the next one down
    of_controls = tuple(unit ** (1 - (i % 2) * 2) for i in range(m))
    other = in_units(problem, of_states, of_controls, of_cost := unit**-1)
    initial, target = problem.sample(6, generator=torch.Generator().manual_seed(0), dtype=torch.float64, scale=1.5)
    s, c = torch.tensor(of_states, dtype=torch.float64), torch.tensor(of_controls, dtype=torch.float64)
    with trc.accelerate(not plain):
        mine = trc.ilqr(problem, initial, target, start="zero")
        theirs = trc.ilqr(other, s * initial, s * target, start="zero")
    assert mine.converged.all() and theirs.converged.all()
    torch.testing.assert_close(theirs.cost / of_cost, mine.cost, rtol=1e-10, atol=0)
    torch.testing.assert_close(theirs.controls / c, mine.controls, rtol=0, atol=1e-5)
    assert (theirs.iterations - mine.iterations).abs().max() <= 1
    each = [
        trc.certify(*one)
        for one in ((problem, initial, target, mine.controls), (other, s * initial, s * target, c * mine.controls))
    ]
    torch.testing.assert_close(each[0].residual, each[1].residual, rtol=1e-3, atol=1e-9)
    torch.testing.assert_close(each[0].curvature, each[1].curvature, rtol=1e-6, atol=1e-9)
    assert torch.equal(each[0].free, each[1].free)


def test_residual_by_hand():
    """One step of a mass: the gradient is ``2 R u + 2 Q_f (x + u - g)``, a sum of two terms."""
    problem = with_step(
        lambda problem, x, u, p: x + torch.cat((u, 0 * u), -1),
        horizon=1,
        control_low=(-1.0,),
        control_high=(1.0,),
        cost=trc.QuadraticCost(Q=((0, 0), (0, 0)), R=((2,),), Q_final=((3, 0), (0, 0))),
    )
    zero = torch.zeros(1, 2, dtype=torch.float64)

    def certificate(x, u):
        return trc.certify(problem, zero + x, zero, torch.full((1, 1, 1), u, dtype=torch.float64))

    found = certificate(1.0, -0.5)  # 4 * -0.5 + 6 * 0.5 = 1, of 2 + 3
    assert found.residual.item() == pytest.approx(0.2) and found.free.item() == 1
    assert certificate(1.0, -0.6).residual.item() == pytest.approx(0, abs=1e-15)
    assert certificate(5.0, -1.0).residual.item() == 0  # -4 + 24 pushes against the lower bound
    assert certificate(5.0, -1.0).free.item() == 0 and certificate(5.0, -1.0).curvature.item() == float("inf")
    assert certificate(5.0, 1.0).residual.item() == pytest.approx(40 / 40)  # and away from the upper one
    assert certificate(0.0, 0.0).residual.item() == 0  # where both terms vanish


def test_second_derivatives_are_those_of_differences_of_the_gradient():
    problem = Cart(horizon=5)
    initial, target = problem.sample(3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u = torch.rand(3, 5, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 0.5
    H, h = second_derivatives(problem, initial, target, u), 1e-6
    for k in range(10):
        off = torch.zeros(10, dtype=torch.float64).index_fill(0, torch.tensor(k), h).view(5, 2)
        up, down = (trc.costate(problem, initial, u + sign * off, target).gradient for sign in (1, -1))
        torch.testing.assert_close(H[:, k], ((up - down) / (2 * h)).flatten(1), rtol=1e-6, atol=1e-6)


@dataclass(frozen=True)
class Upright(Cost):
    """Effort, and a height that is greatest at the angle 0."""

    effort: float

    def running(self, x, u, target):
        return self.effort * u.square().sum(-1)

    def final(self, x, target):
        return 1 + x[..., 0].cos()


def test_second_order_tells_a_minimum_from_a_saddle():
    """To stay on top is stationary; over two steps the second derivatives are ``2 r I - 1 1ᵀ``."""

    def at_rest(effort):
        turn = with_step(lambda problem, x, u, p: x + torch.cat((u, 0 * u), -1), horizon=2, cost=Upright(effort))
        zero = torch.zeros(1, 2, dtype=torch.float64)
        return trc.certify(turn, zero, zero, torch.zeros(1, 2, 1, dtype=torch.float64))

    saddle, minimum = at_rest(0.25), at_rest(2.0)
    assert saddle.residual.item() == minimum.residual.item() == 0
    assert saddle.curvature.item() == pytest.approx(-3)  # of ((-0.5, -1), (-1, -0.5)), the diagonal as a unit
    assert minimum.curvature.item() == pytest.approx(2 / 3)  # of ((3, -1), (-1, 3))
    assert minimum.minimum().all() and not saddle.minimum().any()
    assert str(saddle).startswith("1 of 1 are stationary") and "0 of these strict local minima" in str(saddle)


@pytest.mark.parametrize("name", ["double_integrator", "van_der_pol", "cart"])
def test_optimum_is_one_in_single_precision_too_and_what_is_off_by_more_is_not(name):
    problem = Cart(control_high=(0.3, 0.5)) if name == "cart" else trc.make_problem(name, control_high=(0.3,))
    initial, target = problem.sample(20, generator=torch.Generator().manual_seed(0))  # 0.3 is no number of float32
    found = trc.certify(problem, initial, target, (best := trc.ilqr(problem, initial, target)).controls)
    assert best.controls.dtype == torch.float32 and found.minimum().all()
    off = trc.certify(problem, initial, target, problem.clip(best.controls * (1 - 1e-3)))
    assert not off.stationary()[off.free > 0].any()


def random_boxes(m, count, condition, generator):
    """Programs with optima inside, at bounds, at bounds without a slope (degenerate), and between equal bounds."""
    real = {"dtype": torch.float64, "generator": generator}
    rotation, _ = torch.linalg.qr(torch.randn(count, m, m, **real))
    values = condition ** torch.rand(count, m, 1, **real)
    values[:, 0], values[:, -1] = 1.0, condition if m > 1 else 1.0
    H = rotation @ (values * rotation.mT)
    x, kind = torch.randn(count, m, 1, **real), torch.randint(0, 5, (count, m, 1), generator=generator)
    low, high = x - torch.rand(count, m, 1, **real), x + torch.rand(count, m, 1, **real)
    low, high = torch.where(kind == 0, x, low), torch.where(kind == 1, x, high)
    low = torch.where(kind == 2, high, low)
    somewhere = torch.randn(count, m, 1, **real) * condition
    at_x = torch.rand(count, 1, 1, **real) < 0.5
    return (H + H.mT) / 2, torch.where(at_x, -H @ x, somewhere), low, high


def wrongness(H, g, low, high, d):
    """Largest violation of the conditions of a minimum, as a share of the terms of the slope."""
    slope, terms = g + H @ d, (g.abs() + H.abs() @ d.abs()).amax((1, 2))
    wrong = torch.where(d <= low, -slope, torch.where(d >= high, slope, slope.abs())).clamp_min(0)
    return torch.where(low == high, 0.0, wrong).amax((1, 2)) / terms


@pytest.mark.parametrize("condition", [1e1, 1e6])
@pytest.mark.parametrize("m", [1, 2, 3, 4, 5, 6])
def test_minimum_in_a_box_is_exact(m, condition):
    count = 170  # 2,040 in all
    H, g, low, high = random_boxes(m, count, condition, torch.Generator().manual_seed(m))
    found, _ = box_minimum(H, g, low, high)
    assert ((found >= low) & (found <= high)).all()
    assert wrongness(H, g, low, high, found).max() < 1e-10
    recorded, _ = box_minimum(H, g, low, high, ROUNDS * m)
    assert wrongness(H, g, low, high, recorded).max() < 1e-10  # so many rounds are enough

    for H_i, g_i, low_i, high_i, mine in zip(H, *(each.squeeze(-1) for each in (g, low, high, found)), strict=True):
        H_i, g_i, low_i, high_i, mine = (each.numpy() for each in (H_i, g_i, low_i, high_i, mine))
        L = np.linalg.cholesky(H_i)  # ½ dᵀH d + gᵀd is ½ ‖Lᵀd + L⁻¹g‖² but for a constant
        theirs, apart = mine.copy(), low_i < high_i
        if apart.any():
            rest = -np.linalg.solve(L, g_i) - L.T[:, ~apart] @ mine[~apart]
            theirs[apart] = lsq_linear(L.T[:, apart], rest, (low_i[apart], high_i[apart]), tol=1e-14, method="bvls").x
        cost, other = (0.5 * d @ H_i @ d + g_i @ d for d in (mine, theirs))
        assert cost <= other + 1e-12 * (abs(other) + np.abs(g_i) @ np.abs(theirs))


def test_instance_that_overflows_is_marked_and_takes_no_other_with_it():
    problem = trc.make_problem("van_der_pol", horizon=60)
    initial, target = torch.tensor([[0.5, 0.0], [1e3, 0.0], [0.0, 1.0]]), torch.zeros(3, 2)
    for solve in (trc.lqr, trc.ilqr, trc.optimum):
        with pytest.warns(Overflowing, match="1 of 3 .* the others are as they would be alone") as told:
            found = solve(problem, initial, target)
        assert told[0].filename == __file__  # so that Python tells it again at another line
        assert found.cost.isfinite().tolist() == [True, False, True]
        assert found.controls[1].isnan().all() and found.states[1].isnan().all() and found.cost[1] == float("inf")
        good = torch.tensor([0, 2])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            alone = solve(problem, initial[good], target[good])
        torch.testing.assert_close(found.controls[good], alone.controls, rtol=1e-6, atol=1e-6)
        if solve is not trc.lqr:
            assert found.converged.tolist() == [True, False, True] and found.residual[1] == float("inf")
        with pytest.raises(ValueError, match=r"rollout overflows: at step \d+ of 60 .*in 1 of 1 instances"):
            solve(problem, initial[1:2], target[1:2])


def test_start_that_overflows_takes_no_other_with_it():
    """Saturated LQR believes in a step that throws it out; from zero controls nothing happens."""
    problem = with_step(lambda problem, x, u, p: 0.9 * x + u * (1 - 1e3 * x.abs()), horizon=60)
    initial, target = torch.full((2, 2), 0.5), torch.zeros(2, 2)
    initial[1] = 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert trc.lqr(problem, initial, target).cost.isfinite().tolist() == [False, True]
        alone = trc.ilqr(problem, initial, target, start="zero")
        both = trc.ilqr(problem, initial, target, start=["lqr", "zero"])
    assert torch.equal(both.cost, alone.cost) and torch.equal(both.controls, alone.controls)


@pytest.mark.parametrize("plain", [False, True])
def test_dataset_leaves_out_what_can_not_be_solved(plain):
    problem = trc.make_problem("van_der_pol", horizon=40)
    with (
        trc.accelerate(not plain),
        pytest.warns(UserWarning, match=r"\d+ of 300 instances overflow with lqr, and are left out"),
    ):
        data = trc.generate_dataset(problem, 300, seed=0, scale=30.0)
    assert 0 < len(data) < 300 and data.costs.isfinite().all()
    assert data.origin["left_out"] == 300 - len(data)
    assert "left_out" not in trc.generate_dataset(problem, 5, seed=0).origin


def test_bad_tolerance_and_controls_are_refused():
    problem = trc.make_problem("double_integrator")
    initial = torch.zeros(2, 2)
    with pytest.raises(ValueError, match=r"controls must have shape \[2, 15, 1\]"):
        trc.certify(problem, initial, initial, torch.zeros(2, 1, 1))
    with pytest.raises(ValueError, match="tolerance must be a positive number"):
        trc.certify(problem, initial, initial, torch.zeros(2, 15, 1)).minimum(0)


def test_cost_of_nothing_is_an_optimum():
    """From the target itself nothing is to be done, whatever the search begins with."""
    for name in ("double_integrator", "van_der_pol"):
        problem = trc.make_problem(name)
        there = torch.zeros(3, 2, dtype=torch.float64)
        if name == "double_integrator":
            there[:, 0] = torch.tensor([0.7, -1.3, 3.1])
        found = trc.ilqr(problem, there, there, start="random", generator=torch.Generator().manual_seed(0))
        assert found.converged.all() and found.cost.max() < 1e-20


@dataclass(frozen=True)
class Distance(Cost):
    """Plain distances, which have no second derivative at the target."""

    def running(self, x, u, target):
        return (x - target).norm(dim=-1) + 0.1 * u.square().sum(-1)

    def final(self, x, target):
        return 10 * (x - target).norm(dim=-1)


@pytest.mark.parametrize("plain", [False, True])
def test_cost_without_second_derivatives_at_the_target_spoils_no_other_instance(plain):
    problem = replace(trc.make_problem("double_integrator"), cost=Distance())
    initial, target = torch.tensor([[1.0, 0.0], [0.0, 0.0]]).double(), torch.zeros(2, 2).double()
    with trc.accelerate(not plain):
        found, alone = (trc.ilqr(problem, initial[:n], target[:n], start="zero", max_iterations=20) for n in (2, 1))
        begun = trc.ilqr(problem, initial, target, start="zero", max_iterations=0)
    assert found.cost[0] < begun.cost[0] and found.cost[1] == 0
    torch.testing.assert_close(found.controls[0], alone.controls[0])
    with pytest.raises(ValueError, match="has no second derivatives at the target"):
        trc.lqr(problem, initial, target)


@pytest.mark.filterwarnings("ignore:the kernel")  # with the farthest bound its trial overflows
@pytest.mark.parametrize("plain", [False, True])
def test_bound_that_is_far_enough_may_be_anywhere(plain):
    x, goal = torch.tensor([[1.5, 1.5], [-1.0, 0.0]], dtype=torch.float64), torch.zeros(2, 2, dtype=torch.float64)
    costs = {}
    for name, low in (("van_der_pol", -1.0), ("double_integrator", 0.0)):
        for far in (1e3, 1e6, 1e10, 1e20, 1e100):
            problem = trc.make_problem(name, control_low=(low * far,), control_high=(far,))
            start = torch.full((2, problem.horizon, 1), 2.0, dtype=torch.float64)
            with trc.accelerate(not plain):
                found = trc.ilqr(problem, x, goal, start=start)
                assert found.converged.all() and found.iterations.min() > 0
                assert not trc.certify(problem, x, goal, start).stationary().any()
            torch.testing.assert_close(found.cost, costs.setdefault(name, found.cost), rtol=1e-12, atol=0)


@dataclass(frozen=True)
class Saddle(Cost):
    """A valley whose floor falls away, by the fourth power, in a direction that no control has for its own."""

    a: float = 0.2630045495995258
    b: float = 1.0986809627272995

    def running(self, x, u, target):
        along, across = self.a * u[..., 0] + self.b * u[..., 1] - 0.3, self.b * u[..., 0] - self.a * u[..., 1]
        return along**2 - across**4 + 0 * x.sum(-1)

    def final(self, x, target):
        return 0 * x.sum(-1)


def test_flat_direction_is_no_strict_minimum():
    two = {"control_names": ("u", "v"), "control_low": (-1.0, -1.0), "control_high": (1.0, 1.0)}
    problem = with_step(lambda problem, x, u, p: x + u, horizon=2, cost=Saddle(), **two)
    x, a, b = torch.zeros(1, 2), Saddle.a, Saddle.b
    bottom = (torch.tensor([a, b], dtype=torch.float64) * 0.3 / (a * a + b * b)).expand(1, 2, 2)
    found = trc.certify(problem, x.double(), x.double(), bottom)
    assert found.stationary().all() and found.curvature.abs() < 1e-14 and not found.minimum().any()


@pytest.mark.parametrize("plain", [False, True])
def test_derivative_that_is_none_is_no_optimum_and_spoils_no_other_instance(plain):
    def drag(problem, x, u, p):  # the slope of v |v|, written so that it is 0 / 0 at rest
        v = x[..., 1]
        return torch.stack((x[..., 0] + 0.05 * v, v + 0.05 * (u[..., 0] - v * (v * v).sqrt())), -1)

    problem = with_step(drag, horizon=40)
    x, goal = torch.tensor([[1.0, 0.0], [1.0, 0.5]], dtype=torch.float64), torch.zeros(2, 2, dtype=torch.float64)
    with trc.accelerate(not plain):
        found = trc.ilqr(problem, x, goal, start="zero")
    assert found.converged.tolist() == [False, True] and found.residual[1] <= 1e-7
    certificate = trc.certify(problem, x, goal, torch.zeros(2, 40, 1, dtype=torch.float64))
    assert certificate.residual[0] == torch.inf and certificate.curvature.isnan().tolist() == [True, False]
    assert not certificate.minimum().any()
    alone = trc.certify(problem, x[1:], goal[1:], torch.zeros(1, 40, 1, dtype=torch.float64))
    assert alone.curvature.equal(certificate.curvature[1:]) and alone.residual.equal(certificate.residual[1:])


def test_second_derivatives_are_the_same_however_many_columns_at_a_time(monkeypatch, van_der_pol):
    x, goal = van_der_pol.sample(3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    controls = trc.random_controls(van_der_pol, 3, torch.Generator().manual_seed(1)).double()
    whole = second_derivatives(van_der_pol, x, goal, controls)
    monkeypatch.setattr("trc.experts.certificate.STEPS", 7 * van_der_pol.horizon)
    torch.testing.assert_close(second_derivatives(van_der_pol, x, goal, controls), whole, rtol=1e-12, atol=1e-12)
