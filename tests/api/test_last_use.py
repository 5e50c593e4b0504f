"""What writes down the use of keys harms no request and no pool, whatever the server does meanwhile."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, text

from api.last_use import LastUse
from api.watch import Watch
from snapshots.database import connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

#: As the read layer and the receiver open their pools of keys.
POOLS = {
    "api": {"isolation_level": "AUTOCOMMIT", "skip_autocommit_rollback": True, "pool_pre_ping": False},
    "receive": {},
}


@pytest.fixture(params=POOLS)
def small(fresh_database: str, request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Yield an engine with two connections and no more."""
    options: dict[str, Any] = POOLS[request.param]
    engine = connect(fresh_database, pool_size=2, max_overflow=0, pool_timeout=0.5, **options)
    yield engine
    engine.dispose()


def test_a_server_that_ends_as_a_connection_is_given_back_costs_neither_request_nor_connection(
    small: Engine, fresh_database: str
) -> None:
    other = connect(fresh_database)
    is_ending = False

    def end_session(driver: Any, *_: object) -> None:  # noqa: ANN401  # psycopg2's connection
        if is_ending:
            with other.connect() as conn:
                conn.execute(text("select pg_terminate_backend(:pid, 5000)"), {"pid": driver.info.backend_pid})

    event.listen(small.pool, "reset", end_session, insert=True)
    for is_ending in (False, True, False, True, False):  # noqa: B007  # end_session reads it
        LastUse(small, time.monotonic, Watch()).note("key")

    with small.connect() as one, small.connect() as two:
        assert one.connection is not two.connection
    other.dispose()
