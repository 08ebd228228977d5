"""Make the paper's figures and tables: ``python -m trc.figures [NAME …]``."""

from __future__ import annotations

import argparse
import sys

import matplotlib as mpl

from ..results import project_root
from .index import draw, read_index


def main(arguments: list[str] | None = None) -> int:
    """Draw the named figures, or all; 2 on bad input."""
    parser = argparse.ArgumentParser(prog="python -m trc.figures", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="names or numbers (fig1) of figures/index.yml; all by default"
    )
    options = parser.parse_args(arguments)
    mpl.use("agg")
    try:
        root = project_root()
        entries = read_index(root)
        unknown = set(options.names) - {name for entry in entries for name in (entry.name, entry.number)}
        if unknown:
            known = ", ".join(entry.name for entry in entries)
            raise ValueError(f"there is no figure {', '.join(sorted(unknown))}; figures/index.yml has {known}.")
        for entry in entries:
            if not options.names or {entry.name, entry.number} & set(options.names):
                for path in draw(entry, root):
                    print(path.relative_to(root))
    except (ValueError, OSError) as error:
        print(f"trc.figures: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("trc.figures: interrupted; give the command again", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
