"""When each key was last used: written down to the minute, and never at the expense of the request."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, or_, select, update
from sqlalchemy.exc import SQLAlchemyError

from api.caching import ShortCache
from api.reader import GRACE_S
from api.watch import driver_connection
from snapshots.tables import api_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Engine

    from api.watch import Watch

#: A process writes once in so many seconds for each key.
NOTED_TTL_S: Final = 60.0
#: After a refusal, such as a read-only replica's, a process does not try again for so many seconds.
REFUSED_TTL_S: Final = 300.0

_TIMEOUT_MS: Final = 250
_CAPACITY: Final = 10_000
_log = logging.getLogger(__name__)

_THIS_MINUTE: Final = func.date_trunc("minute", func.clock_timestamp())
#: Neither a lock nor a slow standby may hold up the request for which this is written.
_HASTE: Final = select(
    func.set_config("statement_timeout", str(_TIMEOUT_MS), True),  # noqa: FBT003  # local to the transaction
    func.set_config("synchronous_commit", "off", True),  # noqa: FBT003  # local to the transaction
)


class LastUse:
    """Writes `last_used_at` of keys, with the authenticator's right to that column alone."""

    def __init__(self, engine: Engine, timer: Callable[[], float], watch: Watch) -> None:
        """Take an engine of the authenticator's role, and what watches over its database."""
        self._watch = watch
        self._engine = engine.execution_options(isolation_level="READ COMMITTED")
        self._noted: ShortCache[bool] = ShortCache(_CAPACITY, NOTED_TTL_S, timer=timer)
        self._refused: ShortCache[bool] = ShortCache(1, REFUSED_TTL_S, timer=timer)

    def note(self, key_id: str) -> None:
        """Write down that the key was used, unless that was done within the minute or the database refuses."""
        if self._noted.get(key_id) or self._refused.get("all"):
            return
        self._noted.keep(key_id, value=True)
        try:
            self._write(key_id)
        except SQLAlchemyError as ex:
            self._refused.keep("all", value=True)
            _log.warning("last_used_at is not written for %d s: %s", REFUSED_TTL_S, type(ex).__name__)

    def _write(self, key_id: str) -> None:
        is_older = or_(api_key.c.last_used_at.is_(None), api_key.c.last_used_at < _THIS_MINUTE)
        used = update(api_key).where(api_key.c.key_id == key_id, is_older).values(last_used_at=_THIS_MINUTE)
        with (
            self._engine.begin() as connection,
            self._watch.wait(driver_connection(connection), _TIMEOUT_MS / 1000 + GRACE_S),
        ):
            connection.execute(_HASTE)
            connection.execute(used)
