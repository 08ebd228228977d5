"""``book/claims.yml`` and ``book/promises.yml``, read strictly."""

from __future__ import annotations

import re
from collections.abc import Callable
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
from .promise import VERDICTS, Promise

T = TypeVar("T")


def read_claims(root: Path) -> tuple[list[Claim], list[Checkpoint]]:
    """All claims and checkpoints of ``book/claims.yml``, strictly.

    Raises
    ------
    FileNotFoundError, ValueError
        If the file is missing, or is not as it must be.
    """
    claims, checkpoints = _read(root, "claims", {"claims": _claim, "checkpoints": _checkpoint})
    return claims, checkpoints


def read_promises(root: Path) -> list[Promise]:
    """All statements of ``book/promises.yml``, strictly; see :func:`read_claims`."""
    (promises,) = _read(root, "promises", {"promises": _promise})
    return promises


def _read(root: Path, name: str, parts: dict[str, Callable[[Any], Any]]) -> list[list[Any]]:
    """The lists of a file, each entry made by its part's function; no id twice."""
    path = require_file(root / "book" / f"{name}.yml", f"list of {name}", "restore it with git")
    try:
        found = yaml.safe_load(path.read_text())
        if not isinstance(found, dict) or set(found) != set(parts):
            raise ValueError(f"it must have exactly the lists {' and '.join(parts)}")
        if not all(isinstance(rows, list) for rows in found.values()):
            raise ValueError(f"{' and '.join(parts)} must be lists")
        entries = [[make(row) for row in found[part]] for part, make in parts.items()]
        names = [one.id for some in entries for one in some]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"{', '.join(sorted(twice))} is there twice")
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"{path} is not a list of {name} ({' '.join(str(error).split())}).") from None
    return entries


def _claim(row: Any) -> Claim:
    claim = _strict(Claim, row)
    return replace(claim, numbers=_numbers(claim, claim.text))


def _promise(row: Any) -> Promise:
    promise = _strict(Promise, row)
    check_choice(promise.verdict, f"verdict of {promise.id}", VERDICTS)
    if (promise.verdict == "open") == bool(promise.holds) or (promise.verdict == "open" and not promise.why):
        raise ValueError(
            f"{promise.id}: a verdict needs an expression in holds, and one that is open the reason in why"
        )
    return replace(promise, numbers=_numbers(promise, promise.measured))


def _numbers(owner: Claim | Promise, text: str) -> dict[str, Number]:
    """The numbers of a claim or a promise, all that its text names among them."""
    numbers = {name: _strict(Number, number, f"{owner.id}, {name}") for name, number in owner.numbers.items()}
    for name, wanted in numbers.items():
        how, _, digits = wanted.show.partition(" ")
        check_choice(how, f"way to show the number {name} of {owner.id}", SHOWN)
        if not digits.isdecimal() or (how not in ("percent", "count") and digits == "0"):
            raise ValueError(f"{owner.id}, {name}: show must be a way and the digits, as in percent 2")
        if wanted.take is not None:
            check_choice(wanted.take, f"way to take several rows for {name} of {owner.id}", TAKEN)
    places = {name for _, name, _, _ in Formatter().parse(text) if name is not None}
    if unknown := places - set(numbers):
        raise ValueError(
            f"{owner.id} names {', '.join(sorted(unknown)) or 'a number without a name'}, which is none of its numbers"
        )
    return numbers


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
    needed = {f.name for f in known.values() if f.default is MISSING and f.default_factory is MISSING}
    if not isinstance(row, dict) or not needed <= set(row) <= set(known):
        raise ValueError(f"{name} must have {', '.join(sorted(needed))}, of {', '.join(sorted(known))}")
    for key, value in row.items():
        wanted = _KINDS[re.match(r"\w+", known[key].type)[0]]
        if type(value) is not wanted:
            raise ValueError(f"{key} of {name} must be of type {wanted.__name__}, got {value!r}")
    return kind(**row)
