"""Work on many processes, here or on a Dask cluster, and signals as exit codes."""

import ctypes
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from types import FrameType
from typing import Final, TypeVar

from handloom.errors import EnvironmentFault

_PR_SET_PDEATHSIG = 1

SCHEDULER: Final = "HANDLOOM_SCHEDULER"
"""Environment variable: address of a Dask scheduler whose workers share this folder, `tcp://host:8786`."""
SHARD: Final = 16
"""Samples that a worker makes at once: to hand one over costs as much as a tenth of rendering it."""

PATIENCE_S: Final = 10
"""For a scheduler's answer."""

_Id = TypeVar("_Id")
_Made = TypeVar("_Made")


def end_with_parent(number: signal.Signals) -> None:
    """Ask the kernel for a signal when the parent dies: a killed `dvc repro` would leave its stage running."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)


def exit_on_signals() -> None:
    """Turn SIGINT and SIGTERM into SystemExit 130 and 143, so that `finally` clauses clean up."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)


@contextmanager
def noted(*numbers: signal.Signals) -> Iterator[list[int]]:
    """Give a list that holds a signal's number once it came, in place of what it does otherwise.

    A handler that something within set in its place stays.
    """
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)

    old = {number: signal.signal(number, note) for number in numbers}
    try:
        yield came
    finally:
        for number, handler in old.items():
            if signal.getsignal(number) is note:
                signal.signal(number, handler)


@contextmanager
def held() -> Iterator[None]:
    """Let SIGINT and SIGTERM wait until this is over: what has begun by half cannot be ended.

    Another thread than the main one is never interrupted.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with noted(signal.SIGINT, signal.SIGTERM) as came:
        yield
    for number in came[:1]:
        signal.raise_signal(number)


@dataclass(frozen=True)
class Pool:
    """Workers that samples are made on."""

    executor: Executor
    workers: int

    def in_order(self, work: Callable[[_Id], _Made], ids: Sequence[_Id]) -> Iterator[_Made]:
        """Give what `work` makes of each id, in their order; a few shards of them wait in memory at most."""
        waiting: deque[Future[list[_Made]]] = deque()
        several = partial(_several, work, Path.cwd())
        for start in range(0, len(ids), SHARD):
            with held():  # a pool whose thread has not started yet fails to shut down
                waiting.append(self.executor.submit(several, ids[start : start + SHARD]))
            if len(waiting) > 2 * self.workers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def _several(work: Callable[[_Id], _Made], folder: Path, ids: Sequence[_Id]) -> list[_Made]:
    """Make a shard of samples; paths are those of the folder in which the pipeline runs."""
    os.chdir(folder)
    return [work(number) for number in ids]


@contextmanager
def pool(workers: int | None = None) -> Iterator[Pool]:
    """Open a pool of local processes, one per usable core unless told, or of a Dask cluster's if SCHEDULER names one.

    Raises EnvironmentFault where there is no such cluster, or a local worker dies.
    """
    if address := os.environ.get(SCHEDULER):
        with _cluster(address) as found:
            yield found
        return
    workers = workers or len(os.sched_getaffinity(0))
    try:
        with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_begin) as executor:
            yield Pool(executor, workers)
    except BrokenProcessPool as error:
        raise EnvironmentFault(f"workers: all must live, got '{error}'; free some memory") from None


@contextmanager
def _cluster(address: str) -> Iterator[Pool]:
    try:
        from distributed import Client

        client = Client(address, timeout=PATIENCE_S)
    except ImportError:
        raise EnvironmentFault(
            f"{SCHEDULER}: needs Dask, got 'no module distributed'; pip install distributed"
        ) from None
    except (OSError, ValueError) as error:
        what = str(error).splitlines()[0]
        raise EnvironmentFault(
            f"{SCHEDULER}: no scheduler at {address}, got '{what}'; start `dask scheduler`"
        ) from None
    with client, client.get_executor(pure=False) as executor:
        workers = len(client.scheduler_info()["workers"])
        if not workers:
            raise EnvironmentFault(f"{SCHEDULER}: {address} has no workers, got '0'; start `dask worker {address}`")
        yield Pool(executor, workers)


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent(signal.SIGKILL)
