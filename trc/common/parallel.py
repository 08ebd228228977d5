"""Independent pieces of work in several processes of one thread each; the results don't depend on their number."""

import ast
import copyreg
import io
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from .checks import check_count
from .memory import check_memory
from .notices import warn

T = TypeVar("T")

#: Bytes that a process takes at least, for torch alone.
PROCESS = 100_000_000

#: Seconds that processes get to end by themselves.
GRACE = 1.0

#: What a script's work stands below, so that the processes that it starts don't do it too.
GUARD = 'if __name__ == "__main__":'


class _Alone(Exception):
    """Why no other processes can be started."""


@contextmanager
def single_thread() -> Iterator[None]:
    """Run torch on one thread, so that sums are added in the same order everywhere; restored afterwards."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def parallel_map(function: Callable[..., T], arguments: Sequence[tuple], jobs: int = 1) -> Iterator[T]:
    """``function(*a)`` for each of `arguments` in order, on one thread each, in `jobs` processes at most.

    Where there can't be others one does it all, and a warning says why. They end with whoever asked, or stops asking.
    One that dies is a ``RuntimeError``.
    """
    count = min(check_count(jobs, "jobs"), len(arguments))
    if count > 1:
        check_memory(count * PROCESS, f"{count:,} processes", "give fewer jobs")
        try:
            yield from _elsewhere(function, arguments, count)
            return
        except _Alone as why:
            warn(f"one process does all the work: {why}.")
    for item in arguments:
        with single_thread():
            result = function(*item)
        yield result


def _elsewhere(function: Callable[..., T], arguments: Sequence[tuple], count: int) -> Iterator[T]:
    """The same in other processes; ``_Alone`` before anything is done where there can't be any."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        sys.exit(1)  # a script that each of its processes runs again: the first one says so
    try:
        _check_importable(_packed((function, arguments[0])))
    except Exception as error:
        raise (
            error if isinstance(error, _Alone) else _Alone("what is done is not defined at the top of a file")
        ) from None
    before, done = set(multiprocessing.active_children()), False
    pool = None
    try:
        try:
            # spawn: a forked child would inherit torch's thread pool in an unknown state
            spawned = {"mp_context": multiprocessing.get_context("spawn"), "initargs": (os.getpid(),)}
            pool = ProcessPoolExecutor(count, initializer=_begin, **spawned)
            with _uninterrupted():
                found = [pool.submit(_work, _packed((function, item))) for item in arguments]
        except (OSError, ImportError) as error:  # no room for semaphores, say
            raise _Alone(f"the system starts no others ({error})") from None
        found.reverse()
        while found:
            yield ForkingPickler.loads(found.pop().result())
        done = True
    except BrokenProcessPool:
        raise RuntimeError(
            "a process ended before its work was done; is there enough memory, and does what a script does stand below "
            f"`{GUARD}`? With jobs=1 there are no other processes."
        ) from None
    finally:
        if not done:
            _end(set(multiprocessing.active_children()) - before)
        if pool is not None:
            pool.shutdown(cancel_futures=True)


class _Pickler(ForkingPickler):
    """Tensors go with the message: shared memory, where torch would put them, may be small."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.dispatch_table = copyreg.dispatch_table  # without torch's own ways between processes

    def reducer_override(self, thing: Any) -> Any:
        """Pickle's hook: a tensor goes as an array, of which a part is packed without the rest."""
        ordinary = type(thing) is Tensor and thing.is_cpu and not thing.requires_grad
        if ordinary and thing.dtype in (torch.float32, torch.float64, torch.int64, torch.bool):
            return torch.from_numpy, (thing.resolve_neg().contiguous().numpy(),)
        return NotImplemented


def _packed(thing: object) -> bytes:
    file = io.BytesIO()
    _Pickler(file).dump(thing)
    return file.getvalue()


def _work(packed: bytes) -> bytes:
    function, item = ForkingPickler.loads(packed)
    return _packed(function(*item))


def _check_importable(packed: bytes) -> None:
    """Raise ``_Alone`` unless other processes can import what runs here, and may."""
    main = sys.modules["__main__"]
    path = getattr(main, "__file__", None)
    if getattr(getattr(main, "__spec__", None), "name", None) is not None:
        return
    if path is None or not Path(path).is_file():
        if path is not None or b"__main__" in packed:
            raise _Alone("what is done is defined in a notebook or at a prompt, not in a file")
        return
    try:
        lines = ast.parse(Path(path).read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return  # not in Python
    if not any(isinstance(line, ast.If) and "__name__" in ast.unparse(line.test) for line in lines):
        raise _Alone(f"what {Path(path).name} does would have to stand below `{GUARD}`")


def _begin(parent: int) -> None:
    """One thread, and no life of its own: a worker whose parent was killed ends itself."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is for the parent, which ends its workers
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that no file stays half written

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(GRACE)
        signal.raise_signal(signal.SIGTERM)
        time.sleep(GRACE)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Processes that start here inherit that they hear no interrupt: while they load they would tell it at length."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end(processes: set[multiprocessing.Process]) -> None:
    """End processes, those that don't listen by force."""
    for process in processes:
        process.terminate()
    until = time.monotonic() + GRACE
    for process in processes:
        process.join(max(0.0, until - time.monotonic()))
        if process.is_alive():
            process.kill()
