"""What the experiments share: recipes, instances, judging; on small cases."""

import pytest
import torch

import trc
from trc import experiments
from trc.checkpoints import load_model
from trc.evaluation import count_flops
from trc.evaluation.outcomes import QUANTITIES, join
from trc.experiments import base_recipe, final_outcomes, instances, note_training, validation_gap
from trc.recipes import fit
from trc.results import Record


def test_recipe_takes_what_differs_from_the_base_and_nothing_else():
    base = base_recipe("van_der_pol", "paper", 3)
    changed = base_recipe("van_der_pol", "paper", 3, num_samples=100, learning_rate=1e-3, model={"num_blocks": 1})
    assert (base.num_samples, changed.num_samples) == (10_000, 100)
    assert changed.training == base.training | {"learning_rate": 1e-3}
    assert (base.expert, changed.seed, changed.model) == ("ilqr", 3, {"num_blocks": 1})


def test_feed_forward_recipe_with_feedback_is_refused():
    with pytest.raises(ValueError, match="has no feedback: it must be \"none\", got 'error'"):
        base_recipe("van_der_pol", "paper", size="feedforward", model={"width": 8}).network()


@pytest.mark.parametrize("name", trc.PROBLEMS)
def test_first_instances_are_the_first_of_each_part(name):
    some = instances(name, "smoke")
    few = some.first(3)
    assert len(few.initial) == len(few.optimal_cost) == len(few.lqr_controls) == 3
    assert torch.equal(few.initial, some.initial[:3])
    assert len(some.first(10_000).initial) == len(some.initial)


def test_final_outcomes_are_those_of_the_last_iterates_seed_by_seed():
    problem = trc.make_problem("double_integrator")
    models = {
        ("double_integrator", "tiny", seed): trc.TinyRecursiveControl.create_small(problem=problem, seed=seed)
        for seed in (0, 1)
    }
    found = final_outcomes(models, "smoke", ("test", "wide"))
    assert list(found) == [("double_integrator", "test", "tiny"), ("double_integrator", "wide", "tiny")]
    some = instances("double_integrator", "smoke", "wide")
    alone = [some.judge(trc.propose(model, some.initial, some.target))[-1] for model in models.values()]
    both = found["double_integrator", "wide", "tiny"]
    assert all(torch.equal(both[metric], values) for metric, values in join(alone).items())


def test_validation_gap_is_that_of_the_instances_that_training_held_out(tmp_path, monkeypatch):
    monkeypatch.setattr(experiments, "models_folder", lambda: tmp_path)
    recipe = base_recipe("double_integrator", "smoke", 5)
    model = recipe.network()
    data = recipe.dataset(tmp_path)
    held_out, _ = data.split(0.1, seed=5)
    controls = trc.propose(model, held_out.initial_states, held_out.target_states)[:, -1].double()
    problem = trc.make_problem("double_integrator")
    states = trc.rollout(problem, held_out.initial_states.double(), controls)
    cost = problem.cost(states, controls, held_out.target_states.double())
    expected = (cost.mean() / held_out.costs.double().mean() - 1).item()
    assert validation_gap(recipe, model) == pytest.approx(expected, rel=1e-6)


def test_smoke_changes_weights(tmp_path):
    """The first step of a warm-up has the rate 0; a trial of one step with it would train nothing."""
    recipe = base_recipe("van_der_pol", "smoke")
    trained = load_model(fit(recipe, tmp_path)).state_dict()
    changed = [name for name, weights in recipe.network().state_dict().items() if not weights.equal(trained[name])]
    assert any(name.startswith("recursion.blocks") for name in changed)


def test_training_times_are_kept_by_key(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "claims.yml").touch()
    record = Record(tmp_path / "results" / "tiny")
    note_training(record, ["problem", "seed"], {("a", 0): (None, {"seconds": 2.0, "commit": "c0ffee"})})
    record.write({}, parameters={})
    text = (tmp_path / "results" / "tiny" / "timings.csv").read_text()
    assert text == "problem,seed,phase,seconds,commit\na,0,training,2,c0ffee\n"


def test_typical_gap_leaves_a_few_failures_out():
    cost = torch.tensor([[1.0, 1.1, 1.1, 50.0]])
    outcome = {"cost": cost, "optimal_cost": torch.ones(1, 4)}
    assert QUANTITIES["gap_iqm"].value(outcome) == pytest.approx(0.1)


# Arithmetic


def linear(inputs, outputs):
    return 2 * inputs * outputs


def test_operations_of_a_plain_network_are_two_for_each_weight():
    network = trc.FeedForward.create(problem=trc.make_problem("double_integrator"), width=16, depth=2)
    assert count_flops(network) == linear(5, 16) + linear(16, 16) + linear(16, 15)


@pytest.mark.parametrize(("K", "n"), [(1, 1), (3, 2)])
@pytest.mark.parametrize("feedback", ["none", "error", "shuffled"])
def test_operations_of_a_recursive_network_are_those_of_its_layers(K, n, feedback):
    d, hidden, blocks, T = 64, 128, 2, 15
    settings = {"num_outer_cycles": K, "num_inner_cycles": n, "feedback": feedback}
    network = trc.TinyRecursiveControl.create_small(problem=trc.make_problem("double_integrator"), **settings)
    tokens = 2 + (feedback != "none")
    once = linear(5, hidden) + linear(hidden, d) + linear(d, hidden) + linear(hidden, T)
    error = (linear(2, d) + linear(d, d) + linear(2, d)) * (feedback != "none")
    refinement = error + linear(T, d) + blocks * tokens * linear(d, 2 * d) + linear(d + T, hidden) + linear(hidden, T)
    block = linear(d, 3 * d) + linear(d, d) + 2 * linear(d, 2 * d)
    assert count_flops(network) == once + K * refinement + K * n * blocks * block
