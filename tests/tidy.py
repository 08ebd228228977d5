"""Small tidy tables of the kind that the experiments with one change write."""

import itertools

import pandas as pd

PROBLEMS = ("double_integrator", "van_der_pol")


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


def networks(variants):
    """What each network costs."""
    rows = pd.RangeIndex(1, len(variants) + 1)
    return variants.assign(parameters=100_000 * rows, flops=1_000_000 * rows)


def ablation(experiment):
    """The tables that an experiment's figures are drawn from, by name."""
    if experiment == "feedback":
        told = pd.DataFrame(
            [("none", "none"), *itertools.product(("error", "shuffled", "wrong"), repeat=2)],
            columns=["trained", "told"],
        )
        variants = crossed(problem=PROBLEMS, set=("test", "wide")).merge(told, how="cross")
        return {"summary": summary(variants, "gap", "success"), "runs": runs(variants, "gap", "success")}
    if experiment == "process_weight":
        metrics = ("gap", "first_gap", "monotone_share", "success")
        small = crossed(form=("first", "first-detached", "teacher", "discounted", "hinge"), weight=(0.1, 1.0))
        zero = pd.DataFrame({"form": ["first"], "weight": [0.0]})
        forms = pd.concat([zero.assign(size="small"), small.assign(size="small"), zero.assign(size="medium")])
        variants = crossed(problem=PROBLEMS, set=("test",)).merge(forms[["size", "form", "weight"]], how="cross")
        return {"summary": summary(variants, *metrics), "runs": runs(variants, *metrics)}
    if experiment == "iterations":
        recursive = ("K1-n3", "K3-n3", "K7-n3", "K3-n1", "K3-n3-alone")
        variants = crossed(
            problem=PROBLEMS, variant=(*recursive, "plain-parameters", "plain-arithmetic", "plain-longer")
        )
        iterates = crossed(problem=PROBLEMS, variant=("K1-n3", "K3-n3", "K7-n3", "K3-n1"), iterate=range(9))
        return {
            "summary": summary(variants, "gap", "success"),
            "runs": runs(variants, "gap", "success"),
            "networks": networks(variants),
            "curves": summary(iterates, "gap"),
            "curve_runs": runs(iterates, "gap"),
        }
    if experiment == "size_ablation":
        names = ("small", "medium", "large", "latent-128", "latent-256", "blocks-1", "blocks-3", "blocks-4")
        variants = crossed(problem=PROBLEMS, set=("test", "wide"), variant=names)
        untrained = crossed(problem=PROBLEMS, start=("near-zero", "pytorch"), size=("small", "medium", "large"))
        return {
            "summary": summary(variants, "gap", "success"),
            "runs": runs(variants, "gap", "success"),
            "networks": networks(crossed(problem=PROBLEMS, variant=names)),
            "untrained_runs": runs(untrained, "terminal_error"),
        }
    if experiment == "rates":
        trained = crossed(problem=PROBLEMS, variant=("base", "plain"), rate=(0.0025, 0.005))
        return {"gaps": runs(trained, "gap").rename(columns={"value": "gap"})}
    names = ("base", "alone", "shuffled", "reward-0.1", "reward-1", "K1", "K7", "K7-half", "medium", "plain")
    variants = crossed(problem=PROBLEMS, epochs=(4, 16), variant=names)
    epochs = variants.merge(pd.DataFrame({"seed": (0, 1)}), how="cross")
    training = epochs.merge(pd.DataFrame({"epoch": range(4), "loss": (1.0, 0.5, 0.2, 0.1)}), how="cross")
    return {"summary": summary(variants, "gap"), "runs": runs(variants, "gap"), "training": training}
