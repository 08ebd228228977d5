"""An experiment as the notebooks use it, on small cases; and what a network's arithmetic is counted as."""

import pandas as pd
import pytest
import torch

import trc
from trc.artifact import Experiment, experiment
from trc.artifact.equal_cost import without_network
from trc.artifact.further_out import judge_by_way, spent_by_way
from trc.artifact.outcomes import join
from trc.artifact.presets import base_recipe, opponents
from trc.artifact.trained import train_all
from trc.evaluation import count_flops


@pytest.fixture
def make(tmp_path, monkeypatch):
    """A function that makes a trial of an experiment on the double integrator, its models and results kept apart."""
    monkeypatch.setattr(experiment, "models_folder", lambda: tmp_path / "models")

    def made(**options):
        options = {"seeds": "0,1", "results_dir": tmp_path / "out", "problems": ["double_integrator"]} | options
        return Experiment("tiny", "smoke", **options)

    return made


def test_recipe_takes_what_differs_from_the_base_and_nothing_else():
    base = base_recipe("van_der_pol", "paper", 3)
    changed = base_recipe("van_der_pol", "paper", 3, num_samples=100, learning_rate=2e-3, model={"num_blocks": 1})
    assert (base.num_samples, changed.num_samples) == (16_000, 100)
    assert changed.training == base.training | {"learning_rate": 2e-3}
    assert (base.expert, changed.seed, changed.model) == ("ilqr", 3, {"num_blocks": 1})


def test_opponents_are_told_nothing_and_the_plain_one_has_as_much_arithmetic():
    problem = trc.make_problem("van_der_pol")
    found = opponents("van_der_pol")
    alone, plain = (base_recipe("van_der_pol", "paper", **found[name]).network() for name in ("none", "plain"))
    assert not alone.uses_feedback and isinstance(plain, trc.FeedForward)
    base = trc.TinyRecursiveControl.create("small", problem=problem)
    assert count_flops(plain) == pytest.approx(count_flops(base), rel=0.02)


def test_experiment_from_training_to_tables(make, tmp_path):
    exp = make()
    models = exp.train({"one": {}, "two": {"model": {"num_outer_cycles": 1}}})
    assert list(models) == [("double_integrator", v, seed) for v in ("one", "two") for seed in (0, 1)]
    outcomes = exp.judge(["test", "wide"])
    assert list(outcomes.by_key) == [("double_integrator", s, v) for v in ("one", "two") for s in ("test", "wide")]
    some = exp.instances("double_integrator", "wide")
    networks = [exp.model("double_integrator", "two", seed) for seed in (0, 1)]
    alone = [some.judge(trc.propose(network, some.initial, some.target))[-1] for network in networks]
    both = outcomes["double_integrator", "wide", "two"]
    assert all(torch.equal(both[metric], values) for metric, values in join(alone).items())
    exp.write(runs=outcomes.by_seed(["gap"]), contrasts=outcomes.against("one", quantities=["gap"]))
    folder = tmp_path / "out" / "tiny"
    written = ["contrasts.csv", "manifest.json", "models.csv", "runs.csv", "timings.csv"]
    assert sorted(path.name for path in folder.iterdir()) == written
    assert " ".join(pd.read_csv(folder / "timings.csv")) == "problem variant seed phase seconds commit"
    said = pd.read_csv(folder / "models.csv")  # everything, defaults included
    assert said["seed"].tolist() == [0, 1, 0, 1]
    assert said["model_num_outer_cycles"].tolist() == [3, 3, 1, 1]
    assert said["training_weight_decay"].tolist() == [trc.training.TrainingConfig().weight_decay] * 4


def test_iterates_and_answers(make):
    exp = make(seeds="0")
    plain = {"size": "feedforward", "feedback": "none", "model": {"width": 8}}
    exp.train({"K2": {"model": {"num_outer_cycles": 2}}, "plain": plain})
    iterates = exp.judge_iterates(4)
    assert [key[1:] for key in iterates.by_key] == [("K2", k) for k in range(5)] + [("plain", 0)]
    answers = exp.answers(iterates)
    assert answers.names == ("problem", "variant")
    assert answers["double_integrator", "K2"] is iterates["double_integrator", "K2", 2]
    assert answers["double_integrator", "plain"] is iterates["double_integrator", "plain", 0]
    with_teacher = exp.judge_iterates(1, teachers=True)
    assert "control_mse" in with_teacher["double_integrator", "K2", 1]


