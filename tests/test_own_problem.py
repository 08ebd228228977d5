"""The files that the book shows to readers with a problem of their own: the physics, the cost, and the whole way."""

import re
import sys
import warnings
from pathlib import Path

import ipopt
import numpy as np
import pytest
import scipy.integrate
import torch

import trc
from trc.cli import main
from trc.cli.options import import_first

BOOK = Path(__file__).resolve().parent.parent / "book"
DYNAMICS, COST = ((BOOK / f"your_own_{what}.md").read_text() for what in ("dynamics", "cost"))

#: Problems of the book, and the files that register them.
FILES = {"cart_pole": "cart_pole.py", "hall_with_post": "hall.py"}


@pytest.fixture(autouse=True)
def as_if_imported_for_the_first_time(monkeypatch):
    """What a test registers is forgotten at its end, so the files have to be read anew."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    for file in FILES.values():
        monkeypatch.delitem(sys.modules, Path(file).stem, raising=False)


@pytest.fixture
def made():
    """A function that makes a problem, as ``trc --import`` does."""

    def make(name):
        import_first(str(BOOK / FILES[name]))
        return trc.make_problem(name)

    return make


@pytest.fixture
def cart_pole(made):
    return made("cart_pole")


@pytest.fixture
def hall(made):
    """The module."""
    made("hall_with_post")
    return sys.modules["hall"]


@pytest.fixture(params=FILES)
def mine(request, made):
    """Each problem in turn."""
    return made(request.param)


def drawn(problem, count=20, scale=3.0):
    """States and controls from beyond the range of the instances."""
    generator = torch.Generator().manual_seed(0)
    x, _ = problem.sample(count, generator=generator, scale=scale, dtype=torch.float64)
    low, high = problem.bounds(x)
    return x, low + (high - low) * torch.rand(count, problem.control_dim, generator=generator, dtype=torch.float64)


# What holds for both


def test_jacobians_are_difference_quotients(mine):
    x, u = drawn(mine)
    n, z = mine.state_dim, torch.cat((x, u), 1)
    nudges = 1e-5 * torch.eye(z.shape[1], dtype=torch.float64)
    ways = [[mine.step(y[:, :n], y[:, n:], mine.parameters) for y in (z + nudge, z - nudge)] for nudge in nudges]
    quotients = torch.stack([(more - less) / 2e-5 for more, less in ways], -1)
    with trc.accelerate(False):
        A, B = trc.step_jacobians(mine, x, u)
    torch.testing.assert_close(torch.cat((A, B), -1), quotients, rtol=0, atol=1e-9)


def test_step_takes_any_leading_shape_and_a_value_of_each_parameter_for_every_instance(mine):
    x, u = drawn(mine, 12)
    after = mine.step(x, u, mine.parameters)
    shaped = mine.step(x.reshape(3, 4, -1), u.reshape(3, 4, -1), mine.parameters)
    torch.testing.assert_close(shaped, after.reshape(3, 4, -1), rtol=0, atol=1e-14)
    factors = torch.linspace(0.8, 1.2, 12, dtype=torch.float64)
    several = mine.step(x, u, {name: value * factors for name, value in mine.parameters.items()})
    for i, factor in enumerate(factors):
        alone = mine.step(x[i], u[i], {name: value * factor for name, value in mine.parameters.items()})
        torch.testing.assert_close(several[i], alone, rtol=0, atol=1e-14)


def solved(solve, problem, x0, target):
    """What a teacher finds: it has converged, is better than nothing, and no kernel was refused with a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = solve(problem, x0, target)
        states = trc.rollout(problem, x0, found.controls)
    x = x0
    for t in range(problem.horizon):
        x = problem.step(x, found.controls[:, t], problem.parameters)
        torch.testing.assert_close(states[:, t + 1], x, rtol=0, atol=1e-12)
    assert found.converged.all()
    idle = torch.zeros_like(found.controls)
    with trc.accelerate(False):
        assert (found.cost < problem.cost(trc.rollout(problem, x0, idle), idle, target)).all()
    return found


# The cart-pole


def energy(problem, x):
    M, m, length, g = problem.parameters.values()
    _, speed, angle, rate = x.unbind(-1)
    across = speed + length * rate * angle.cos(), -length * rate * angle.sin()  # velocity of the tip
    return (M * speed**2 + m * (across[0] ** 2 + across[1] ** 2)) / 2 + m * g * length * angle.cos()


def momentum(problem, x):
    M, m, length, _ = problem.parameters.values()
    _, speed, angle, rate = x.unbind(-1)
    return M * speed + m * (speed + length * rate * angle.cos())


