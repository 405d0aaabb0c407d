"""Every error a user of this project can meet, and the exit code it becomes.

* HandloomError
  * ParamsError        2  params.yaml or an option says something we cannot use
  * DataError          3  a data set is missing, malformed or fails its check
  * CheckpointError    4  a model or checkpoint does not fit what is asked of it
  * EnvironmentFault   5  the machine stands in the way: disk, lock, network, device
  * TrainingFailed     6  training diverged or collapsed

A message reads `where: what is wrong, got 'value'; what to do`, on one line. Exit code 0 is success, 130 and 143 are
SIGINT and SIGTERM, and 1 is our own bug, the only case that shows a traceback.
"""

from typing import ClassVar


class HandloomError(Exception):
    """Base of them all: catch this one to catch any."""

    exit_code: ClassVar[int] = 1


class ParamsError(HandloomError):
    """params.yaml or an option says something we cannot use."""

    exit_code = 2


class DataError(HandloomError):
    """A data set is missing, malformed or fails its check."""

    exit_code = 3


class CheckpointError(HandloomError):
    """A model or checkpoint does not fit what is asked of it."""

    exit_code = 4


class EnvironmentFault(HandloomError):
    """The machine stands in the way: disk, lock, network or device."""

    exit_code = 5


class Abandoned(SystemExit):
    """Ends a training that is not worth its end: no mistake, and nothing to go on with."""


class TrainingFailed(HandloomError):
    """Training diverged, or came to say nothing."""

    exit_code = 6
