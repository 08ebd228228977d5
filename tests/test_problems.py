import dataclasses
import itertools
import json

import numpy as np
import pytest
import scipy.integrate
import scipy.linalg
import torch
from made_up import Rover, WayCost, with_step

import trc
from trc import problems
from trc.problems import PROBLEMS, register


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# Dynamics


def test_double_integrator_step_is_the_matrix_exponential(double_integrator):
    system = np.array([[0, 1, 0], [0, 0, 1], [0, 0, 0]]) * double_integrator.dt
    exact = torch.from_numpy(scipy.linalg.expm(system))  # of state and held control together
    x = torch.randn(5, 2, generator=generator(), dtype=torch.float64)
    u = torch.randn(5, 1, generator=generator(1), dtype=torch.float64)
    expected = torch.cat((x, u), 1) @ exact.T[:, :2]
    torch.testing.assert_close(double_integrator.step(x, u, {}), expected, rtol=0, atol=1e-14)


def van_der_pol_error(dt):
    """Largest error over two seconds of controls that change each half second, to an adaptive integrator of order 8."""
    exact, mu, levels = [[1.5, -1.0]], 1.7, [2.0, -1.0, 0.5, -2.0]
    for force in levels:
        rates = lambda _, x, force=force: [x[1], mu * (1 - x[0] ** 2) * x[1] - x[0] + force]  # noqa: E731
        found = scipy.integrate.solve_ivp(rates, (0, 0.5), exact[-1], method="DOP853", rtol=1e-13, atol=1e-14)
        exact.append(found.y[:, -1])
    substeps = round(0.5 / dt)
    controls = torch.tensor(levels, dtype=torch.float64).repeat_interleave(substeps).view(1, -1, 1)
    x0 = torch.tensor(exact[:1], dtype=torch.float64)
    states = trc.rollout(trc.make_problem("van_der_pol", dt=dt, mu=mu), x0, controls)
    return np.abs(states[0, ::substeps].numpy() - np.array(exact)).max()


def test_van_der_pol_agrees_with_scipy_and_converges_with_order_four():
    assert van_der_pol_error(0.05) < 1e-4
    assert van_der_pol_error(0.05 / 16) < 1e-9
    errors = [van_der_pol_error(dt) for dt in (0.0125, 0.00625, 0.003125)]
    for coarse, fine in itertools.pairwise(errors):
        assert 3.7 < np.log2(coarse / fine) < 4.3


def test_step_works_for_any_leading_shape(problem):
    x = torch.randn(3, 4, problem.state_dim, generator=generator(), dtype=torch.float64)
    u = torch.randn(3, 4, problem.control_dim, generator=generator(1), dtype=torch.float64)
    pairs = zip(x.flatten(0, 1), u.flatten(0, 1), strict=True)
    one_by_one = torch.stack([problem.step(a, b, problem.parameters) for a, b in pairs]).view_as(x)
    torch.testing.assert_close(problem.step(x, u, problem.parameters), one_by_one, rtol=1e-14, atol=0)


def test_problem_without_a_step_says_so():
    with pytest.raises(TypeError, match=r"Odd must define step\(x, u, parameters\)"):
        with_step(trc.Problem.step).step(torch.zeros(2), torch.zeros(1), {})


# Settings


def test_overrides_change_what_they_name_and_nothing_else(van_der_pol):
    changed = trc.make_problem("van_der_pol", mu=2, horizon=50, Q=[[1, 0], [0, 1]])
    assert changed.parameters == {"mu": 2.0}
    assert changed.duration == pytest.approx(2.5)
    assert changed.cost.Q == ((1, 0), (0, 1))
    assert (changed.cost.R, changed.cost.Q_final) == (van_der_pol.cost.R, van_der_pol.cost.Q_final)
    assert changed.replace(mu=1.0, horizon=100, Q=van_der_pol.cost.Q) == van_der_pol
    assert van_der_pol.parameters == {"mu": 1.0}


@pytest.mark.parametrize(
    ("name", "setting", "message"),
    [
        ("odd", {}, "unknown problem 'odd'; known are .*double_integrator, .*van_der_pol"),
        ("van_der_pol", {"mass": 1.0}, r"'van_der_pol' has no setting 'mass'; it has Q, .*horizon.*mu.*target_range"),
    ],
)
def test_unknown_names_are_refused_with_the_known_ones(name, setting, message):
    with pytest.raises(ValueError, match=message):
        trc.make_problem(name, **setting)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"horizon": 0}, "horizon must be a whole number, 1 or more, got 0"),
        ({"horizon": 1.5}, "horizon must be a whole number, 1 or more, got 1.5"),
        ({"horizon": True}, "horizon must be a whole number, 1 or more, got True"),
        ({"dt": 0.0}, "dt must be a positive number, got 0.0"),
        ({"dt": True}, "dt must be a positive number, got True"),
        ({"success_threshold": -1}, "success_threshold must be a positive number, got -1"),
        ({"control_low": 4}, "control_low needs 1 entry, one a dimension, got 4"),
        ({"control_low": (4.0,)}, "control_low must be below control_high"),
        ({"control_high": (1.0, 2.0)}, "control_high needs 1 entry, one a dimension"),
        ({"initial_range": ((0, float("inf")), (0, 1))}, "each pair of initial_range must be a finite number, got inf"),
        ({"target_range": ((0, 1),)}, "target_range needs 2 pairs"),
        ({"R": [[1, 0], [0, 1]]}, "the cost is for 2 states and 2 controls, the problem 'van_der_pol' has 2 and 1"),
        ({"mu": float("nan")}, "mu must be a finite number, got nan"),
    ],
)
def test_bad_settings_are_refused(van_der_pol, setting, message):
    for make in (van_der_pol.replace, lambda **setting: trc.make_problem("van_der_pol", **setting)):
        with pytest.raises(ValueError, match=message) as error:
            make(**setting)
        assert str(error.value).endswith(".")


