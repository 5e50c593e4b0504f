"""Last use of each key: recorded to the minute, and never in the request's own time."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Final

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from api.http.caching import ShortCache
from api.http.circuit_breaker import driver_connection
from api.queries.reader import GRACE_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Engine

    from api.http.background import BackgroundQueue
    from api.http.circuit_breaker import CircuitBreaker

#: A process writes once in so many seconds for each key.
NOTED_TTL_S: Final = 60.0
#: After a refusal, such as a read-only replica's, a process does not try again for so many seconds.
REFUSED_TTL_S: Final = 300.0

_TIMEOUT_MS: Final = 250
_CAPACITY: Final = 10_000
_log = logging.getLogger(__name__)

#: One message, so one transaction, whether or not connections commit by themselves: an isolation level set and then set
#: back fails, past our handling, where the server ended meanwhile. Neither a lock nor a slow standby may keep a
#: connection for long, which look-ups of keys need too.
_NOTE: Final = text(f"""
select set_config('statement_timeout', '{_TIMEOUT_MS}', true), set_config('synchronous_commit', 'off', true);
update signals.api_key
set last_used_at = date_trunc('minute', clock_timestamp(), 'UTC')
where key_id = :key_id and (last_used_at is null or last_used_at < date_trunc('minute', clock_timestamp(), 'UTC'))
""")  # noqa: S608  # a number of ours


class LastUse:
    """Writes `last_used_at` of keys, with the authenticator's right to that column alone."""

    def __init__(
        self, engine: Engine, timer: Callable[[], float], watch: CircuitBreaker, aside: BackgroundQueue
    ) -> None:
        """Take an engine of the authenticator's role, what watches over its database, and who writes meanwhile."""
        self._aside = aside
        self._watch = watch
        self._engine = engine
        self._noted: ShortCache[bool] = ShortCache(_CAPACITY, NOTED_TTL_S, timer=timer)
        self._refused: ShortCache[bool] = ShortCache(1, REFUSED_TTL_S, timer=timer)

    def note(self, key_id: str) -> None:
        """Have it written down that the key was used, unless that was done within the minute or the database refuses.

        Returns at once: it is put aside.
        """
        if self._noted.get(key_id) or self._refused.get("all"):
            return
        self._noted.keep(key_id, value=True)
        self._aside.put(partial(self._write_down, key_id))

    def _write_down(self, key_id: str) -> None:
        if self._refused.get("all"):
            return
        try:
            self._write(key_id)
        except SQLAlchemyError as ex:
            self._refused.keep("all", value=True)
            _log.warning("last_used_at is not written for %d s: %s", REFUSED_TTL_S, type(ex).__name__)

    def _write(self, key_id: str) -> None:
        with (
            self._engine.begin() as connection,
            self._watch.wait(driver_connection(connection), _TIMEOUT_MS / 1000 + GRACE_S),
        ):
            connection.execute(_NOTE, {"key_id": key_id})
