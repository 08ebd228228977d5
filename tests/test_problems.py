import dataclasses
import itertools
import json

import numpy as np
import pytest
import scipy.integrate
import scipy.linalg
import torch

import trc


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


def van_der_pol_exact(x0, controls, dt, mu):
    """States at the ends of the steps, from an adaptive integrator of order 8."""
    states = [x0]
    for force in controls:
        solution = scipy.integrate.solve_ivp(
            lambda _, x, force=force: [x[1], mu * (1 - x[0] ** 2) * x[1] - x[0] + force],
            (0, dt),
            states[-1],
            method="DOP853",
            rtol=1e-13,
            atol=1e-14,
        )
        states.append(solution.y[:, -1])
    return np.array(states)


def van_der_pol_error(dt):
    """Largest error of RK4 over two seconds of controls that change each half second."""
    x0, mu, levels = [1.5, -1.0], 1.7, [2.0, -1.0, 0.5, -2.0]
    exact = van_der_pol_exact(x0, levels, 0.5, mu)
    substeps = round(0.5 / dt)
    problem = trc.make_problem("van_der_pol", dt=dt, mu=mu)
    controls = torch.tensor(levels, dtype=torch.float64).repeat_interleave(substeps).view(1, -1, 1)
    states = trc.rollout(problem, torch.tensor([x0], dtype=torch.float64), controls)
    return np.abs(states[0, ::substeps].numpy() - exact).max()


def test_van_der_pol_agrees_with_scipy():
    assert van_der_pol_error(0.05) < 1e-4
    assert van_der_pol_error(0.05 / 16) < 1e-9


def test_van_der_pol_converges_with_order_four():
    errors = [van_der_pol_error(dt) for dt in (0.0125, 0.00625, 0.003125)]
    for coarse, fine in itertools.pairwise(errors):
        assert 3.7 < np.log2(coarse / fine) < 4.3


def test_step_works_for_any_leading_shape(problem):
    x = torch.randn(3, 4, 2, generator=generator(), dtype=torch.float64)
    u = torch.randn(3, 4, 1, generator=generator(1), dtype=torch.float64)
    one_by_one = torch.stack(
        [
            torch.stack([problem.step(a, b, problem.parameters) for a, b in zip(*row, strict=True)])
            for row in zip(x, u, strict=True)
        ]
    )
    torch.testing.assert_close(problem.step(x, u, problem.parameters), one_by_one, rtol=1e-14, atol=0)


def test_problem_without_a_step_says_so():
    fields = {
        f.name: getattr(trc.make_problem("double_integrator"), f.name)
        for f in dataclasses.fields(trc.Problem)
        if f.init
    }
    with pytest.raises(TypeError, match="must define step"):
        trc.Problem(**fields).step(torch.zeros(2), torch.zeros(1), {})


# Cost


def test_cost_of_two_steps_by_hand():
    cost = trc.QuadraticCost(Q=[[1, 0], [0, 2]], R=[[3]], Q_final=[[4, 1], [1, 5]])
    states = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]]])
    controls = torch.tensor([[[1.0], [2.0]]])
    # deviations (1, -1), (0, 0), (2, 1): running 1 + 2, control 3 + 12, final 16 + 4 + 5
    assert cost(states, controls, torch.tensor([[0.0, 1.0]])).tolist() == [43.0]


def test_cost_is_zero_at_the_target_and_positive_elsewhere(problem, draw):
    _, target = draw(problem, 5)
    at_target = target.unsqueeze(1).expand(5, 4, 2)
    zero, one = torch.zeros(5, 3, 1, dtype=torch.float64), torch.ones(5, 3, 1, dtype=torch.float64)
    assert (problem.cost(at_target, zero, target) == 0).all()
    torch.testing.assert_close(problem.cost(at_target, one, target), torch.full((5,), 0.3, dtype=torch.float64))
    assert (problem.cost(at_target + 0.1, zero, target) > 0).all()


def test_weights_are_those_of_the_design(problem):
    assert problem.cost == trc.QuadraticCost(Q=[[10, 0], [0, 5]], R=[[0.1]], Q_final=[[200, 0], [0, 100]])


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"Q": [[1, 2], [0, 1]]}, "Q must be symmetric"),
        ({"Q": [[1, 2], [2, 1]]}, "Q must be positive semidefinite, but its smallest eigenvalue is -1"),
        ({"R": [[0]]}, "R must be positive definite"),
        ({"Q_final": [[float("nan"), 0], [0, 1]]}, "Q_final must be finite"),
        ({"Q": [[1, 0]]}, r"Q must be a square matrix, got shape \(1, 2\)"),
        ({"Q": [[1]]}, "Q is 1 x 1 but Q_final is 2 x 2"),
    ],
)
def test_bad_cost_weights_are_refused(weights, message):
    good = {"Q": [[1, 0], [0, 0]], "R": [[1]], "Q_final": [[1, 0], [0, 1]]}
    trc.QuadraticCost(**good)  # a state may be free of cost
    with pytest.raises(ValueError, match=message):
        trc.QuadraticCost(**good | weights)