def test_numbers_of_numpy_and_any_iterables_are_taken(double_integrator):
    box = [(-1.0, 1.0), (0.0, 2.0)]
    problem = double_integrator.replace(horizon=np.int64(5), control_low=iter((-1.0,)), initial_range=iter(box))
    assert (problem.horizon, problem.control_low, problem.initial_range) == (5, (-1.0,), tuple(box))


@pytest.mark.parametrize(
    "problem",
    [
        trc.make_problem("double_integrator", control_low=[-1], initial_range=[[0, 1], [2, 3]], success_threshold=0.2),
        trc.make_problem("van_der_pol", mu=0.3, dt=0.1, Q=[[2, 1], [1, 2]], R=[[0.7]]),
        Rover(),
    ],
    ids=lambda problem: problem.name,
)
def test_settings_as_json_make_the_same_problem_again(problem):
    register(Rover)
    kept = json.loads(json.dumps(problem.to_dict()))
    assert trc.make_problem(kept["name"], **kept["settings"]) == problem


def test_problem_cannot_be_changed_in_place(problem):
    with pytest.raises(dataclasses.FrozenInstanceError):
        problem.dt = 1.0


def test_state_scale_is_the_largest_magnitude_of_the_boxes(double_integrator):
    boxes = {"initial_range": ((-3, 2), (0, 0)), "target_range": ((-1, 1), (0, 0))}
    assert double_integrator.replace(**boxes).state_scale == (3.0, 1.0)  # an empty box does not divide by zero


# Registration


def test_registered_problem_is_made_by_name_and_read_from_files(tmp_path):
    assert register(Rover) is Rover
    register(Rover)  # as when a notebook's cell is run twice
    assert Rover.title == "Rover" and "title" in vars(Rover)
    for spelling in ("rover", "Rover", "ROVER", "moon-car", "MoonCar"):
        assert problems.problem_name(spelling) == "rover"
        assert trc.make_problem(spelling, hill=3.0, dt=0.2) == Rover(cost=WayCost(hill=3.0), dt=0.2)
    data = trc.generate_dataset(Rover(), 3, seed=0, expert="ilqr")
    assert trc.load_dataset(data.save(tmp_path / "data.npz")).problem == Rover()


@pytest.mark.parametrize(
    ("name", "aliases", "message"),
    [
        ("van_der_pol", (), r"there is a problem 'van_der_pol' already \(trc.problems.van_der_pol\); choose another"),
        ("Van-der-Pol", (), 'needs a name like "cart_pole"'),
        ("vdp", (), "there is a problem 'van_der_pol' already"),
        ("VanDerPol", (), "there is a problem 'van_der_pol' already"),
        ("mine", ("double-integrator",), "there is a problem 'double_integrator' already"),
        (None, (), 'Odd needs a name like "cart_pole": a default of the field name, got None'),
    ],
)
def test_name_that_is_taken_or_none_is_refused(name, aliases, message):
    before = dict(PROBLEMS)
    with pytest.raises(ValueError, match=message):
        register(type("Odd", (Rover,), {"name": name, "aliases": aliases}))
    assert before == PROBLEMS


def test_problem_says_its_title_or_gets_one_from_its_name():
    assert register(type("Odd", (Rover,), {"name": "two_words", "aliases": ()})).title == "Two words"
    assert register(type("Odd", (Rover,), {"name": "own", "aliases": (), "title": "My own"})).title == "My own"
    assert (PROBLEMS["double_integrator"].title, PROBLEMS["van_der_pol"].title) == ("Double integrator", "Van der Pol")


# A problem of one's own


