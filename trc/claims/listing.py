"""``book/claims.yml``, read strictly."""

from __future__ import annotations

import re
from dataclasses import MISSING, fields, replace
from pathlib import Path
from string import Formatter
from typing import Any, TypeVar

import yaml

from ..checks import check_choice, check_real
from ..evaluation.outcomes import QUANTITIES
from ..files import require_file
from .checkpoint import Checkpoint
from .claim import SHOWN, TAKEN, Claim, Number

T = TypeVar("T")


def read_claims(root: Path) -> tuple[list[Claim], list[Checkpoint]]:
    """All claims and checkpoints of ``book/claims.yml``, strictly.

    Raises
    ------
    FileNotFoundError, ValueError
        If the file is missing, or is not as it must be.
    """
    path = require_file(root / "book" / "claims.yml", "list of claims", "restore it with git")
    try:
        found = yaml.safe_load(path.read_text())
        if not isinstance(found, dict) or set(found) != {"claims", "checkpoints"}:
            raise ValueError("it must have exactly the lists claims and checkpoints")
        if not all(isinstance(rows, list) for rows in found.values()):
            raise ValueError("claims and checkpoints must be lists")
        claims = [_claim(row) for row in found["claims"]]
        checkpoints = [_checkpoint(row) for row in found["checkpoints"]]
        names = [one.id for one in [*claims, *checkpoints]]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"{', '.join(sorted(twice))} is there twice")
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"{path} is not a list of claims ({' '.join(str(error).split())}).") from None
    return claims, checkpoints


def _claim(row: Any) -> Claim:
    claim = _strict(Claim, row)
    numbers = {name: _strict(Number, number, f"{claim.id}, {name}") for name, number in claim.numbers.items()}
    for name, wanted in numbers.items():
        how, _, digits = wanted.show.partition(" ")
        check_choice(how, f"way to show the number {name} of {claim.id}", SHOWN)
        if not digits.isdecimal() or (how != "percent" and digits == "0"):
            raise ValueError(f"{claim.id}, {name}: show must be a way and the digits, as in percent 2")
        if wanted.take is not None:
            check_choice(wanted.take, f"way to take several rows for {name} of {claim.id}", TAKEN)
    places = {name for _, name, _, _ in Formatter().parse(claim.text) if name is not None}
    if unknown := places - set(numbers):
        raise ValueError(
            f"{claim.id} names {', '.join(sorted(unknown)) or 'a number without a name'}, which is none of its numbers"
        )
    return replace(claim, numbers=numbers)


def _checkpoint(row: Any) -> Checkpoint:
    checkpoint = _strict(Checkpoint, row)
    if len(checkpoint.row.split()) != 4:
        raise ValueError(f"{checkpoint.id}: row must name problem, set, method and seed")
    for metric, limit in checkpoint.tolerance.items():
        check_choice(metric, f"metric of {checkpoint.id}", QUANTITIES)
        check_real(limit, f"tolerance of {metric} of {checkpoint.id}", positive=True)
    return checkpoint


#: What YAML gives for a field, by the first word of its annotation.
_KINDS = {"str": str, "bool": bool, "dict": dict}


def _strict(kind: type[T], row: Any, name: str = "") -> T:
    name = name or (row.get("id") or row.get("file") if isinstance(row, dict) else "") or f"an entry {str(row)[:40]!r}"
    known = {f.name: f for f in fields(kind)}
    needed = {f.name for f in known.values() if f.default is MISSING}
    if not isinstance(row, dict) or not needed <= set(row) <= set(known):
        raise ValueError(f"{name} must have {', '.join(sorted(needed))}, of {', '.join(sorted(known))}")
    for key, value in row.items():
        wanted = _KINDS[re.match(r"\w+", known[key].type)[0]]
        if type(value) is not wanted:
            raise ValueError(f"{key} of {name} must be of type {wanted.__name__}, got {value!r}")
    return kind(**row)
