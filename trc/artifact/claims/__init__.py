"""The claims of the book, ``book/claims.yml``: what a page says, the numbers that it rests on, and when it is true.

``python -m trc.artifact.claims`` checks them all: each expression must hold for the committed results, and the
committed checkpoints, evaluated again, must give the committed numbers. ``book/promises.yml`` lists what was announced
of the method before anything was measured; it is of the same kind, with a verdict, and is checked likewise.
"""

from .checkpoint import Checkpoint
from .claim import VERDICTS, Claim, Number
from .listing import read_claims, read_promises

__all__ = ["VERDICTS", "Checkpoint", "Claim", "Number", "read_claims", "read_promises"]
