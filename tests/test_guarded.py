import pytest
import torch

import trc
from trc.model.feedback import FEEDBACKS, Simulator

TINY = {"latent_dim": 16, "hidden_dim": 32, "num_blocks": 1, "num_inner_cycles": 1, "carry_latents": False}
KINDS = ["none", "error", "costate", "newton"]


def tiny(problem, **settings):
    return trc.TinyRecursiveControl.create("small", problem=problem, **TINY | {"seed": 0} | settings).eval()


@pytest.fixture
def instances(van_der_pol):
    return van_der_pol.sample(24, generator=torch.Generator().manual_seed(0))


def costs(problem, output, initial, target):
    """Costs ``[B, K+1]`` of all iterates, in float64."""
    iterates = output["all_controls"].double()
    count = iterates.shape[1]
    x0, goal = (states.double().repeat_interleave(count, 0) for states in (initial, target))
    flat = iterates.flatten(0, 1)
    return problem.cost(trc.rollout(problem, x0, flat), flat, goal).unflatten(0, (-1, count))


# Feedback


def test_costate_is_the_gradient_of_the_cost_seen_without_its_size(van_der_pol, instances):
    initial, target = (states.double() for states in instances)
    controls = torch.empty(24, 100, 1, dtype=torch.float64).uniform_(-2, 2).requires_grad_()
    scale = torch.tensor(van_der_pol.state_scale, dtype=torch.float64)
    observe = FEEDBACKS["costate"].observe
    seen = observe(Simulator(van_der_pol), initial, target, controls, scale)
    states = [initial]
    for t in range(100):
        states.append(van_der_pol.step(states[-1], controls[:, t], van_der_pol.parameters))
    cost = van_der_pol.cost(torch.stack(states, 1), controls, target)
    (gradient,) = torch.autograd.grad(cost.sum(), controls)
    direction = seen.features[:, :100]
    torch.testing.assert_close(seen.cost, cost)
    torch.testing.assert_close(seen.gradient, gradient)
    torch.testing.assert_close(direction.square().mean(1), torch.ones(24, dtype=torch.float64))
    assert torch.cosine_similarity(direction, gradient.flatten(1)).min() > 1 - 1e-9
    assert seen.features.shape[1] == FEEDBACKS["costate"].size(2, 1, 100)
    assert seen.states.requires_grad and not seen.features.requires_grad


def test_control_that_its_bound_holds_has_no_gradient(van_der_pol, instances):
    initial, target = instances
    controls = torch.full((24, 100, 1), 2.0)
    scale = torch.tensor(van_der_pol.state_scale)
    seen = FEEDBACKS["costate"].observe(Simulator(van_der_pol), initial, target, controls, scale)
    outwards = seen.gradient.flatten(1) < 0
    assert outwards.any() and not outwards.all()
    assert ((seen.features[:, :100] == 0) == outwards).all()


def test_costate_of_a_users_simulator_is_found_by_differentiating_it(van_der_pol, instances):
    def dynamics(initial, controls):
        states = [initial]
        for u in controls.unbind(1):
            states.append(van_der_pol.step(states[-1], u, van_der_pol.parameters))
        return torch.stack(states, 1)

    model = tiny(van_der_pol, feedback="costate")
    own, theirs = (model(*instances, dynamics_fn=fn, iterations=4)["controls"] for fn in (None, dynamics))
    torch.testing.assert_close(own, theirs, rtol=0, atol=1e-4)


def test_newton_step_is_an_iteration_of_the_solver(van_der_pol, instances):
    initial, target = instances
    controls = trc.lqr(van_der_pol, initial, target).controls
    scale = torch.tensor(van_der_pol.state_scale)
    seen = FEEDBACKS["newton"].observe(Simulator(van_der_pol), initial, target, controls, scale)
    once = trc.ilqr(van_der_pol, initial.double(), target.double(), start=controls.double(), max_iterations=1)
    torch.testing.assert_close(controls + seen.step, once.controls.float(), rtol=0, atol=1e-6)
    assert seen.features.shape[1] == FEEDBACKS["newton"].size(2, 1, 100)


def test_network_stays_where_there_is_no_step_to_take(van_der_pol, instances):
    initial, target = instances
    best = trc.ilqr(van_der_pol, initial.double(), target.double(), tolerance=1e-12).controls.float()
    moved = tiny(van_der_pol, feedback="newton")(initial, target, iterations=3, start=best)["controls"]
    assert (moved - best).abs().max() < 1e-5


