"""From an exception to one line and an exit code, for every command."""

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import click

from handloom.errors import HandloomError
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
        click.echo(f"error: {' '.join(str(error).split())}", err=True)
        raise SystemExit(error.exit_code) from None
