"""The figures and tables of the paper and the book, one function each: tidy tables in, a figure or table out.

The tables are those that experiments write. In all of them a ``summary`` has a row for each combination of the named
columns with ``value, low, high`` (a 95 % interval), and ``runs`` have one for each ``seed`` too, with its ``value``.
Each file of this folder registers its own functions; ``python -m trc.artifact.figures`` makes them all.
"""

from importlib import import_module
from pkgutil import iter_modules

from .registry import FIGURES, figure, index, paper_entries, table

for _file in iter_modules(__path__):
    if _file.name != "__main__":
        import_module(f"{__name__}.{_file.name}")
globals().update({_name: _entry.make for _name, _entry in FIGURES.items()})  # figures.methods, figures.comparison …

__all__ = ["FIGURES", "figure", "index", "paper_entries", "table"]
