"""Warnings that name the line of whoever called the library, so that each of them is told and not only the first."""

import sys
import warnings
from pathlib import Path

import torch

#: Files that are not the caller's.
INSIDE = tuple(str(Path(module).parent) for module in (sys.modules["trc"].__file__, torch.__file__))


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the nearest line that is neither the library's nor torch's."""
    frame, level = sys._getframe(1), 2
    while frame is not None and frame.f_code.co_filename.startswith(INSIDE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
