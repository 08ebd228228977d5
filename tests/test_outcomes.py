"""Outcomes of instances and seeds, and the tables made of them."""

import pytest
import torch

import trc
from trc.artifact.instances import Instances, instances
from trc.artifact.outcomes import QUANTITIES, Outcomes, join, overview
from trc.artifact.presets import PAPER_PROBLEMS
from trc.artifact.trajectories import trajectory_table


def generator():
    return torch.Generator().manual_seed(0)


def gathered(by_key, names=("method",), seeds=(0,), resamples=20):
    return Outcomes(by_key=by_key, names=tuple(names), seeds=seeds, generator=generator(), resamples=resamples)


def made_up(cost, optimal, seeds=2):
    """An outcome with given costs of two instances, the same for every seed but for its size."""
    cost = torch.tensor([cost], dtype=torch.float64) * torch.arange(1, seeds + 1, dtype=torch.float64).unsqueeze(1)
    return {"cost": cost, "optimal_cost": torch.tensor([optimal], dtype=torch.float64).expand_as(cost)}


def test_outcome_follows_the_iterates_by_hand(double_integrator, draw):
    x0, target = draw(double_integrator, 3)
    best = trc.lqr(double_integrator, x0, target)
    iterates = torch.stack([0 * best.controls, best.controls, 0.5 * best.controls], 1)
    some = Instances(double_integrator, x0, target, best.controls, best.cost, optimal_error=torch.zeros(3))
    first, second, third = some.judge(iterates, best.controls)
    torch.testing.assert_close(second["cost"][0], best.cost)
    assert second["control_mse"].abs().max() == 0
    torch.testing.assert_close(first["control_mse"][0], best.controls.square().mean((1, 2)))
    assert (first["monotone"] == 1).all() and (second["monotone"] == 1).all() and (third["monotone"] == 0).all()
    torch.testing.assert_close(third["previous_cost"], second["cost"])
    torch.testing.assert_close(third["first_cost"], first["cost"])
    assert (third["optimal_cost"] == best.cost).all()
    assert "control_mse" not in some.judge(iterates)[0]


def test_table_by_seed_by_hand():
    found = gathered({("a", 1): made_up([3.0, 5.0], [1.0, 3.0])}, ["method", "iterate"], [7, 8])
    table = found.by_seed(["gap", "cost"])
    assert list(table.columns) == ["method", "iterate", "seed", "metric", "value"]
    rows = [["a", 1, 7, "gap", 1.0], ["a", 1, 7, "cost", 4.0], ["a", 1, 8, "gap", 3.0], ["a", 1, 8, "cost", 8.0]]
    assert table.values.tolist() == rows


def test_reduction_is_the_share_that_is_gone_and_the_typical_gap_leaves_a_few_failures_out():
    found = {"cost": torch.tensor([[1.0, 2.0]]), "previous_cost": torch.tensor([[4.0, 8.0]])}
    assert gathered({("a",): found}).by_seed(["reduction"])["value"].item() == 0.75
    found = {"cost": torch.tensor([[1.0, 1.1, 1.1, 50.0]]), "optimal_cost": torch.ones(1, 4)}
    assert QUANTITIES["gap_iqm"].value(found) == pytest.approx(0.1)


def test_intervals_hold_the_value_and_repeat():
    outcomes = {("a",): {"success": (torch.rand(3, 40, generator=generator()) > 0.5).double()}}
    tables = [gathered(outcomes, resamples=50).intervals(["success"]) for _ in range(2)]
    assert tables[0].equals(tables[1])
    row = tables[0].iloc[0]
    assert row["low"] <= row["value"] == outcomes["a",]["success"].mean().item() <= row["high"]


def test_contrast_of_a_method_with_itself_is_zero_and_with_a_shift_is_the_shift():
    costs = torch.rand(3, 30, generator=generator(), dtype=torch.float64)
    found = gathered({("p", "a"): {"cost": costs}, ("p", "b"): {"cost": costs - 2}}, ["problem", "method"])
    table = found.contrasts({"same": ("a", "a"), "shift": ("b", "a")}, ["cost"])
    assert list(table["problem"]) == ["p", "p"]
    numbers = table.set_index("contrast")[["value", "low", "high"]]
    assert (numbers.loc["same"] == 0).all()
    assert numbers.loc["shift"].tolist() == pytest.approx([-2, -2, -2])  # what both have in common cancels


def test_contrast_with_one_seed_is_drawn_with_every_seed_of_the_other():
    outcomes = {("a",): made_up([3.0, 5.0], [1.0, 3.0], seeds=3), ("b",): made_up([1.0, 3.0], [1.0, 3.0], seeds=1)}
    table = gathered(outcomes).against("b", quantities=["gap"])
    assert list(table["method"]) == ["a"]
    assert table["value"].item() == 3.0  # seeds 1, 2 and 3 times 8, over 4, minus one; less a gap of 0


