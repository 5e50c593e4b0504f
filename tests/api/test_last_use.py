"""Recording of the last use of keys: it harms no request and no pool, in any state of the server."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import QueuePool, event, text

from api import wsgi
from api.auth.last_use import LastUse
from api.http.background import BackgroundQueue
from api.http.circuit_breaker import CircuitBreaker
from snapshots import settings
from snapshots.database import connect
from tests.api.arrange import SNAPSHOT_PATHS, Api, bearer

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
        aside = BackgroundQueue()
        LastUse(small, time.monotonic, CircuitBreaker(), aside).note("key")
        aside.work_off()

    with small.connect() as one, small.connect() as two:
        assert one.connection is not two.connection
    other.dispose()


def test_no_answer_writes_down_the_use_of_its_key(api: Api, statements: list[str]) -> None:
    api.verify("patterns")
    tokens = [api.add_key() for _ in range(3)]
    for token in tokens:
        assert api.client.simulate_get(SNAPSHOT_PATHS["patterns"], headers=bearer(token)).status_code == 200
    assert not [each for each in statements if "last_used_at" in each]

    api.aside.work_off()

    assert len([each for each in statements if "last_used_at" in each]) == 3


@pytest.mark.parametrize(("threads", "connections"), [(1, 2), (4, 2)])
def test_what_writes_takes_no_request_s_only_connection(
    database_url: str, monkeypatch: pytest.MonkeyPatch, threads: int, connections: int
) -> None:
    monkeypatch.setenv("ACTIVITY_DATABASE_URL", database_url)
    engine = wsgi._engine(settings.load(api_threads=threads), "auth")  # noqa: SLF001  # as a process makes it

    assert isinstance(engine.pool, QueuePool)
    assert engine.pool.size() == connections