@pytest.mark.parametrize("kind", ["costate", "newton"])
def test_costate_needs_a_cost(van_der_pol, instances, kind):
    model = tiny(van_der_pol, feedback=kind)
    model.problem = None
    for dynamics_fn in (None, lambda x, u: x):
        with pytest.raises(ValueError, match=f"'{kind}' goes by what a plan costs: make the model with problem=, or"):
            model(*instances, dynamics_fn=dynamics_fn)


def test_newton_step_needs_the_problems_own_dynamics(van_der_pol, instances):
    model, (initial, target) = tiny(van_der_pol, feedback="newton"), instances
    with pytest.raises(ValueError, match=r"linearises the problem's own dynamics: .*, and leave dynamics_fn out"):
        model(initial, target, dynamics_fn=lambda x, u: trc.rollout(van_der_pol, x, u))


def test_simulator_without_gradients_has_no_costate(van_der_pol, instances):
    model = tiny(van_der_pol, feedback="costate")
    numbers = lambda x, u: trc.rollout(van_der_pol, x, u).detach()  # noqa: E731
    with pytest.raises(ValueError, match="can be differentiated, and write it in torch"):
        model(*instances, dynamics_fn=numbers)


def test_costate_that_is_no_number_says_so(van_der_pol, instances):
    def dynamics(initial, controls):
        return trc.rollout(van_der_pol, initial, controls) + (controls * 0).sqrt().sum()  # its slope is 0 · ∞

    with pytest.raises(ValueError, match="the gradient of the cost is not finite; check the step and the cost"):
        tiny(van_der_pol, feedback="costate")(*instances, dynamics_fn=dynamics)


# Safeguard


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("start", ["guess", "zero", ("guess", "lqr")], ids=str)
def test_no_iterate_is_worse_than_the_one_before(problem, kind, start):
    initial, target = problem.sample(16, generator=torch.Generator().manual_seed(1))
    model = tiny(problem, feedback=kind)
    output = model(initial, target, iterations=6, start=start, safeguard=True, return_all_iterations=True)
    found = costs(problem, output, initial, target)
    assert (found.diff(dim=1) <= 1e-12 * found[:, 1:]).all()
    if "lqr" not in start:  # which is hard to beat
        assert (found[:, -1] < found[:, 0]).float().mean() > 0.9
    assert torch.equal(output["controls"], output["all_controls"][:, -1])


def test_residual_rollouts_and_adjoints_come_back(van_der_pol, instances):
    initial, target = instances
    begun = trc.ilqr(van_der_pol, *instances, max_iterations=1).controls  # where residuals differ
    output = tiny(van_der_pol, feedback="costate")(initial, target, iterations=3, safeguard=True, start=begun)
    x0, goal, controls = (tensor.double() for tensor in (initial, target, output["controls"]))
    at = trc.ilqr(van_der_pol, x0, goal, start=controls, max_iterations=0)
    assert at.residual.median() < 0.3 and at.residual.std() > 0.01
    torch.testing.assert_close(output["residual"].double(), at.residual, rtol=1e-2, atol=1e-3)
    assert output["iterations"].max() == 3
    assert (output["rollouts"] >= 1 + 8 * output["iterations"]).all()  # the first, and seven candidates beside it
    assert (output["adjoints"] >= output["iterations"]).all()
    plain = tiny(van_der_pol, feedback="costate")(initial, target, iterations=3)
    assert set(output) - set(plain) == {"iterations", "rollouts", "adjoints", "residual", "overflowed"}


def test_where_the_network_is_of_no_use_the_slope_leads_to_the_optimum(van_der_pol, instances):
    initial, target = (states.double() for states in instances)
    model = tiny(van_der_pol, feedback="costate").double()
    for parameter in model.decode[-1].parameters():
        torch.nn.init.zeros_(parameter)  # it proposes what it is given
    output = model(initial, target, iterations=300, safeguard=True, start="lqr")
    found = van_der_pol.cost(trc.rollout(van_der_pol, initial, output["controls"]), output["controls"], target)
    begun = trc.ilqr(van_der_pol, initial, target, max_iterations=0).cost
    best = trc.optimum(van_der_pol, initial, target).cost
    assert (found - best).sum() < 0.2 * (begun - best).sum()


