"""Outcomes of instances and seeds, and the tables made of them."""

import pytest
import torch

import trc
from trc.evaluation import contrast_table, interval_table, join, outcome, seed_table, trajectory_table
from trc.experiments import instances


def generator():
    return torch.Generator().manual_seed(0)


def made_up(cost, optimal, seeds=2):
    """An outcome with given costs of two instances, the same for every seed but for its size."""
    cost = torch.tensor([cost], dtype=torch.float64) * torch.arange(1, seeds + 1, dtype=torch.float64).unsqueeze(1)
    return {"cost": cost, "optimal_cost": torch.tensor([optimal], dtype=torch.float64).expand_as(cost)}


def test_outcome_follows_the_iterates_by_hand(double_integrator, draw):
    x0, target = draw(double_integrator, 3)
    best = trc.lqr(double_integrator, x0, target)
    iterates = torch.stack([0 * best.controls, best.controls, 0.5 * best.controls], 1)
    first, second, third = outcome(double_integrator, x0, target, iterates, best.cost, best.controls)
    torch.testing.assert_close(second["cost"][0], best.cost)
    assert second["control_mse"].abs().max() == 0
    torch.testing.assert_close(first["control_mse"][0], best.controls.square().mean((1, 2)))
    assert (first["monotone"] == 1).all() and (second["monotone"] == 1).all() and (third["monotone"] == 0).all()
    torch.testing.assert_close(third["previous_cost"], second["cost"])
    torch.testing.assert_close(third["first_cost"], first["cost"])
    assert (third["optimal_cost"] == best.cost).all()
    assert "control_mse" not in outcome(double_integrator, x0, target, iterates, best.cost)[0]


def test_seed_table_by_hand():
    table = seed_table({("a", 1): made_up([3.0, 5.0], [1.0, 3.0])}, ["method", "iterate"], ["gap", "cost"], [7, 8])
    assert list(table.columns) == ["method", "iterate", "seed", "metric", "value"]
    assert table.values.tolist() == [
        ["a", 1, 7, "gap", 1.0],
        ["a", 1, 7, "cost", 4.0],
        ["a", 1, 8, "gap", 3.0],
        ["a", 1, 8, "cost", 8.0],
    ]


def test_reduction_is_the_share_that_is_gone():
    found = {"cost": torch.tensor([[1.0, 2.0]]), "previous_cost": torch.tensor([[4.0, 8.0]])}
    assert seed_table({("a",): found}, ["method"], ["reduction"], [0])["value"].item() == 0.75


def test_intervals_hold_the_value_and_repeat():
    outcomes = {("a",): {"success": (torch.rand(3, 40, generator=generator()) > 0.5).double()}}
    tables = [interval_table(outcomes, ["method"], ["success"], generator=generator(), resamples=50) for _ in range(2)]
    assert tables[0].equals(tables[1])
    row = tables[0].iloc[0]
    assert row["low"] <= row["value"] == outcomes["a",]["success"].mean().item() <= row["high"]


def test_contrast_of_a_method_with_itself_is_zero_and_with_a_shift_is_the_shift():
    costs = torch.rand(3, 30, generator=generator(), dtype=torch.float64)
    outcomes = {("a",): {"cost": costs}, ("b",): {"cost": costs - 2}}
    pairs = {("same",): (("a",), ("a",)), ("shift",): (("b",), ("a",))}
    table = contrast_table(outcomes, pairs, ["contrast"], ["cost"], generator=generator(), resamples=50)
    numbers = table.set_index("contrast")[["value", "low", "high"]]
    assert (numbers.loc["same"] == 0).all()
    assert numbers.loc["shift"].tolist() == pytest.approx([-2, -2, -2])  # what both have in common cancels


def test_contrast_with_one_seed_is_drawn_with_every_seed_of_the_other():
    outcomes = {("a",): made_up([3.0, 5.0], [1.0, 3.0], seeds=3), ("b",): made_up([1.0, 3.0], [1.0, 3.0], seeds=1)}
    pairs = {("a over b",): (("a",), ("b",))}
    table = contrast_table(outcomes, pairs, ["contrast"], ["gap"], generator=generator(), resamples=20)
    assert table["value"].item() == 3.0  # seeds 1, 2 and 3 times 8, over 4, minus one; less a gap of 0


def test_join_stacks_the_seeds():
    both = join([made_up([1.0, 2.0], [1.0, 2.0], seeds=1), made_up([3.0, 4.0], [1.0, 2.0], seeds=1)])
    assert both["cost"].tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("table", [seed_table, interval_table, contrast_table])
def test_unknown_quantity_is_refused(table):
    options = {"seeds": [0]} if table is seed_table else {"generator": generator()}
    outcomes = [{}] if table is not contrast_table else [{}, {}]
    with pytest.raises(ValueError, match="unknown quantity 'beauty'; known are gap"):
        table(*outcomes, names=["method"], quantities=["beauty"], **options)


@pytest.mark.parametrize("problem", trc.PROBLEMS)
def test_instances_of_a_preset_carry_their_optimum(problem):
    some = instances(problem, "smoke", "wide")
    best = trc.optimum(some.problem, some.initial[:4].double(), some.target[:4].double())
    torch.testing.assert_close(some.optimal_cost[:4], best.cost, rtol=1e-6, atol=0)
    own = some.optimum()
    assert own["cost"].shape == own["success"].shape == (1, len(some.initial))
    assert torch.equal(own["cost"], own["optimal_cost"])


@pytest.mark.parametrize("problem", trc.PROBLEMS)
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
