"""Both teachers' optimum, ours and that of an interior-point method which shares no code with it."""

import pytest
from ipopt import VARIATIONS, compare
from made_up import Cart

import trc

PROBLEMS = {name: trc.make_problem(name) for name in trc.PROBLEMS} | {"cart": Cart()}


def check(problem, variation, count, start):
    found = compare(problem, variation, count, start)
    assert found["ilqr_converged"] == found["ipopt_solved"] == count
    assert found["ilqr_residual"] <= 1e-6
    assert found["ipopt_residual"] < 1e-3
    assert found["cost_disagreement"] < 1e-10  # their dynamics and cost are ours
    assert found["largest_excess"] < 1e-6


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("variation", VARIATIONS)
def test_ilqr_is_not_worse_than_ipopt(name, variation):
    check(PROBLEMS[name], variation, 8, "zero")


@pytest.mark.slow
@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("variation", VARIATIONS)
@pytest.mark.parametrize("start", ["lqr", "zero"])
def test_ilqr_is_not_worse_than_ipopt_on_many_instances(name, variation, start):
    check(PROBLEMS[name], variation, 256, start)