def test_starts_count_among_the_rollouts(van_der_pol, instances):
    model, how = tiny(van_der_pol), {"iterations": 0, "safeguard": True}
    one, three = (model(*instances, start=start, **how)["rollouts"] for start in ("guess", ("guess", "zero", "lqr")))
    assert (one == 1).all()
    assert (three == 1 + 3 + 1).all()  # each of the three is judged, and saturated LQR is itself a rollout


@pytest.mark.parametrize("kind", ["costate", "newton"])
def test_nothing_is_done_where_nothing_is_paid(double_integrator, kind):
    initial, target = (states.clone() for states in double_integrator.sample(6, generator=torch.Generator()))
    initial[0] = target[0] = 0
    model = tiny(double_integrator, feedback=kind)
    output = model(initial, target, iterations=3, start="zero", safeguard=True)
    assert output["controls"].isfinite().all()
    assert not output["controls"][0].any()
    assert model(initial, target, iterations=3, start="zero")["controls"].isfinite().all()


# When to stop


@pytest.mark.parametrize("kind", ["costate", "newton"])
def test_done_is_left_alone(van_der_pol, instances, kind):
    initial, target = instances
    best = trc.ilqr(van_der_pol, initial.double(), target.double(), tolerance=1e-9).controls.float()
    begun = best.clone()
    begun[::2] = 0
    model = tiny(van_der_pol, feedback=kind)
    output = model(initial, target, iterations=5, start=begun, tolerance=1e-3, safeguard=True)
    assert torch.equal(output["controls"][1::2], best[1::2])
    assert (output["iterations"][1::2] == 0).all() and (output["iterations"][::2] > 0).all()
    assert (output["residual"][1::2] < 1e-3).all()


def test_where_no_gradient_is_told_the_change_of_the_plan_decides(van_der_pol, instances):
    model = tiny(van_der_pol)
    loose, tight = (model(*instances, iterations=20, tolerance=tolerance) for tolerance in (0.5, 1e-9))
    assert (loose["iterations"] == 1).all()
    assert (tight["iterations"] > 1).all()


def test_tolerance_changes_nothing_of_those_that_go_on(van_der_pol, instances):
    model = tiny(van_der_pol, feedback="costate", carry_latents=True)
    plain = model(*instances, iterations=4, return_all_iterations=True)
    never = model(*instances, iterations=4, return_all_iterations=True, tolerance=1e-12)
    for name in ("controls", "all_controls", "all_latents", "errors"):
        torch.testing.assert_close(plain[name], never[name], rtol=0, atol=1e-5)


@pytest.mark.parametrize("tolerance", [0, -1e-3, float("nan"), "tight"])
def test_tolerance_is_a_positive_number(van_der_pol, instances, tolerance):
    with pytest.raises(ValueError, match="tolerance must be a positive number"):
        tiny(van_der_pol)(*instances, tolerance=tolerance)


def test_no_iterations_is_the_first_guess(van_der_pol, instances):
    model = tiny(van_der_pol, feedback="costate")
    output = model(*instances, iterations=0, safeguard=True, tolerance=1e-3, return_all_iterations=True)
    assert torch.equal(output["controls"], model(*instances, iterations=0)["controls"])
    assert output["all_controls"].shape[1] == 1 and (output["iterations"] == 0).all()