def test_cart_pole_rests_upright_and_hanging_and_is_its_own_mirror_image_anywhere(cart_pole):
    rest = torch.tensor([[0.3, 0, 0, 0], [-2.0, 0, torch.pi, 0]], dtype=torch.float64)
    torch.testing.assert_close(cart_pole.step(rest, rest[:, 1:2], cart_pole.parameters), rest, rtol=0, atol=1e-15)
    x, force = drawn(cart_pole)
    after = cart_pole.step(x, force, cart_pole.parameters)
    torch.testing.assert_close(cart_pole.step(-x, -force, cart_pole.parameters), -after, rtol=0, atol=1e-14)
    aside = torch.tensor([5.0, 0, 0, 0], dtype=torch.float64)
    moved = cart_pole.step(x + aside, force, cart_pole.parameters)
    torch.testing.assert_close(moved, after + aside, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("law", "push"), [(energy, 0.0), (momentum, 7.0)])
def test_energy_is_kept_and_momentum_is_force_times_time_to_the_order_of_the_integration(cart_pole, law, push):
    x, _ = drawn(cart_pole)
    off = []
    for halvings in range(3):
        steps = cart_pole.horizon * 2**halvings
        finer = cart_pole.replace(dt=cart_pole.duration / steps, horizon=steps, control_low=[-20], control_high=[20])
        states = trc.rollout(finer, x, torch.full((len(x), steps, 1), push, dtype=torch.float64))
        off.append((law(finer, states[:, -1]) - law(finer, x) - push * finer.duration).abs().max().item())
    assert off[0] < 2e-3
    assert off[0] > 12 * off[1] > 144 * off[2]


def test_iterative_lqr_balances_the_pole(cart_pole, draw):
    x0, target = draw(cart_pole, 40)
    found = solved(trc.ilqr, cart_pole, x0, target)
    assert found.states[..., 2].abs().max() < 0.5
    assert cart_pole.success(found.states, target).double().mean() > 0.9


def test_cart_pole_moves_as_the_equations_of_lagrange_say(cart_pole):
    M, m, length, g = cart_pole.parameters.values()

    def rates(_, x, force):
        _, speed, angle, rate = x
        s, c = np.sin(angle), np.cos(angle)
        mass = [[M + m, m * length * c], [m * length * c, m * length**2]]
        acceleration = np.linalg.solve(mass, [force + m * length * rate**2 * s, m * g * length * s])
        return [speed, acceleration[0], rate, acceleration[1]]

    exact, forces = [np.array([0.2, -0.3, 0.4, 0.5])], [8.0, -3.0, 10.0, 0.0]
    for force in forces:
        found = scipy.integrate.solve_ivp(rates, (0, 0.4), exact[-1], args=(force,), rtol=1e-12, atol=1e-13)
        exact.append(found.y[:, -1])
    controls = torch.tensor(forces, dtype=torch.float64).repeat_interleave(5).reshape(1, -1, 1)
    states = trc.rollout(cart_pole.replace(horizon=20), torch.from_numpy(exact[0])[None], controls)
    assert np.abs(states[0, ::5].numpy() - np.array(exact)).max() < 5e-5


def test_pole_falls_as_fast_as_the_page_says(cart_pole):
    M, m, length, g = cart_pole.parameters.values()
    rest = torch.zeros(1, 4, dtype=torch.float64)
    A, _ = trc.step_jacobians(cart_pole, rest, rest[:, :1])
    omega = np.sqrt(g / length * (M + m) / M)
    assert torch.linalg.eigvals(A[0]).abs().max().item() == pytest.approx(np.exp(omega * cart_pole.dt), rel=1e-5)


def test_iterative_lqr_finds_the_optimum_of_the_interior_point_solver(cart_pole, draw, monkeypatch):
    casadi = ipopt.casadi

    def dynamics(x, u, parameters, dt):
        M, m, length, g = parameters.values()

        def rates(x):
            s, c = casadi.sin(x[2]), casadi.cos(x[2])
            mass = casadi.vertcat(casadi.horzcat(M + m, m * length * c), casadi.horzcat(c, length))
            found = casadi.solve(mass, casadi.vertcat(u[0] + m * length * x[3] ** 2 * s, g * s))
            return casadi.vertcat(x[1], found[0], x[3], found[1])

        k1 = rates(x)
        k2 = rates(x + dt / 2 * k1)
        k3 = rates(x + dt / 2 * k2)
        return x + dt / 6 * (k1 + 2 * k2 + 2 * k3 + rates(x + dt * k3))

    monkeypatch.setitem(ipopt.DYNAMICS, "cart_pole", dynamics)
    x0, target = draw(cart_pole, 4)
    with trc.accelerate(False):
        ours, begin = trc.ilqr(cart_pole, x0, target), trc.lqr(cart_pole, x0, target)
    solve = ipopt.Ipopt(cart_pole)
    for i, cost in enumerate(ours.cost):
        given = (tensor[i].numpy() for tensor in (x0, target, begin.states, begin.controls))
        _, theirs, solved = solve(*given)
        assert solved and cost.item() == pytest.approx(theirs, rel=1e-7)


