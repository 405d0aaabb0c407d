"""From an exception to one line and an exit code, for every command of the pipeline."""

import ctypes
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from handloom.errors import HandloomError

_PR_SET_PDEATHSIG = 1


@contextmanager
def reported() -> Iterator[None]:
    """Turn a HandloomError into `error: where: what, got 'value'; what to do` on stderr and its exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    if "DVC_STAGE" in os.environ and sys.platform == "linux":
        # a killed `dvc repro` would leave the training running without its lock
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    try:
        yield
    except HandloomError as error:
        click.echo(f"error: {' '.join(str(error).split())}", err=True)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        raise SystemExit(128 + signal.SIGINT) from None
