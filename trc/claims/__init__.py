"""The claims of the book, ``book/claims.yml``: what a page says, the numbers that it rests on, and when it is true.

``python -m trc.claims`` checks them all: each expression must hold for the committed results, and the committed
checkpoints, evaluated again, must give the committed numbers. ``book/promises.yml`` lists what was announced of the
method before anything was measured, and its verdicts are checked likewise.
"""

from .checkpoint import Checkpoint
from .claim import Claim, Number
from .listing import read_claims, read_promises
from .promise import VERDICTS, Promise

__all__ = ["VERDICTS", "Checkpoint", "Claim", "Number", "Promise", "read_claims", "read_promises"]
