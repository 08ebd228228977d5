"""``book/claims.yml``, read strictly."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar

import yaml

from ..checks import check_choice
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
        claims = [
            _strict(Claim, row | {"numbers": {k: _strict(Number, v) for k, v in row["numbers"].items()}})
            for row in found["claims"]
        ]
        checkpoints = [_strict(Checkpoint, row) for row in found["checkpoints"]]
        for claim in claims:
            _check_claim(claim)
        names = [one.id for one in [*claims, *checkpoints]]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"{', '.join(sorted(twice))} is there twice")
    except (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a list of claims ({' '.join(str(error).split())}).") from None
    return claims, checkpoints


def _strict(kind: type[T], row: Mapping[str, Any]) -> T:
    known = {f.name for f in fields(kind)}
    needed = {f.name for f in fields(kind) if f.default is MISSING}
    if not needed <= set(row) <= known:
        raise ValueError(f"{row.get('id', row)} must have {', '.join(sorted(needed))}, of {', '.join(sorted(known))}")
    return kind(**row)


def _check_claim(claim: Claim) -> None:
    for wanted in claim.numbers.values():
        how, digits = wanted.show.split()
        check_choice(how, "way to show a number", SHOWN)
        int(digits)
        if wanted.take is not None:
            check_choice(wanted.take, "way to take several rows", TAKEN)
    if unknown := set(re.findall(r"{(\w+)}", claim.text)) - set(claim.numbers):
        raise ValueError(f"{claim.id} names {', '.join(sorted(unknown))}, which is none of its numbers")
