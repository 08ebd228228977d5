"""The arithmetic of the bench; its times are nobody's test."""

import model
import pandas as pd
import pytest
import race

import trc


def test_ratios_are_those_of_the_turns_per_instance():
    turns = {"trc": [1.0, 2.0, 4.0], "rival": [10.0, 40.0, 20.0]}  # of 10 and of 5 instances
    rows = [
        {"task": "t", "problem": "p", "batch": 10, "rival": "r", "repeat": i, "side": side, "seconds": s}
        | {"per_instance": s / (10 if side == "trc" else 5)}
        for side, seconds in turns.items()
        for i, s in enumerate(seconds)
    ]
    (found,) = race.summarise(pd.DataFrame(rows)).to_dict("records")
    assert found["trc_seconds"] == 2.0
    assert found["trc_ms_per_instance"] == pytest.approx(200)
    assert found["rival_ms_per_instance"] == pytest.approx(4000)
    assert (found["low"], found["ratio"], found["high"]) == pytest.approx((15, 20, 30))  # of 20, 40 and 10


def test_sides_take_turns(monkeypatch):
    order = []
    both = race.Race("t", "p", 4, lambda: order.append("trc"), lambda: order.append("rival"), "r")
    alone = race.Race("t", "q", 4, lambda: order.append("alone"))
    monkeypatch.setattr(race, "SHORTEST", 0)
    timings = race.run_races([both, alone], 2)
    assert order == [*["trc"] * 2, *["rival"] * 2, *["trc", "rival"] * 2, *["alone"] * 4]  # two calls each to warm up
    assert list(timings["repeat"]) == [0, 0, 1, 1, 0, 1]
    assert (timings["per_instance"] * timings["side"].map({"trc": 4, "rival": 4})).tolist() == pytest.approx(
        timings["seconds"].tolist()
    )
    assert race.summarise(timings)["ratio"].notna().tolist() == [True, False]


def test_a_step_of_each_race_of_training_can_be_made():
    problem = trc.make_problem("double_integrator")
    network = trc.TinyRecursiveControl.create_small(problem=problem, seed=0)
    for loss, value in (("cloning", False), ("process", False), ("cloning", True)):
        model.training_step(network, 4, loss, value=value, state_weight=10.0)()
