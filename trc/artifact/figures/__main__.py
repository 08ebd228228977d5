"""Make the paper's figures and tables, and their index: ``python -m trc.artifact.figures [NAME …]``."""

import argparse
import sys

import matplotlib as mpl

from ...common.files import write_text
from ...common.provenance import project_root
from ..program import program
from .files import draw
from .registry import index, paper_entries


@program("trc.artifact.figures")
def main(arguments: list[str] | None) -> int:
    """Draw the named figures, or all."""
    about = __doc__.partition(":")[0] + "."
    parser = argparse.ArgumentParser(prog="python -m trc.artifact.figures", description=about)
    about = "names (fig1_methods) or numbers (fig1); all by default"
    parser.add_argument("names", nargs="*", metavar="NAME", help=about)
    wanted = set(parser.parse_args(arguments).names)
    mpl.use("agg")
    root, entries = project_root(), paper_entries()
    if unknown := wanted - {name for entry in entries for name in (entry.name, entry.number)}:
        known = ", ".join(entry.name for entry in entries)
        raise ValueError(f"there is no figure {', '.join(sorted(unknown))}; there are {known}.")
    path = root / "figures" / "index.yml"
    if not path.is_file() or path.read_bytes() != index().encode():  # what is as it was keeps its time
        write_text(path, index())
    for entry in entries:
        if not wanted or {entry.name, entry.number} & wanted:
            for path in draw(entry, root):
                print(path.relative_to(root))
    return 0


if __name__ == "__main__":
    sys.exit(main())
