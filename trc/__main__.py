"""``python -m trc`` is the ``trc`` command."""

from .cli import main

if __name__ == "__main__":
    main()
