"""Worker process: its engine outlives restarts of the servers."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import psycopg2
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from snapshots.signals import SIGNALS
from worker.engine.refresh import refresh
from worker.process import process_engine, process_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine


@pytest.fixture
def held(fresh_database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """Yield the engine of a worker process on a database of the test's own."""
    monkeypatch.setenv("ACTIVITY_WORKER_DATABASE_URL", fresh_database)
    process_settings.cache_clear()
    process_engine.cache_clear()
    engine = process_engine()
    engine.pool._timeout = 1  # type: ignore[attr-defined]  # noqa: SLF001  # a lost place shows at once, not in 30 s
    yield engine
    engine.dispose()
    process_settings.cache_clear()
    process_engine.cache_clear()


def lose_session(held: Engine, other: Engine, level: str) -> None:
    """Have the server end a session while it is in use, at an isolation level that must be set back."""
    with held.execution_options(isolation_level=level).connect():
        pass  # only a session whose level was set back once is set back by a statement
    with held.execution_options(isolation_level=level).connect() as conn:
        pid = conn.execute(text("select pg_backend_pid()")).scalar_one()
        with other.connect() as killer:
            killer.execute(text("select pg_terminate_backend(:pid, 5000)"), {"pid": pid})


@pytest.mark.parametrize("level", ["AUTOCOMMIT", "REPEATABLE READ"])
def test_a_process_refreshes_on_however_many_sessions_the_server_has_ended(
    held: Engine, engine: Engine, level: str
) -> None:
    for _ in range(3):
        with suppress(DBAPIError, PoolTimeoutError, psycopg2.Error):
            lose_session(held, engine, level)

    for signal in SIGNALS:
        result = refresh(held, signal, process_settings())
        assert result is not None
