"""The standard streams of a process, as they should be."""

import contextlib
import io
import os
import sys
import warnings
from collections.abc import Iterator


class _Forgiving(io.TextIOWrapper):
    """Goes on without a reader, as when output is piped into ``head``: work that was begun is finished."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except BrokenPipeError:
            self._let_go()
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except BrokenPipeError:
            self._let_go()

    def _let_go(self) -> None:
        """Let what is still written go nowhere."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)


def usable_streams() -> None:
    """See that there are standard output and error, that they take any text, and that nobody has to read it.

    A service may have neither: then what is said goes nowhere. What the locale can't write becomes a question mark.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))
        elif stream is getattr(sys, f"__{name}__") and hasattr(stream, "buffer"):
            how = {"encoding": stream.encoding, "errors": "replace", "line_buffering": stream.line_buffering}
            setattr(sys, name, _Forgiving(stream.buffer, **how))


@contextlib.contextmanager
def plain_warnings() -> Iterator[None]:
    """Tell warnings in one line each, for whoever reads what a command says and not its code."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: print(
            f"warning: {' '.join(str(message).split())}", file=sys.stderr
        )
        yield
