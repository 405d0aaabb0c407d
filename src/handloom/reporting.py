"""From an exception to one line and an exit code, for every command."""

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import click

from handloom.errors import EnvironmentFault, HandloomError
from handloom.processes import end_with_parent, exit_on_signals


@contextmanager
def reported() -> Iterator[None]:
    """Turn a HandloomError into `error: where: what, got 'value'; what to do` on stderr and its exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    exit_on_signals()
    if "DVC_STAGE" in os.environ:
        end_with_parent(signal.SIGTERM)
    try:
        yield
    except HandloomError as error:
        fault = error
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        said = str(error).splitlines()[0] if str(error) else "no word of how much"
        fault = EnvironmentFault(f"memory: not enough, got '{said}'; lower batch_size, or end what else runs")
    else:
        return
    click.echo(f"error: {' '.join(str(fault).split())}", err=True)
    raise SystemExit(fault.exit_code) from None


def _is_out_of_memory(error: Exception) -> bool:
    """Whether Python, numpy, torch on a CPU or torch on a GPU could not have what they asked for."""
    kind = type(error).__name__
    return isinstance(error, MemoryError) or kind == "OutOfMemoryError" or "allocate memory" in str(error)
