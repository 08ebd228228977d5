"""Check every claim of the book: ``python -m trc.claims``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..files import require_file, write_text
from ..results import project_root
from ..tables import markdown
from .checkpoint import Checkpoint
from .claim import Claim
from .listing import read_claims, read_promises
from .promise import Promise


def readme_table(claims: list[Claim], root: Path) -> str:
    """The README's table of results, as Markdown."""
    rows = [
        [
            claim.sentence(root),
            ", ".join(sorted({f"`results/{n.table.partition('/')[0]}`" for n in claim.numbers.values()})),
        ]
        for claim in claims
        if claim.readme
    ]
    return markdown(["what was measured", "where"], rows, left=2)


_MARKS = ("<!-- results: written by python -m trc.claims --readme -->", "<!-- end of results -->")


def with_table(readme: str, table: str) -> str:
    """The README's text with its table of results replaced."""
    before, mark, rest = readme.partition(_MARKS[0])
    _, end, after = rest.partition(_MARKS[1])
    if not mark or not end:
        raise ValueError(f"README.md lacks the lines {_MARKS[0]} and {_MARKS[1]}; restore it with git.")
    return f"{before}{mark}\n\n{table}\n\n{end}{after}"


def verify(root: Path) -> list[str]:
    """Check everything, print a line each, and return what is wrong."""
    claims, checkpoints = read_claims(root)
    broken = [line for claim in claims for line in _report("claim", claim, claim.page, root)]
    broken += [line for one in read_promises(root) for line in _report("verdict", one, "book/promises", root)]
    return broken + [line for one in checkpoints for line in _report("checkpoint", one, one.page, root)]


def _report(kind: str, one: Claim | Promise | Checkpoint, page: str, root: Path) -> list[str]:
    wrong = one.wrong(root)
    print(f"{'BROKEN' if wrong else 'holds '}  {kind:10}  {one.id}" + (f": {wrong} ({page})" if wrong else ""))
    return [f"{one.id}, on the page {page}: {wrong}"] if wrong else []


def main(arguments: list[str] | None = None) -> int:
    """Check the claims; 1 if one is broken, 2 on bad input."""
    parser = argparse.ArgumentParser(prog="python -m trc.claims", description="Check every claim of the book.")
    parser.add_argument("--readme", action="store_true", help="write the README's table of results instead")
    options = parser.parse_args(arguments)
    try:
        root = project_root()
        if options.readme:
            readme = require_file(root / "README.md", "README", "restore it with git")
            claims = read_claims(root)[0]
            if broken := [claim for claim in claims if claim.readme and claim.wrong(root)]:
                raise ValueError(f"the claim {broken[0].id} does not hold: {broken[0].wrong(root)} ({broken[0].page}).")
            write_text(readme, with_table(readme.read_text(), readme_table(claims, root)))
            return 0
        broken = verify(root)
    except (ValueError, OSError) as error:
        print(f"trc.claims: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("trc.claims: interrupted", file=sys.stderr)
        return 130
    print(f"{len(broken)} broken" if broken else "everything holds")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