def test_success_is_the_problems_own(draw):
    problem, straight = Rover(), torch.zeros(3, 11, 3)
    straight[:, -1] = torch.tensor([[0.5, 0.0, 3.0], [0.5, 0.4, 0.0], [0.7, 0.0, -9.0]])
    target = draw(problem, 3, torch.float32)[1]
    assert problem.success(straight, target).tolist() == [True, False, True]  # whatever the heading
    initial, target = draw(problem, 20)
    controls = trc.ilqr(problem, initial, target, start="zero").controls
    metrics = trc.instance_metrics(problem, initial, target, controls)
    assert torch.equal(metrics["success"], (metrics["position_error"] < 0.3).double())
    assert 0 < metrics["success"].mean() and (metrics["terminal_error"] > 0.3).all()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Boxless(Rover):
    sample = trc.Problem.sample
    state_scale = trc.Problem.state_scale


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda problem: problem.state_scale, "so it must define state_scale"),
        (lambda problem: problem.sample(3, generator=generator()), r"so it must define sample\(num_samples, generator"),
    ],
)
def test_problem_without_boxes_says_what_it_must_define(ask, message):
    with pytest.raises(ValueError, match=rf"^Boxless has no initial_range and target_range, {message}.*\.$"):
        ask(Boxless())


@pytest.mark.parametrize(
    ("settings", "twice"),
    [
        ({"cost": dataclasses.make_dataclass("Odd", [("dt", float, 1.0)], bases=(WayCost,), frozen=True)()}, "dt"),
        ({"parameters": {"hill": 1.0, "horizon": 2.0}}, "hill, horizon"),
    ],
)
def test_two_things_of_one_name_are_refused(settings, twice):
    with pytest.raises(ValueError, match=f"^'rover' has two things called {twice}; .* changed by name, so rename one"):
        Rover(**settings)


# Instances


def test_sampling_depends_on_the_generator_alone(problem, draw):
    state = torch.get_rng_state()
    first, again, other = draw(problem, 50), draw(problem, 50), draw(problem, 50, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first[0], other[0])


def test_samples_fill_their_boxes():
    boxes = {"initial_range": ((1, 3), (-2, 0)), "target_range": ((-1, 1), (0.5, 0.5))}
    problem = trc.make_problem("double_integrator", **boxes)
    initial, target = problem.sample(2000, generator=generator())
    for points, box in ((initial, boxes["initial_range"]), (target, boxes["target_range"])):
        low, high = torch.tensor(box, dtype=torch.float32).T
        assert ((low <= points) & (points <= high)).all()
        torch.testing.assert_close(points.min(0).values, low, atol=0.01, rtol=0)
        torch.testing.assert_close(points.max(0).values, high, atol=0.01, rtol=0)
    assert initial.dtype == torch.float32


def test_scale_widens_the_initial_box_about_its_centre():
    problem = trc.make_problem("double_integrator", initial_range=((1, 3), (-2, 0)))
    initial, target = problem.sample(50, generator=generator(), dtype=torch.float64)
    wide, same = problem.sample(50, generator=generator(), scale=2.0, dtype=torch.float64)
    centre = torch.tensor([2.0, -1.0], dtype=torch.float64)
    torch.testing.assert_close(wide - centre, 2 * (initial - centre), rtol=0, atol=1e-14)
    assert torch.equal(same, target)


@pytest.mark.parametrize(
    ("count", "scale", "message"),
    [
        (0, 1.0, "num_samples must be a whole number, 1 or more, got 0"),
        (3, float("nan"), "scale must be a positive number, got nan"),
    ],
)
def test_samples_that_are_none_are_refused(problem, count, scale, message):
    with pytest.raises(ValueError, match=message):
        problem.sample(count, generator=generator(), scale=scale)
    with pytest.raises(ValueError, match=message):
        trc.generate_dataset(problem, count, seed=0, scale=scale)


@pytest.mark.parametrize(
    ("initial", "target", "message"),
    [
        (torch.zeros(3, 3), torch.zeros(3, 3), r"initial states of double_integrator must have shape \[any, 2\]"),
        (torch.zeros(2), torch.zeros(2), r"must have shape \[any, 2\], got \[2\]"),
        (torch.zeros(3, 2), torch.zeros(2, 2), r"target states of .* must have shape \[3, 2\], got \[2, 2\]"),
        (torch.zeros(0, 2), torch.zeros(0, 2), "must not be empty"),
        (torch.zeros(3, 2), torch.zeros(3, 2).double(), "convert one of them"),
        (torch.zeros(3, 2).long(), torch.zeros(3, 2), "initial states of double_integrator must be a floating-point"),
        (torch.zeros(3, 2), [[0.0, 0.0]], "target states of double_integrator must be a floating-point .* got list"),
        (torch.tensor([[0, 1], [0, torch.nan], [torch.inf, 0]]), torch.zeros(3, 2), "finite, but 2 of 3 instances"),
    ],
)
@pytest.mark.parametrize("ask", [trc.Problem.check_states, trc.lqr, trc.ilqr, trc.optimum, trc.minimum_energy])
def test_bad_states_are_refused_by_problem_and_experts(double_integrator, initial, target, message, ask):
    with pytest.raises(ValueError, match=message):
        ask(double_integrator, initial, target)


def test_clipping_keeps_asymmetric_bounds():
    problem = trc.make_problem("double_integrator", control_low=[-1], control_high=[3])
    assert problem.clip(torch.tensor([[-5.0], [-0.5], [5.0]])).tolist() == [[-1.0], [-0.5], [3.0]]
