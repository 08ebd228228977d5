"""Independent pieces of work in several processes of one thread each; the results don't depend on their number."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.reduction import ForkingPickler
from typing import TypeVar

import torch

from .checks import check_count

T = TypeVar("T")


def start_worker(parent: int) -> None:
    """One thread, and no life of its own: a worker whose parent was killed ends itself."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is for the parent, which ends its workers

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def single_thread() -> Iterator[None]:
    """Run torch on one thread, so that sums are added in the same order everywhere; restored afterwards."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def can_be_sent(*things: object) -> bool:
    """Whether other processes can be given these: each class and function is found in its module by its name."""
    try:
        ForkingPickler.dumps(things)
    except Exception:  # which one says no more than that it can't
        return False
    return True


def parallel_map(function: Callable[..., T], arguments: Sequence[tuple], jobs: int = 1) -> Iterator[T]:
    """``function(*a)`` for each of `arguments` in order, on one thread each; with more `jobs` it must be importable."""
    check_count(jobs, "jobs")
    if jobs == 1 or len(arguments) <= 1:
        for item in arguments:
            with single_thread():
                result = function(*item)
            yield result
        return
    # spawn: a forked child would inherit torch's thread pool in an unknown state
    pool = ProcessPoolExecutor(
        min(jobs, len(arguments)), mp_context=get_context("spawn"), initializer=start_worker, initargs=(os.getpid(),)
    )
    try:
        # a worker that is still starting would answer an interrupt with a traceback: it inherits this mask
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            found = pool.map(function, *zip(*arguments, strict=True))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        yield from found
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()
