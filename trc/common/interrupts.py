"""Ctrl-C in a command of this project: one line that says what to do, and the exit status 130, at any moment.

``trc`` and what it needs take seconds to load. Imported first, this module sees to it that a command says its line then
too; in any other program an interrupt stays what it is.
"""

import contextlib
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

#: What a command that was interrupted ends with.
STATUS = 130


def _command() -> str:
    """The command that is being loaded, ``trc`` or ``trc.…``; empty in any other program."""
    name = Path(sys.argv[0]).stem if sys.argv else ""
    if name == "-m":  # until Python has found the module, whose name stands behind this option
        words = " ".join(sys.orig_argv[1:])
        found = re.search(r"(?:^| )-[bBdEiIOPqsSuvx]*m ?([\w.]+)", words)
        name = found[1] if found else ""
        return name if name.partition(".")[0] == "trc" else ""
    return name if name == "trc" else ""


#: The command that this process is; empty in any other program.
COMMAND = _command()


def _leave(*_: object) -> None:
    """End at once: nothing has been begun."""
    with contextlib.suppress(OSError):
        os.write(2, f"{COMMAND}: interrupted; give the command again\n".encode())
    os._exit(STATUS)


def end() -> None:
    """End a command that was interrupted and has said so; nothing elsewhere.

    Threads that still compile are not waited for, as Python would: it can't end them without an abort.
    """
    if COMMAND:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):  # whatever is wrong with it, this is the end
                stream.flush()
        os._exit(STATUS)


@contextlib.contextmanager
def heard() -> Iterator[None]:
    """A command's work, in which an interrupt is a ``KeyboardInterrupt``; the command has ended when it is over."""
    loaded = signal.getsignal(signal.SIGINT) is _leave
    if loaded:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        if loaded:  # what is still to be done is to end
            signal.signal(signal.SIGINT, signal.SIG_IGN)


if (
    threading.current_thread() is threading.main_thread()
    and COMMAND
    and signal.getsignal(signal.SIGINT) is signal.default_int_handler
):
    signal.signal(signal.SIGINT, _leave)
