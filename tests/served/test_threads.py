"""Live queries that hang leave room for what is answered from memory and what is found by its key."""

from __future__ import annotations

import time
from threading import Thread
from typing import TYPE_CHECKING, Final

import pytest
from sqlalchemy import text

from snapshots.database import connect
from snapshots.settings import Settings
from tests.api.arrange import PREFIX
from tests.served.serving import Served, serving, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine

    from tests.postgres import Server
    from tests.served.tenants import Estate

SNAPSHOT: Final = f"{PREFIX}/patterns"
LIVE: Final = f"{PREFIX}/summary/by-status"
#: As the defaults have it.
AT_ONCE: Final = int(Settings.model_fields["api_live_concurrency"].default)
#: A request takes a fraction of it, a query that hangs many times as long.
SOON_S: Final = 1.0


@pytest.fixture
def served(server: Server, estate: Estate, private_folder: Path) -> Iterator[Served]:
    with serving(server, estate.database, private_folder, api_processes=1, live_timeout_ms=60_000) as started:
        yield started


@pytest.fixture
def owner(estate: Estate) -> Iterator[Engine]:
    engine = connect(estate.database)
    yield engine
    engine.dispose()


def test_snapshots_are_read_while_as_many_live_queries_as_may_run_hang(
    served: Served, estate: Estate, owner: Engine
) -> None:
    key = estate.first.key
    statuses: list[int] = []
    threads = [
        Thread(target=lambda: statuses.append(served.get(LIVE, key, timeout_s=60)[0])) for _ in range(2 * AT_ONCE)
    ]
    with owner.begin() as holder:
        holder.execute(text("lock table public.runs in access exclusive mode"))
        for thread in threads:
            thread.start()
        until(lambda: len(statuses) == AT_ONCE, "refused what may not run")
        until(lambda: hanging(owner) == AT_ONCE, "running what may")

        # For longer than an answer is repeated: some are looked up.
        began, took = time.monotonic(), []
        while time.monotonic() < began + 2:
            sent = time.monotonic()
            assert served.get(SNAPSHOT, key)[0] == 200
            took.append(time.monotonic() - sent)

        assert served.get("/livez")[0] == 200
        assert max(took) < SOON_S
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] * AT_ONCE + [503] * AT_ONCE


def hanging(owner: Engine) -> int:
    """Return how many of the API's queries wait for a lock."""
    waiting = text("select count(*) from pg_locks where not granted and relation = to_regclass('public.runs')")
    with owner.connect() as conn:
        return int(conn.execute(waiting).scalar_one())