def test_without_a_network_one_begins_at_the_start_and_never_gets_worse(make):
    some = make().instances("double_integrator").first(8)
    curves = pd.DataFrame(without_network(some, 3), columns=["method", "step", "rollouts", "adjoints", "gap", "median"])
    problem, x0, target = some.problem, some.initial.double(), some.target.double()
    idle = torch.zeros(8, problem.horizon, 1, dtype=torch.float64)
    zero = problem.cost(trc.rollout(problem, x0, idle), idle, target).mean() / some.optimal_cost.mean() - 1
    first = curves[curves["step"] == 0].set_index("method")
    assert first["gap"][["gradient-zero", "adam-zero", "ilqr-zero"]].tolist() == pytest.approx([zero.item()] * 3)
    assert (first["adjoints"] == 0).all()
    for name in ("gradient", "adam", "ilqr"):  # saturated LQR is found by a simulation
        assert first.at[f"{name}-lqr", "rollouts"] == 1 + first.at[f"{name}-zero", "rollouts"]
    falls = curves.groupby("method")[["gap", "rollouts", "adjoints"]].diff().dropna()
    assert (falls["gap"] < 1e-9).all() and (falls[["rollouts", "adjoints"]] >= 0).all(axis=None)
    linear = curves[(curves["method"] == "ilqr-lqr") & (curves["step"] == 1)]
    assert abs(linear["gap"].item()) < 1e-9  # one step is the optimum of a linear problem


def test_the_guard_is_counted_beside_networks_as_they_are(make):
    exp = make(seeds="0", keys=["range", "told"])
    exp.train({("own", told): {"feedback": told} for told in ("error", "costate")})
    assert {key[2] for key in judge_by_way(exp, [0, 2])} == {"plain", "guarded", "guarded-lqr"}
    spent = spent_by_way(exp, [0, 2], [2])
    plain = spent[spent["way"] == "plain"].set_index(["set", "told", "iterate"])[["rollouts", "adjoints"]]
    assert plain.loc[("wide", "error", 2)].tolist() == [2, 0] and plain.loc[("wide", "costate", 2)].tolist() == [2, 2]
    guarded = spent[spent["way"] == "guarded"].set_index(["set", "told", "iterate"])
    assert (guarded["rollouts"] > plain.loc[guarded.index, "rollouts"]).all()  # each candidate is simulated


def test_variants_may_depend_on_the_problem_and_come_in_several_parts(make):
    exp = make(seeds="3", keys=["size", "weight"], problems=["double_integrator", "van_der_pol"])
    exp.train(lambda problem: {("small", len(problem)): {}}, problems=["double_integrator"])
    exp.train({("small", 0): {}}, problems=["van_der_pol"])
    assert list(exp.models) == [("double_integrator", "small", 17, 3), ("van_der_pol", "small", 0, 3)]
    assert list(exp.networks().columns) == ["problem", "size", "weight", "parameters", "flops"]
    assert list(exp.losses()["split"]) == ["train", "validation"] * 2
    assert len(exp.validation_gaps(["van_der_pol"])) == 1


def test_what_was_not_trained_is_refused_with_what_was(make):
    exp = make(seeds="0")
    with pytest.raises(ValueError, match="tiny has not trained double_integrator, a, 0; it has trained none yet"):
        exp.model("double_integrator", "a", 0)
    with pytest.raises(ValueError, match="tiny has trained nothing yet: call train before"):
        exp.judge()
    exp.train({"a": {}})
    with pytest.raises(ValueError, match="it has trained double_integrator, a, 0"):
        exp.model("double_integrator", "b", 0)
    with pytest.raises(ValueError, match="unknown evaluation set 'tset'; known are test"):
        exp.judge(["tset"])
    with pytest.raises(ValueError, match="a variant of tiny is named by variant, got \\('a', 1\\)"):
        exp.train({("a", 1): {}})


def test_validation_gap_is_that_of_the_instances_that_training_held_out(make):
    exp = make(seeds="5")
    exp.train({"a": {}})
    recipe, model = exp.recipes["double_integrator", "a", 5], exp.model("double_integrator", "a", 5)
    held_out, _ = recipe.dataset(experiment.models_folder()).split(0.1, seed=5)
    controls = trc.propose(model, held_out.initial_states, held_out.target_states)[:, -1].double()
    problem = trc.make_problem("double_integrator")
    states = trc.rollout(problem, held_out.initial_states.double(), controls)
    cost = problem.cost(states, controls, held_out.target_states.double())
    expected = (cost.mean() / held_out.costs.double().mean() - 1).item()
    assert exp.validation_gaps()["gap"].item() == pytest.approx(expected, rel=1e-6)


def test_smoke_changes_weights(tmp_path):
    """The first step of a warm-up has the rate 0; a trial of one step with it would train nothing."""
    recipe = base_recipe("van_der_pol", "smoke")
    ((model, _),) = train_all([recipe], tmp_path, progress=False)
    before = recipe.network().state_dict()
    changed = [name for name, weights in model.state_dict().items() if not weights.equal(before[name])]
    assert any(name.startswith("blocks") for name in changed)


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
    assert count_flops(network, iterations=5) == once + 5 * refinement + 5 * n * blocks * block
    assert count_flops(network, iterations=0) == once
