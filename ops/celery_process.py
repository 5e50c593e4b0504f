"""Celery's worker and beat as the main process of a command: an error that ends one becomes the command's error."""

from __future__ import annotations

import errno
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from kombu.exceptions import OperationalError as TransportError
from redis import RedisError

from snapshots.errors import ActivityError, first_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from celery import Celery

#: Celery logs an error that ends its worker there, and returns as if it had been told to stop.
_LOGGER: Final = "celery.worker"
_SEMAPHORES: Final = frozenset({errno.EROFS, errno.ENOSPC, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOSYS})


def run(app: Celery, program: str, arguments: Sequence[str]) -> None:
    """Run Celery's `program` until a signal stops it. Raises ActivityError when an error ended it."""
    with _captured(program) as errors:
        try:
            app.start([program, *arguments])
        except Exception as ex:  # noqa: BLE001  # whatever it is, it ended the process
            errors.append(_explain(program, ex))
    if errors:
        raise ActivityError(errors[-1])


@contextmanager
def _captured(program: str) -> Iterator[list[str]]:
    """Yield a list of what Celery's worker logs as unrecoverable.

    In words: an error itself would keep its traceback, and with it the half-made pool, alive.
    """
    errors: list[str] = []

    def keep(record: logging.LogRecord) -> bool:
        if record.levelno >= logging.CRITICAL and record.exc_info and record.exc_info[1] is not None:
            errors.append(_explain(program, record.exc_info[1]))
        return True

    logger = logging.getLogger(_LOGGER)
    logger.addFilter(keep)
    try:
        yield errors
    finally:
        logger.removeFilter(keep)


def _explain(program: str, ex: BaseException) -> str:
    return f"{program}: ended by {type(ex).__name__}: {first_line(ex) or 'no message'}; {_advice(ex)}"


def _advice(ex: BaseException) -> str:
    if isinstance(ex, (RedisError, TransportError)):
        return "is ACTIVITY_BROKER_URL right, and the broker up?"
    if isinstance(ex, OSError) and ex.errno in _SEMAPHORES:
        return "its processes share semaphores: /dev/shm must be there, writable and not full"
    return "the log above says where; start it again once the cause is removed"
