"""The ``trc`` command: data, training, judgement and a look around, from the shell."""

from .main import main

__all__ = ["main"]
