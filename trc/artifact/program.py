"""How the programs ``python -m trc.artifact.…`` end: bad input as one line and the status 2, an interrupt as 130."""

import logging
import sys
from collections.abc import Callable
from functools import wraps

from ..common.interrupts import STATUS, end, heard
from ..common.streams import plain_warnings, usable_streams

Main = Callable[..., int]


def program(name: str, again: str = "give the command again") -> Callable[[Main], Main]:
    """Have a function of the command's arguments end so, under a name; `again` is said after an interrupt."""

    def decorate(main: Main) -> Main:
        @wraps(main)
        def run(arguments: list[str] | None = None) -> int:
            usable_streams()
            try:
                with heard(), plain_warnings():
                    return main(arguments)
            except (ValueError, OSError) as error:
                print(f"{name}: {' '.join(str(error).split())}", file=sys.stderr)
                return 2
            except KeyboardInterrupt:
                logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # it would report the interrupt once more
                print(f"{name}: interrupted; {again}", file=sys.stderr)
                end()
                return STATUS

        return run

    return decorate
