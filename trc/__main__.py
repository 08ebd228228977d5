"""``python -m trc`` is the ``trc`` command."""

from .cli import main

main()
