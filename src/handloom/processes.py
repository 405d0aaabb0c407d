"""Worker processes that end when their parent does, and signals as exit codes."""

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from types import FrameType

_PR_SET_PDEATHSIG = 1


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
    """Give a list that holds a signal's number once it came, in place of what it does otherwise."""
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)

    old = {number: signal.signal(number, note) for number in numbers}
    try:
        yield came
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def pool(workers: int | None = None) -> ProcessPoolExecutor:
    """Give a pool of spawned workers, one per usable core unless told; Ctrl-C is the parent's business alone."""
    return ProcessPoolExecutor(workers or len(os.sched_getaffinity(0)), get_context("spawn"), initializer=_begin)


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent(signal.SIGKILL)
