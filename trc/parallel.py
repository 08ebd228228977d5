"""Independent pieces of work in several processes of one thread each; the results don't depend on their number."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
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


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Children inherit the mask, and begin without interrupts; this process gets what came meanwhile afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def parallel_map(function: Callable[..., T], arguments: Sequence[tuple], jobs: int = 1) -> Iterator[T]:
    """``function(*a)`` for each of `arguments`, in their order, each on one thread.

    Parameters
    ----------
    function : callable
        Importable by name when `jobs` is more than 1.
    arguments : sequence of tuple
    jobs : int
        Number of processes; 1 works in this one.

    Raises
    ------
    ValueError
        If `jobs` is not positive.
    """
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
        with _interrupts_held_back():  # a worker that is still starting would answer one with a traceback
            found = pool.map(function, *zip(*arguments, strict=True))
        yield from found
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()
