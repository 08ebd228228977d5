"""The claims of the book, ``book/claims.yml``: what a page says, the numbers that it rests on, and when it is true.

``python -m trc.claims`` checks them all: each expression must hold for the committed results, and the committed
checkpoints, evaluated again, must give the committed numbers.
"""

from .checkpoint import Checkpoint
from .claim import Claim, Number
from .listing import read_claims

__all__ = ["Checkpoint", "Claim", "Number", "read_claims"]
