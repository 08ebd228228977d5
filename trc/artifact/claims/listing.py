"""``book/claims.yml`` and ``book/promises.yml``, read strictly."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import yaml

from ...common.checks import from_settings
from ...common.files import require_file
from .checkpoint import Checkpoint
from .claim import Claim, Number

T = TypeVar("T")


def read_claims(root: Path) -> tuple[list[Claim], list[Checkpoint]]:
    """All claims and checkpoints of ``book/claims.yml``; a ``ValueError`` if it is not as it must be."""
    checkpoint = partial(from_settings, Checkpoint, what="key")
    claims, checkpoints = _read(root, "claims", claims=_claim, checkpoints=checkpoint)
    return claims, checkpoints


def read_promises(root: Path) -> list[Claim]:
    """What was announced, the statements of ``book/promises.yml``, read as strictly."""
    (promises,) = _read(root, "promises", promises=_promise)
    return promises


def _read(root: Path, name: str, **parts: Callable[[dict[str, Any]], Any]) -> list[list[Any]]:
    """The lists of a file, each entry made by its part's function; no id twice."""
    path = require_file(root / "book" / f"{name}.yml", f"list of {name}", "restore it with git")
    try:
        found = yaml.safe_load(path.read_text("utf-8"))
        if not isinstance(found, dict) or set(found) != set(parts):
            raise ValueError(f"it must have exactly the lists {' and '.join(parts)}")
        if not all(isinstance(rows, list) and all(isinstance(row, dict) for row in rows) for rows in found.values()):
            raise ValueError(f"{' and '.join(parts)} must be lists of entries with keys")
        entries = [
            [_named(row.get("id") or row.get("file") or f"{row!r:.40}", make, row) for row in found[part]]
            for part, make in parts.items()
        ]
        names = [one.id for some in entries for one in some]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"{', '.join(sorted(twice))} is there twice")
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"{path} is not a list of {name} ({' '.join(str(error).split())}).") from None
    return entries


def _named(name: object, make: Callable[[Any], T], row: Any) -> T:
    """What a function makes of an entry; its complaints say whose they are."""
    try:
        return make(row)
    except ValueError as error:
        raise ValueError(f"{name}: {error}".rstrip(".")) from None


def _claim(row: dict[str, Any]) -> Claim:
    if isinstance(numbers := row.get("numbers"), dict):
        read = partial(from_settings, Number, what="key")
        row = row | {"numbers": {name: _named(f"number {name}", read, one) for name, one in numbers.items()}}
    return from_settings(Claim, row, "key")


def _promise(row: dict[str, Any]) -> Claim:
    promise = _claim({"page": "book/promises"} | row)
    if not promise.source or "verdict" not in row:
        raise ValueError("what was announced needs its source and a verdict.")
    return promise