@pytest.mark.parametrize("safeguard", [True, False])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("iterations", [0, 1, 3])
def test_overflow_freezes_its_instance_alone(van_der_pol, instances, safeguard, kind, iterations):
    initial, target = (states.clone() for states in instances)
    initial[3] = 1e9  # whatever is done, this explodes
    model = tiny(van_der_pol, feedback=kind)
    output = model(initial, target, iterations=iterations, safeguard=safeguard, tolerance=1e-9)
    assert output["overflowed"].nonzero().flatten().tolist() == [3]
    if kind != "none" or safeguard:  # who is told nothing finds out at the end
        assert torch.equal(output["controls"][3], model(initial, target, iterations=0)["controls"][3])
    others = [i for i in range(24) if i != 3]
    alone = model(initial[others], target[others], iterations=iterations, safeguard=safeguard, tolerance=1e-9)
    torch.testing.assert_close(output["controls"][others], alone["controls"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_overflow_after_the_last_refinement_is_found(van_der_pol, instances, kind):
    class Wild(type(van_der_pol)):
        def step(self, x, u, parameters):
            return x * (1 + 1e6 * u**2) + 0.1 * u  # what is refined explodes, and zero does not

    output = tiny(Wild(), feedback=kind)(*instances, iterations=1, start="zero", tolerance=1e-6)
    assert output["overflowed"].any() or kind == "newton"  # whose step is judged
    assert not output["controls"][output["overflowed"]].any()
    assert output["residual"][~output["overflowed"]].isfinite().all()


def test_solver_goes_on_where_a_network_overflows(van_der_pol, instances):
    initial, target = (states.clone() for states in instances)
    initial[3] = 1e9
    found = trc.solve(van_der_pol, initial, target, model=tiny(van_der_pol))
    assert found.converged.nonzero().flatten().tolist() == [i for i in range(24) if i != 3]


def test_users_simulator_needs_no_gradient_to_stop(van_der_pol, instances):
    ends = lambda x, u: trc.rollout(van_der_pol, x, u)[:, -1].detach()  # noqa: E731
    output = tiny(van_der_pol)(*instances, tolerance=1e-3, dynamics_fn=ends)
    assert output["residual"].isnan().all() and not output["overflowed"].any()


def test_safeguard_says_before_it_begins_that_it_needs_a_gradient(van_der_pol, instances):
    numbers = lambda x, u: trc.rollout(van_der_pol, x, u).detach()  # noqa: E731
    with pytest.raises(ValueError, match="by this feedback or by safeguard=True: let dynamics_fn return trajectories"):
        tiny(van_der_pol)(*instances, iterations=0, safeguard=True, dynamics_fn=numbers)


@pytest.mark.parametrize("how", [{"safeguard": True}, {"tolerance": 1e-3}], ids=str)
def test_nobody_leaves_a_batch_that_is_shown_to_others(van_der_pol, instances, how):
    with pytest.raises(ValueError, match="'shuffled' needs the whole batch, which none can leave"):
        tiny(van_der_pol, feedback="shuffled")(*instances, **how)


def test_overflow_says_how_the_others_go_on(van_der_pol, instances):
    initial, target = (states.clone() for states in instances)
    initial[3] = 1e9
    with pytest.raises(
        ValueError, match=r"rollout overflows: .*With safeguard=True, or a tolerance, the other instances"
    ):
        tiny(van_der_pol)(initial, target)
    for alone in (tiny(van_der_pol), tiny(van_der_pol, feedback="wrong")):
        with pytest.raises(ValueError, match=r"or closer states\.$"):
            alone(initial[3:4], target[3:4])


def test_every_iterate_of_those_that_overflow_can_be_simulated(van_der_pol, instances):
    model = tiny(van_der_pol)
    model.refinement = lambda z_0, latents, controls, seen: (latents, controls * 1e30)
    van_der_pol = van_der_pol.replace(control_low=(-1e38,), control_high=(1e38,))
    model.problem = van_der_pol
    output = model(*instances, iterations=3, tolerance=1e-9, return_all_iterations=True)
    assert output["overflowed"].all()
    for controls in output["all_controls"].unbind(1):
        assert trc.rollout(van_der_pol, instances[0], controls).isfinite().all()


@pytest.mark.parametrize("settings", [{"carry_latents": True}, {"use_two_level": True, "L_cycles": 2}], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_safeguard_wraps_any_network(van_der_pol, instances, kind, settings):
    model = tiny(van_der_pol, feedback=kind, **settings)
    plans = model(*instances, iterations=4, safeguard=True, return_all_iterations=True)["all_controls"].double()
    initial, target = (states.double() for states in instances)
    costs = torch.stack([van_der_pol.cost(trc.rollout(van_der_pol, initial, u), u, target) for u in plans.unbind(1)])
    assert (costs[1:] <= costs[:-1] * (1 + 1e-6)).all() and (costs[-1] < costs[0]).any()


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_safeguard_of_a_users_simulator_is_that_of_the_problem(van_der_pol, instances, mode):
    dynamics = lambda x, u: trc.rollout(van_der_pol, x, u)  # noqa: E731
    model = tiny(van_der_pol)
    with mode():
        own, theirs = (model(*instances, dynamics_fn=fn, safeguard=True, iterations=3) for fn in (None, dynamics))
    torch.testing.assert_close(own["controls"], theirs["controls"], rtol=0, atol=1e-3)


# Where to begin


def test_starts_are_what_their_names_say(van_der_pol, instances):
    model, (initial, target) = tiny(van_der_pol), instances
    guess, zero, lqr = (model(*instances, iterations=0, start=name)["controls"] for name in ("guess", "zero", "lqr"))
    assert torch.equal(guess, model(*instances, iterations=0)["controls"])
    assert not zero.any()
    torch.testing.assert_close(lqr, trc.lqr(van_der_pol, initial, target).controls)
    given = torch.full_like(zero, 0.5)
    assert torch.equal(model(*instances, iterations=0, start=given)["controls"], given)
    cheapest = model(*instances, iterations=0, start=["zero", "lqr", given], return_all_iterations=True)
    found = costs(van_der_pol, cheapest, initial, target)[:, 0]
    each = torch.stack(
        [costs(van_der_pol, {"all_controls": u.unsqueeze(1)}, *instances)[:, 0] for u in (zero, lqr, given)]
    )
    torch.testing.assert_close(found, each.amin(0))


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ("middle", "unknown start 'middle'; known are guess, lqr, zero, or controls"),
        ([], "start must name at least one"),
        (torch.zeros(3, 100, 1), r"start controls must .* \[24, 100, 1\]"),
        ("random", "drawn by trc.random_controls"),
    ],
    ids=str,
)
def test_bad_starts_are_refused(van_der_pol, instances, start, message):
    with pytest.raises(ValueError, match=message):
        tiny(van_der_pol)(*instances, start=start)


def test_plain_network_is_not_guarded(van_der_pol, instances):
    network = trc.FeedForward.create(problem=van_der_pol, width=8, seed=0)
    with pytest.raises(ValueError, match="refines nothing"):
        network(*instances, safeguard=True)
    with pytest.raises(ValueError, match="leave start out"):
        network(*instances, start="zero")


# Network and solver as one


@pytest.mark.parametrize("kind", KINDS)
def test_solver_closes_what_the_network_leaves_open(problem, kind):
    initial, target = problem.sample(16, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    model = tiny(problem, feedback=kind)
    found, best = trc.solve(problem, initial, target, model=model, tolerance=1e-8), trc.ilqr(problem, initial, target)
    assert found.converged.all() and (found.residual <= 1e-8).all()
    torch.testing.assert_close(found.cost, best.cost, rtol=1e-6, atol=1e-9)
    assert model.problem is problem


def test_without_a_network_it_is_the_solver(van_der_pol, instances):
    found, best = trc.solve(van_der_pol, *instances), trc.ilqr(van_der_pol, *instances, tolerance=1e-6)
    assert torch.equal(found.controls, best.controls)


def test_simulator_is_told_the_true_parameters(van_der_pol, instances):
    other = van_der_pol.replace(mu=2.0)
    model = tiny(van_der_pol, feedback="costate")
    found = trc.solve(other, *instances, model=model, tolerance=1e-6)
    torch.testing.assert_close(found.cost, trc.ilqr(other, *instances).cost, rtol=1e-5, atol=1e-5)
    assert model.problem is van_der_pol


def test_network_of_another_problem_is_refused(van_der_pol, double_integrator, instances):
    with pytest.raises(ValueError, match="the model is for 'double_integrator', not for 'van_der_pol'"):
        trc.solve(van_der_pol, *instances, model=tiny(double_integrator))
    longer = van_der_pol.replace(horizon=90)
    with pytest.raises(ValueError, match="horizon 100, the problem has 2, 1 and 90"):
        trc.solve(longer, *instances, model=tiny(van_der_pol))
    with pytest.raises(ValueError, match="horizon 100, the problem has 2, 1 and 90"):
        tiny(van_der_pol).problem = longer


def test_starts_are_divided_like_the_instances(van_der_pol):
    initial, target = van_der_pol.sample(1500, generator=torch.Generator().manual_seed(0))
    controls = trc.random_controls(van_der_pol, 1500, torch.Generator().manual_seed(0)).float()
    iterates = trc.propose(tiny(van_der_pol), initial, target, 0, start=("zero", controls))
    assert torch.equal(trc.propose(tiny(van_der_pol), initial, target, 0, start=controls)[:, 0], controls)
    assert iterates.shape == (1500, 1, 100, 1)
    for count in (800, 2000):
        with pytest.raises(ValueError, match=r"start controls must have shape"):
            trc.propose(tiny(van_der_pol), initial, target, 0, start=controls.new_zeros(count, 100, 1))
