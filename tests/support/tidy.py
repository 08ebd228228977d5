"""Small tidy tables of the kind that the experiments write."""

import itertools

import pandas as pd

from trc.artifact.figures.names import (
    BEGINNINGS,
    BOTH,
    COMPARED,
    DESCENTS,
    RULES,
    SETTINGS,
    TELLS,
    TRAININGS,
    UNROLLED_THROUGH,
    WAYS,
)
from trc.artifact.figures.tables import QUESTIONS

PROBLEMS = ("double_integrator", "van_der_pol")
SETS = ("test", "wide", "wider")


def crossed(**columns):
    """Every combination of the columns' values, in their order."""
    return pd.DataFrame(list(itertools.product(*columns.values())), columns=list(columns))


def summary(variants, *metrics):
    """Each row of `variants` with each metric, a value that grows from row to row, and an interval around it."""
    table = variants.merge(pd.DataFrame({"metric": metrics}), how="cross")
    value = 0.001 * (1 + pd.RangeIndex(len(table)).to_series())
    return table.assign(value=value, low=0.9 * value, high=1.1 * value)


def runs(variants, *metrics):
    """The same for two seeds, without interval."""
    table = variants.merge(pd.DataFrame({"seed": (0, 1), "value": (0.02, 0.03)}), how="cross")
    return table.merge(pd.DataFrame({"metric": metrics}), how="cross")


def both(variants, *metrics):
    """A summary and its runs, by name."""
    return {"summary": summary(variants, *metrics), "runs": runs(variants, *metrics)}


def networks(variants):
    """What each network costs."""
    rows = pd.RangeIndex(1, len(variants) + 1)
    return variants.assign(parameters=100_000 * rows, flops=1_000_000 * rows)


def spread(rows, middle):
    """Rows with a value and an interval around it."""
    return rows.assign(value=middle, low=middle - 0.5, high=middle + 1)


def comparison():
    """The comparison's: the value says which method and seed it is of."""
    metrics = ("terminal_error_iqm", "cost_iqm", "terminal_error", "success", "gap")
    seeds = crossed(problem=PROBLEMS, set=SETS, method=COMPARED, seed=(0, 1), metric=metrics)
    totals = crossed(problem=PROBLEMS, set=SETS, method=COMPARED, metric=metrics)
    changes = crossed(problem=PROBLEMS, set=SETS, contrast=QUESTIONS, metric=("gap", "success"))
    unsure = changes["set"] == "wide"
    number = {method: i for i, method in enumerate(COMPARED)}
    return {
        "runs": seeds.assign(value=1.0 + seeds["method"].map(number) + seeds["seed"]),
        "summary": spread(totals, 1.5 + totals["method"].map(number)),
        "contrasts": changes.assign(value=-0.01, low=-0.02, high=unsure.map({True: 0.005, False: -0.001})),
    }


def refinement_curves():
    """Of two methods, two iterates and two seeds."""
    networks = {"problem": PROBLEMS, "method": ("unrolled", "error")}
    totals = crossed(**networks, iterate=(0, 1), metric=("cost", "reduction", "control_mse"))
    totals = totals[(totals["iterate"] > 0) | (totals["metric"] != "reduction")]
    seeds = totals.merge(pd.DataFrame({"seed": (0, 1)}), how="cross")
    histograms = crossed(**networks, seed=(0, 1), **{"from": (80, 90)})
    drawn = [("teacher", 0), *itertools.product(networks["method"], (0, 1))]
    states = ["time", "state_0", "state_1", "target_0", "target_1", "control_0"]
    trajectories = [
        (p, method, n, k, t / 10, 1.0 - t / 3, n - t / 4, 0.25, 0.75, None if t == 3 else 0.5 * t + k)
        for p, (method, k), n, t in itertools.product(PROBLEMS, drawn, (3, 8), range(4))
    ]
    return {
        "curves": spread(totals, 2.0 - totals["iterate"]),
        "runs": seeds.assign(value=2.0 - seeds["iterate"] + seeds["seed"] / 10),
        "improvements": histograms.assign(to=histograms["from"] + 2, instances=5 + histograms["seed"]),
        "trajectories": pd.DataFrame(trajectories, columns=["problem", "method", "instance", "iterate", *states]),
    }


def iterated(**columns):
    """Gaps of three iterates."""
    return both(crossed(**columns, iterate=(0, 3, 30)), "gap")


def costate():
    """What is told, at which price, and how it is learned."""
    kinds = ("error", "costate", "newton")
    curves = crossed(problem=PROBLEMS, method=(*kinds, *BOTH, *DESCENTS), step=range(3))
    spent = {"rollouts": 1 + curves["step"], "adjoints": curves["step"], "gap": 0.1 / (1 + curves["step"])}
    epochs = crossed(problem=PROBLEMS, told=("error", "costate"), seed=(0, 1), epoch=range(3))
    return iterated(problem=PROBLEMS, told=TELLS) | {
        "at_equal_cost": curves.assign(**spent),
        "training": epochs.assign(loss=(epochs["seed"] + 1) / (epochs["epoch"] + 1)),
    }


