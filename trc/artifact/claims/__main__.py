"""Check every claim of the book: ``python -m trc.artifact.claims``."""

import argparse
import sys
from pathlib import Path

from ...common.files import require_file, write_text
from ...common.provenance import project_root
from ...common.text import markdown
from ..program import program
from .claim import Claim
from .listing import read_claims, read_promises

PROGRAM = "trc.artifact.claims"
_MARKS = (f"<!-- results: written by python -m {PROGRAM} --readme -->", "<!-- end of results -->")


def readme_table(claims: list[Claim], root: Path) -> str:
    """The README's table of results, as Markdown."""
    rows = []
    for claim in claims:
        if claim.readme:
            where = sorted({f"`results/{number.table.partition('/')[0]}`" for number in claim.numbers.values()})
            rows.append([claim.sentence(root), ", ".join(where)])
    return markdown(["what was measured", "where"], rows, left=2)


def with_table(readme: str, table: str) -> str:
    """The README's text with its table of results replaced."""
    before, mark, rest = readme.partition(_MARKS[0])
    _, end, after = rest.partition(_MARKS[1])
    if not mark or not end:
        raise ValueError(f"README.md lacks the lines {_MARKS[0]} and {_MARKS[1]}; restore it with git.")
    return f"{before}{mark}\n\n{table}\n\n{end}{after}"


def write_readme(root: Path) -> None:
    """Write the README's table of results, unless one of its claims is false."""
    readme = require_file(root / "README.md", "README", "restore it with git")
    claims, _ = read_claims(root)
    for claim in claims:
        if claim.readme and (wrong := claim.wrong(root)):
            raise ValueError(f"the claim {claim.id} does not hold: {wrong} ({claim.page}).")
    write_text(readme, with_table(readme.read_text("utf-8"), readme_table(claims, root)))


def verify(root: Path) -> int:
    """Check everything, print a line each, and return how many are broken."""
    claims, checkpoints = read_claims(root)
    broken = 0
    for one in (*claims, *read_promises(root), *checkpoints):
        wrong = one.wrong(root)
        broken += bool(wrong)
        mark, reason = ("BROKEN", f": {wrong} ({one.page})") if wrong else ("holds ", "")
        print(f"{mark}  {one.kind:10}  {one.id}{reason}")
    print(f"{broken} broken" if broken else "everything holds")
    return broken


@program(PROGRAM)
def main(arguments: list[str] | None) -> int:
    """Check the claims; 1 if one is broken."""
    parser = argparse.ArgumentParser(prog=f"python -m {PROGRAM}", description="Check every claim of the book.")
    parser.add_argument("--readme", action="store_true", help="write the README's table of results instead")
    options = parser.parse_args(arguments)
    if options.readme:
        write_readme(project_root())
        return 0
    return 1 if verify(project_root()) else 0


if __name__ == "__main__":
    sys.exit(main())