# Settings


def test_overrides_change_what_they_name_and_nothing_else(van_der_pol):
    changed = trc.make_problem("van_der_pol", mu=2, horizon=50, Q=[[1, 0], [0, 1]])
    assert changed.parameters == {"mu": 2.0}
    assert changed.duration == pytest.approx(2.5)
    assert changed.cost.Q == ((1, 0), (0, 1))
    assert changed.cost.R == van_der_pol.cost.R
    assert changed.cost.Q_final == van_der_pol.cost.Q_final
    assert changed.replace(mu=1.0, horizon=100, Q=van_der_pol.cost.Q) == van_der_pol
    assert van_der_pol.parameters == {"mu": 1.0}


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="unknown problem 'pendulum'; known are double_integrator, van_der_pol"):
        trc.make_problem("pendulum")
    with pytest.raises(ValueError, match=r"'van_der_pol' has no setting 'mass'; it has Q, .*horizon.*mu.*target_range"):
        trc.make_problem("van_der_pol", mass=1.0)
    with pytest.raises(ValueError, match="no setting 'mu'"):
        trc.make_problem("double_integrator", mu=1.0)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"horizon": 0}, "horizon must be a whole number, 1 or more, got 0"),
        ({"horizon": 1.5}, "horizon must be a whole number, 1 or more, got 1.5"),
        ({"horizon": True}, "horizon must be a whole number, 1 or more, got True"),
        ({"dt": 0.0}, "dt must be a positive number, got 0.0"),
        ({"dt": float("nan")}, "dt must be a positive number, got nan"),
        ({"control_low": (5.0,)}, "control_low must be below control_high, got"),
        ({"control_low": (4.0,)}, "control_low must be below control_high"),
        ({"control_high": (1.0, 2.0)}, "control_high needs 1 entry, one a dimension"),
        ({"initial_range": ((0, float("inf")), (0, 1))}, "each pair of initial_range must be a finite number, got inf"),
        ({"target_range": ((0, 1),)}, "target_range needs 2 pairs"),
        (
            {"R": [[1, 0], [0, 1]]},
            "the cost is for 2 states and 2 controls, the problem 'double_integrator' has 2 and 1",
        ),
    ],
)
def test_bad_settings_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        trc.make_problem("double_integrator", **setting)


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("double_integrator", {}),
        ("double_integrator", {"control_low": [-1], "initial_range": [[0, 1], [2, 3]], "success_threshold": 0.2}),
        ("van_der_pol", {"mu": 0.3, "dt": 0.1, "Q": [[2, 1], [1, 2]], "R": [[0.7]]}),
    ],
)
def test_recipe_as_json_makes_the_same_problem_again(name, overrides):
    problem = trc.make_problem(name, **overrides)
    recipe = json.loads(json.dumps(problem.recipe()))
    assert trc.make_problem(recipe["name"], **recipe["settings"]) == problem


def test_problem_cannot_be_changed_in_place(problem):
    with pytest.raises(dataclasses.FrozenInstanceError):
        problem.dt = 1.0


def test_state_scale_is_the_largest_magnitude_of_the_boxes(double_integrator):
    boxes = {"initial_range": ((-3, 2), (0, 0)), "target_range": ((-1, 1), (0, 0))}
    assert double_integrator.replace(**boxes).state_scale == (3.0, 1.0)  # an empty box does not divide by zero


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


def test_no_samples_are_refused(problem):
    with pytest.raises(ValueError, match="num_samples must be a whole number, 1 or more, got 0"):
        problem.sample(0, generator=generator())


@pytest.mark.parametrize(
    ("initial", "target", "message"),
    [
        (torch.zeros(3, 3), torch.zeros(3, 3), r"initial states of double_integrator must have shape \[any, 2\]"),
        (torch.zeros(2), torch.zeros(2), r"must have shape \[any, 2\], got \[2\]"),
        (torch.zeros(3, 2), torch.zeros(2, 2), r"same shape, got \(3, 2\) and \(2, 2\)"),
        (
            torch.zeros(3, 2).long(),
            torch.zeros(3, 2),
            "initial states of double_integrator must be a floating-point tensor",
        ),
        (
            torch.zeros(3, 2),
            [[0.0, 0.0]],
            "target states of double_integrator must be a floating-point tensor, got list",
        ),
        (
            torch.tensor([[0, 1], [0, float("nan")], [float("inf"), 0]]),
            torch.zeros(3, 2),
            "must be finite, but 2 of 3 instances",
        ),
    ],
)
def test_bad_states_are_refused(double_integrator, initial, target, message):
    with pytest.raises(ValueError, match=message):
        double_integrator.check_states(initial, target)


def test_clipping_keeps_asymmetric_bounds():
    problem = trc.make_problem("double_integrator", control_low=[-1], control_high=[3])
    assert problem.clip(torch.tensor([[-5.0], [-0.5], [5.0]])).tolist() == [[-1.0], [-0.5], [3.0]]