# The cost with a post


def test_hill_bends_downwards_and_what_is_handed_over_does_not(hall):
    cost = hall.Around()
    x = torch.linspace(-1, 1, 21, dtype=torch.float64)
    states = torch.stack((x, 0.3 * x), -1).unsqueeze(1)  # [T+1, 1, 2], through the post
    controls = torch.ones(20, 1, 2, dtype=torch.float64)
    target = torch.ones(1, 2, dtype=torch.float64)
    running, _ = cost.hessian(states, controls, target)
    own = [torch.autograd.functional.hessian(cost.hill, one[0]) for one in states[:-1]]
    assert min(torch.linalg.eigvalsh(one).min() for one in own) < -1
    assert torch.linalg.eigvalsh(running).min() > -1e-12


def test_teacher_with_a_habit_passes_on_the_left_and_success_is_not_to_touch_the_post(hall, draw):
    problem = hall.HallWithPost()
    x0, target = draw(problem, 40)
    left = solved(hall.keep_left, problem, x0, target).states
    assert (left[:, problem.horizon // 2, 1] > 0).double().mean() > 0.9
    assert problem.success(left, target).all()
    share = torch.linspace(0, 1, problem.horizon + 1, dtype=torch.float64).reshape(1, -1, 1)
    straight = x0.unsqueeze(1) + share * (target - x0).unsqueeze(1)
    touched = straight.norm(dim=-1).amin(-1) < problem.cost.radius
    assert touched.any() and torch.equal(problem.success(straight, target), ~touched)
    assert hall.Hall().success(straight, target).all()


def second_derivatives_of_the_page(hall):
    """The classes of the page's cell that writes them by hand."""
    (cell,) = [cell for cell in cells(COST) if "class GaussNewton" in cell]
    shown = {"hall": hall, "torch": torch}
    exec(cell[: cell.index("\n\ndef ")], shown)
    return shown["GaussNewton"], shown["AsItIs"]


def test_second_derivatives_by_hand_are_what_the_page_says(hall, draw):
    gauss_newton, as_it_is = (kind() for kind in second_derivatives_of_the_page(hall))
    generator = torch.Generator().manual_seed(0)
    states = 0.4 * torch.randn(6, 3, 2, generator=generator, dtype=torch.float64)
    controls = torch.randn(5, 3, 2, generator=generator, dtype=torch.float64)
    target = draw(hall.HallWithPost(), 3)[1]
    by_hand, last = as_it_is.hessian(states, controls, target)
    own = hall.Around()
    for t, b in ((0, 0), (2, 1), (4, 2)):
        z = torch.cat((states[t, b], controls[t, b]))
        by_torch = torch.autograd.functional.hessian(lambda z, b=b: own.running(z[:2], z[2:], target[b]), z)
        torch.testing.assert_close(by_hand[t, b], by_torch, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(last, own.hessian(states, controls, target)[1][0], rtol=1e-12, atol=1e-12)

    def root(x):
        return own.hill(x).sqrt()

    without, _ = gauss_newton.hessian(states, controls, target)
    slope = torch.autograd.functional.jacobian(root, states[2, 1])
    torch.testing.assert_close(without[2, 1, :2, :2], 2 * torch.outer(slope, slope), rtol=1e-12, atol=1e-12)


# The pages


def cells(page):
    return re.findall(r"^```\{code-cell\} ipython3\n(.*?)^```$", page, re.M | re.S)


def test_pages_show_these_files():
    assert 'Code(filename="cart_pole.py"' in DYNAMICS
    for name in ("Around", "HallWithPost", "keep_left"):
        assert f"inspect.getsource(hall.{name})" in COST


def test_commands_of_the_page_run_with_the_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "book").symlink_to(BOOK)
    lines = re.findall(r"^\.venv/bin/trc (.*)$", DYNAMICS, re.M)
    assert [line.split()[2] for line in lines] == ["pipeline", "refine"]
    small = {"pipeline": "--num-test 10", "refine": "--data data/cart_pole_ilqr_test/lqr_dataset.npz"}
    for line in lines:
        main(f"{line.replace(' 2000 20 ', ' 30 1 ')} {small[line.split()[2]]}".split())
        monkeypatch.delitem(sys.modules, "cart_pole")  # the next one is another process
    assert "30 instances of cart_pole, solved by ilqr" in capsys.readouterr().out
    assert (tmp_path / "refinement_analysis.png").is_file()