def test_everything_is_held_against_references_of_its_own_kind():
    key_of = [("p", form, weight) for form in ("x", "y") for weight in (0, 1)]
    costs = {key: {"cost": torch.full((1, 2), float(i), dtype=torch.float64)} for i, key in enumerate(key_of)}
    found = gathered(costs, ["problem", "form", "weight"])
    one = found.against(("x", 0), quantities=["cost"])
    assert one[["form", "weight", "value"]].values.tolist() == [["x", 1, 1], ["y", 0, 2], ["y", 1, 3]]
    by_weight = gathered({key[1:]: found[key] for key in key_of}, ["form", "weight"]).against(0, 1, quantities=["cost"])
    expected = [["x", 0, 1, -1], ["x", 1, 0, 1], ["y", 0, 1, -1], ["y", 1, 0, 1]]
    assert by_weight[["form", "weight", "against", "value"]].values.tolist() == expected


def test_join_stacks_the_seeds():
    both = join([made_up([1.0, 2.0], [1.0, 2.0], seeds=1), made_up([3.0, 4.0], [1.0, 2.0], seeds=1)])
    assert both["cost"].tolist() == [[1, 2], [3, 4]]


def test_overview_shows_the_test_set_with_keys_down_and_metrics_across():
    costs = {(name, "a"): made_up([3.0, 5.0], [1.0, 3.0]) for name in ("wide", "test")}
    table = overview(gathered(costs, ["set", "method"], [0, 1]).intervals(["gap", "cost"]))
    assert table.to_dict("index") == {("test", "a"): {"gap": 2.0, "cost": 6.0}}


@pytest.mark.parametrize(("table", "references"), [("by_seed", []), ("intervals", []), ("against", ["a"])])
def test_unknown_quantity_is_refused(table, references):
    found = gathered({("a",): made_up([1.0, 2.0], [1.0, 1.0]), ("b",): made_up([1.0, 2.0], [1.0, 1.0])})
    with pytest.raises(ValueError, match="unknown quantity 'beauty'; known are gap"):
        getattr(found, table)(*references, quantities=["beauty"])


def test_unknown_outcome_is_refused_with_those_there_are():
    found = gathered({("p", "a"): made_up([1.0, 2.0], [1.0, 1.0])}, ["problem", "method"])
    with pytest.raises(ValueError, match="there is no outcome p, b; known are p, a"):
        found.contrasts({"question": ("a", "b")}, ["gap"])


@pytest.mark.parametrize("problem", PAPER_PROBLEMS)
def test_instances_of_a_preset_and_the_first_of_them_carry_their_optimum(problem):
    some = instances(problem, "smoke", "wide")
    few = some.first(4)
    assert torch.equal(few.initial, some.initial[:4]) and len(few.lqr_controls) == 4
    assert len(some.first(10_000).initial) == len(some.initial)
    best = trc.optimum(few.problem, few.initial.double(), few.target.double())
    torch.testing.assert_close(few.optimal_cost, best.cost, rtol=1e-6, atol=0)
    own = some.optimum()
    assert own["cost"].shape == own["success"].shape == (1, len(some.initial))
    assert torch.equal(own["cost"], own["optimal_cost"])


@pytest.mark.parametrize("problem", PAPER_PROBLEMS)
def test_teacher_of_a_problem_is_optimal_on_the_test_set(problem):
    some = instances(problem, "smoke")
    controls = some.teacher_controls()
    cost = some.problem.cost(trc.rollout(some.problem, some.initial.double(), controls), controls, some.target.double())
    torch.testing.assert_close(cost, some.optimal_cost, rtol=1e-6, atol=0)


def test_trajectory_table_holds_what_the_simulator_gives(double_integrator, draw):
    x0, target = draw(double_integrator, 2)
    iterates = torch.zeros(2, 3, double_integrator.horizon, 1, dtype=torch.float64)
    iterates[:, 2] = 1.0
    table = trajectory_table(double_integrator, x0, target, {"a": iterates, "b": iterates[:, :1]}, names=[7, 9])
    assert len(table) == 2 * (3 + 1) * (double_integrator.horizon + 1)
    one = table[(table["method"] == "a") & (table["instance"] == 9) & (table["iterate"] == 2)]
    states = trc.rollout(double_integrator, x0[1:], iterates[1:, 2])[0]
    assert one[["state_0", "state_1"]].to_numpy().tolist() == states.tolist()
    assert one["control_0"].isna().tolist() == [False] * double_integrator.horizon + [True]
    assert set(one["target_0"]) == {target[1, 0].item()}
    assert one["time"].iloc[-1] == pytest.approx(5.0)
