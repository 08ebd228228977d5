"""One name, colour and marker for each thing that is compared, the same in every figure and table."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeVar

from matplotlib import pyplot as plt

from ...plots import INK, MUTED
from ...problems import PROBLEMS

K, V = TypeVar("K"), TypeVar("V")


class Look(NamedTuple):
    """How a thing is called and drawn."""

    title: str
    color: str
    marker: str = "o"


#: Okabe and Ito's colour-blind-safe palette, one colour a method everywhere; greys are methods that know nothing.
METHODS = {
    "random": Look("random controls", "#9a9a9a"),
    "zero": Look("zero controls", "#5c5c5c"),
    "untrained": Look("untrained network", "#e69f00"),
    "lqr": Look("saturated LQR", "#009e73"),
    "optimum": Look("optimum", "#d55e00"),
}

#: What the simulator tells a network between refinements; a plain network refines nothing.
TELLS = {
    "error": Look("told the terminal error", "#0072b2"),
    "costate": Look("told the costate", "#aa4499", "s"),
    "newton": Look("told the Newton step", "#117733", "^"),
    "none": Look("told nothing", "#56b4e9", "v"),
    "plain": Look("plain network", "#661100", "*"),
}

#: What the book compares, from methods that know nothing to the optimum.
COMPARED = {name: METHODS[name] for name in ("random", "zero", "untrained")}
COMPARED |= {name: TELLS[name] for name in ("none", "plain")}
COMPARED |= {"unrolled": Look("told the error, trained unrolled", "#882255", "v")}
COMPARED |= {name: TELLS[name] for name in ("error", "costate", "newton")}
COMPARED |= {name: METHODS[name] for name in ("lqr", "optimum")}

#: A network as the start of a solver.
BOTH = {"error-ilqr": Look("network, then iterative LQR", "#d55e00", "D")}

#: Whose iterates are looked at one by one.
ONE_BY_ONE = {
    "unrolled": Look("trained unrolled", "#882255", "v"),
    "reward": Look("with the reward", "#cc6677", "D"),
    "error": Look("the base", "#0072b2"),
}

#: What one does without a network, by where it begins.
DESCENTS = {
    "gradient-zero": Look("projected gradient, from zero", "#e69f00"),
    "gradient-lqr": Look("projected gradient, from LQR", "#e69f00", "s"),
    "adam-zero": Look("Adam on the controls, from zero", "#999933"),
    "adam-lqr": Look("Adam on the controls, from LQR", "#999933", "s"),
    "ilqr-zero": Look("iterative LQR, from zero", "#009e73"),
    "ilqr-lqr": Look("iterative LQR, from LQR", "#009e73", "s"),
}

#: Ways to a plan that is good enough, whose time is taken.
TIMED = {name: f"network, {TELLS[name].title}" for name in ("error", "costate", "newton")}
TIMED |= {"error-planner": f"network, {TELLS['error'].title}, without torch"}
TIMED |= {f"{name}-ilqr": f"network, {TELLS[name].title}, once, then iterative LQR" for name in ("error", "costate")}
TIMED |= {name: DESCENTS[name].title for name in ("ilqr-zero", "ilqr-lqr")} | {"ipopt-lqr": "IPOPT, from LQR"}

#: Where a refinement begins.
BEGINNINGS = {
    "guess": Look("its own guess", "#0072b2"),
    "zero": Look("zero controls", "#5c5c5c"),
    "lqr": Look("saturated LQR", "#009e73"),
    "random": Look("random controls", "#e69f00"),
    "another": Look("another instance's plan", "#cc6677"),
}

#: How a network is held to account outside of what it has seen.
WAYS = {
    "plain": Look("as it is", INK),
    "guarded": Look("under guard", "#d55e00", "s"),
    "guarded-lqr": Look("under guard, from the cheaper of guess and LQR", "#e69f00", "^"),
}

#: Networks further out, by way, range of the training and what they are told.
FURTHER = {
    ("plain", "own", "costate"): Look("told the costate, as it is", "#aa4499", "s"),
    ("guarded-lqr", "own", "costate"): Look("… under guard, from LQR or guess", "#d55e00", "^"),
    ("guarded-lqr", "own", "newton"): Look("told the Newton step, so guarded", "#117733", "^"),
}

#: Trainings that differ in one thing.
TRAININGS = {
    "unrolled": Look("unrolled, four epochs", "#882255"),
    "unrolled-long": Look("unrolled, as long", "#cc6677"),
    "deep": Look("the base", "#0072b2"),
    "carried": Look("latents go on", "#e69f00"),
    "together": Look("a batch of one age", "#999933"),
    "depth-8": Look("at most 8 refinements", "#44aa99"),
    "depth-128": Look("at most 128 refinements", "#9a9a9a"),
    "no-average": Look("no average of the weights", "#aa4499"),
    "no-noise": Look("every start its own guess", "#117733"),
    "no-gap": Look("no term in the gap", "#5c5c5c"),
    "gap-large": Look("ten times the gap's weight", "#661100"),
}

#: How many refinements unrolled networks are trained through.
UNROLLED_THROUGH = {"K1": 1, "unrolled": 3, "K5": 5, "K7": 7}
UNROLLED_THROUGH |= {f"K{K}-n3": K for K in (1, 3, 5, 7)}

#: When to stop.
RULES = {
    "fixed": Look("a fixed number", INK),
    "change": Look("the plan no longer changes", "#0072b2"),
    "residual": Look("the gradient is small", "#aa4499"),
    "act": Look("good enough? (ACT)", "#e69f00"),
    "q": Look("what halting is worth (Q)", "#cc6677"),
    "gain": Look("what going on would gain", "#117733"),
    "oracle": Look("one that knows", "#9a9a9a"),
}

#: Losses that look at all iterates.
FORMS = {
    "first": Look("reward as proposed", "#882255"),
    "first-detached": Look("reward, first cost detached", "#44aa99", "s"),
    "teacher": Look("reward, relative to the teacher", "#cc6677", "^"),
    "discounted": Look("discounted sum", "#332288", "v"),
    "hinge": Look("hinge on rises", "#aa8800", "P"),
}

#: What the networks of the experiment on feedback were trained with, and are told when they are judged.
TOLD = {
    ("none", "none"): Look("nothing", MUTED),
    ("error", "error"): Look("its plan's error", "#0072b2"),
    ("shuffled", "shuffled"): Look("another instance's error", "#cc6677"),
    ("wrong", "wrong"): Look("a wrong simulator's error", "#cc6677"),
    ("error", "shuffled"): Look("its own, later another's", "#cc6677"),
    ("error", "wrong"): Look("its own, later a wrong one", "#cc6677"),
}

#: Networks of the published setting, and what takes the reward's place, by variant and weight.
SETTINGS = {
    ("published", 0.0): Look("cloning alone", MUTED),
    **{("published", weight): Look(f"reward, weight {weight:g}", "#882255") for weight in (0.01, 0.1, 1.0, 10.0)},
    **{("answer", weight): Look(f"answer's part alone, weight {weight:g}", "#44aa99") for weight in (1.0, 10.0)},
    ("optimum", 0.0): Look("optimum as teacher", "#d55e00"),
    ("optimum", 1.0): Look("… and reward, weight 1", "#882255"),
    ("states", 0.0): Look("states cloned too", "#56b4e9"),
    ("states", 1.0): Look("… and reward, weight 1", "#882255"),
    ("feedback", 0.0): Look("told its plan's error", "#0072b2"),
    ("feedback", 1.0): Look("… and reward, weight 1", "#882255"),
}

#: Networks that differ from the small one along one axis, in order.
AXES = {
    ("small", "medium", "large"): Look("the three sizes", INK),
    ("small", "latent-128", "latent-256"): Look("wider latent alone", "#0072b2", "s"),
    ("blocks-1", "small", "blocks-3", "blocks-4"): Look("more blocks alone", "#d55e00", "^"),
}

#: How untrained networks start.
STARTS = {"near-zero": Look("near zero, as here", "#9a9a9a"), "pytorch": Look("as PyTorch draws it", "#e69f00")}

#: Feed-forward networks of the experiment on iterations.
PLAIN = {
    "plain-parameters": Look("plain, same parameters", "#777777", "s"),
    "plain-arithmetic": Look("plain, same arithmetic", "#777777", "s"),
    "plain-longer": Look("plain, trained longer", "#777777", "s"),
}

#: Networks that are trained otherwise, for longer or with other rates.
VARIANTS = {
    "base": Look("small, feedback", "#0072b2"),
    "alone": Look("no feedback", "#56b4e9", "s"),
    "shuffled": Look("another's error", "#cc6677", "P"),
    "reward-0.1": Look("reward, weight 0.1", "#ddaa33", "<"),
    "reward-1": Look("reward, weight 1", "#882255", "D"),
    "K1": Look("one refinement", "#aad9a0", "v"),
    "K7": Look("seven refinements", "#d55e00", "^"),
    "K7-half": Look("seven, half the rate", "#44aa99", "d"),
    "two-level": Look("two levels", "#aa4499", "h"),
    "blocks-4": Look("four blocks", "#999933", ">"),
    "latent-256": Look("latent of 256", "#661100", "8"),
    "medium": Look("medium network", INK, "X"),
    "large": Look("large network", MUTED, "p"),
    "plain": Look("plain network", "#777777", "*"),
}


def cycles(variant: str) -> Look:
    """A network of the experiment on iterations: ``3 × 5`` has three outer and five inner cycles."""
    outer, _, inner = variant.removeprefix("K").partition("-n")
    shade = "#56b4e9" if variant.endswith("-alone") else "#0072b2"
    return PLAIN.get(variant) or Look(f"{outer} × {inner.replace('-alone', ', no feedback')}", shade)


def title(problem: str) -> str:
    """What a problem is called in print."""
    return PROBLEMS.find(problem).title


def present(looks: Mapping[K, V], names: Iterable[K]) -> dict[K, V]:
    """The looks of what occurs in a table, in their own order."""
    found = set(names)
    return {name: look for name, look in looks.items() if name in found}


def iterate_colors(count: int) -> list[tuple[float, ...]]:
    """One colour an iterate: from pale to deep blue, the last one the darkest."""
    shades = plt.get_cmap("YlGnBu")
    return [shades(0.3 + 0.65 * k / max(count - 1, 1)) for k in range(count)]