def test_time():
    """Starts, rates and disturbances of networks of two kinds."""
    networks = {"problem": PROBLEMS, "told": ("error", "costate")}
    curves = {"seed": (0, 1), "iterate": (0, 3, 30)}
    starts, healed = crossed(**networks, start=BEGINNINGS, **curves), crossed(**networks, size=(0.01, 1.0), **curves)
    rates = crossed(**networks, seed=(0, 1), instance=range(3))
    return {
        "from_starts": starts.assign(gap=1 / (1 + starts["iterate"])),
        "healing": healed.assign(gap=healed["size"] / (1 + healed["iterate"])),
        "rates": rates.assign(radius=0.5 + rates["instance"] / 10, observed=0.5 + rates["instance"] / 10),
    }


def outside():
    """Further out, and with other plants."""
    told = ("error", "costate")
    plants = crossed(mu=(0.5, 2.0), way=WAYS, told=told, seed=(0, 1), iterate=(0, 3, 30))
    box = {"set": ("test", "wide"), "way": WAYS, "range": ("own",)}
    curves = crossed(problem=PROBLEMS[1:], **box, told=told, iterate=(0, 3, 30))
    descents = crossed(set=box["set"], method=DESCENTS, step=range(3))
    return both(curves, "gap", "gap_of_seeds") | {
        "plants": plants.assign(gap=plants["mu"]),
        "spent": curves.assign(seed=0, rollouts=curves["iterate"], adjoints=curves["iterate"]),
        "at_equal_cost": descents.assign(rollouts=1 + descents["step"], adjoints=descents["step"], gap=0.01),
    }


def halting():
    """Rules at two mean numbers of refinements."""
    rules = {"told": ("error", "costate"), "set": ("test", "wide"), "rule": RULES, "seed": (0, 1)}
    rows = crossed(problem=PROBLEMS[1:], **rules, wanted=(2.0, 4.0))
    spent = {"refinements": rows["wanted"], "simulations": rows["wanted"]}
    return {"rules": rows.assign(**spent, gap=1 / rows["wanted"])}


def counting():
    """Trainings, how that of the base went, and unrolled ones beyond their training."""
    beyond = crossed(problem=PROBLEMS, variant=UNROLLED_THROUGH, iterate=range(9))
    return iterated(problem=PROBLEMS, variant=TRAININGS) | {
        "curves": summary(beyond, "gap"),
        "curve_runs": runs(beyond, "gap"),
        "training": costate()["training"].rename(columns={"told": "variant"}).replace({"error": "deep"}),
    }


#: Experiments whose tables are made by a function of their own.
MADE = (comparison, refinement_curves, costate, test_time, outside, halting, counting)
MADE = {made.__name__: made for made in MADE}


def tables(experiment):
    """The tables that an experiment's figures are drawn from, by name."""
    if experiment in MADE:
        return MADE[experiment]()
    if experiment == "feedback":
        told = [("none", "none"), *itertools.product(("error", "shuffled", "wrong"), repeat=2)]
        told = pd.DataFrame(told, columns=["trained", "told"])
        return both(crossed(problem=PROBLEMS, set=("test", "wide")).merge(told, how="cross"), "gap", "success")
    if experiment == "process_weight":
        metrics = ("gap", "first_gap", "monotone_share", "success")
        small = crossed(form=("first", "first-detached", "teacher", "discounted", "hinge"), weight=(0.1, 1.0))
        zero = pd.DataFrame({"form": ["first"], "weight": [0.0]})
        forms = pd.concat([zero.assign(size="small"), small.assign(size="small"), zero.assign(size="medium")])
        variants = crossed(problem=PROBLEMS, set=("test",)).merge(forms[["size", "form", "weight"]], how="cross")
        return both(variants, *metrics)
    if experiment == "published_setting":
        variants = pd.DataFrame(list(SETTINGS), columns=["variant", "weight"]).assign(problem="van_der_pol")
        return both(variants[["problem", "variant", "weight"]], "success", "gap")
    if experiment == "iterations":
        recursive = ("K1-n3", "K3-n3", "K7-n3", "K3-n1")
        plain = ("plain-parameters", "plain-arithmetic", "plain-longer")
        variants = crossed(problem=PROBLEMS, variant=(*recursive, "K3-n3-alone", *plain))
        return both(variants, "gap", "success") | {"networks": networks(variants)}
    if experiment == "size_ablation":
        names = ("small", "medium", "large", "latent-128", "latent-256", "blocks-1", "blocks-3", "blocks-4")
        variants = crossed(problem=PROBLEMS, set=("test", "wide"), variant=names)
        untrained = crossed(problem=PROBLEMS, start=("near-zero", "pytorch"), size=("small", "medium", "large"))
        costs = networks(crossed(problem=PROBLEMS, variant=names))
        others = {"networks": costs, "untrained_runs": runs(untrained, "terminal_error")}
        return both(variants, "gap", "success") | others
    if experiment == "rates":
        trained = crossed(problem=PROBLEMS, variant=("base", "plain"), rate=(0.0025, 0.005))
        return {"gaps": runs(trained, "gap").rename(columns={"value": "gap"})}
    if experiment != "convergence":
        raise ValueError(f"tests/support/tidy.py has no small tables of {experiment} yet; add them.")
    names = ("base", "alone", "shuffled", "reward-0.1", "reward-1", "K1", "K7", "K7-half", "medium", "plain")
    variants = crossed(problem=PROBLEMS, epochs=(4, 16), variant=names)
    epochs = variants.merge(pd.DataFrame({"seed": (0, 1)}), how="cross")
    training = epochs.merge(pd.DataFrame({"epoch": range(4), "loss": (1.0, 0.5, 0.2, 0.1)}), how="cross")
    return both(variants, "gap") | {"training": training}
