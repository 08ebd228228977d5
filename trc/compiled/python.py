"""A step that is recorded, as Python on single numbers, for those who compile it otherwise."""

import math
from collections.abc import Mapping

import torch

from .record import Place, Recording
from .scan import Shapes, Step, record

SIGNS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "pow": "**"}
SIGNS |= {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "eq": "==", "ne": "!="}
SIGNS |= {"logical_and": "and", "logical_or": "or", "logical_xor": "!="}


def python(step: Step, shapes: Shapes, wanted: Mapping[str, tuple[int]], dtype: torch.dtype) -> list[str]:
    """Lines that read vectors by name, as they have such shapes, and fill those that are wanted.

    Functions are called by the name that :mod:`math` gives them, and constants are made by ``number``.
    """
    recorded = record(step, shapes, wanted, dtype)
    recording, names = recorded.recording, {}
    for name, places in recorded.inputs.items():
        names |= {place: f"{name}[{i}]" for i, place in enumerate(places)}
    lines = []
    for place in recording.needed(place for places in recorded.found.values() for place in places):
        if place in names:
            continue
        if (value := recording.value(place)) is not None:
            names[place] = f"number({value!r})" if math.isfinite(value) else f"number(float('{value}'))"
            continue
        lines.append(f"v{place} = {_operation(recording, place, names)}")
        names[place] = f"v{place}"
    for name, places in recorded.found.items():
        lines += [f"{name}[{i}] = {names[place]}" for i, place in enumerate(places)]
    return lines


def _operation(recording: Recording, place: Place, names: Mapping[Place, str]) -> str:
    operation, *places = recording.made[place]
    terms = [names[term] for term in places]
    if operation == "where":
        return f"{terms[1]} if {terms[0]} else {terms[2]}"
    if operation in SIGNS:
        return f" {SIGNS[operation]} ".join(terms)
    return f"{operation if operation != 'abs' else 'fabs'}({', '.join(terms)})"
