"""Workers of this version go on while a later revision has added to the schema: migrate first, restart after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from sqlalchemy import func, select, text

from migrations import capture
from ops.owned_tables import metadata
from snapshots import settings
from snapshots.signals import SIGNALS
from snapshots.tables import SCHEMA, refresh, snapshot
from tests.worker.agreement import assert_published_equals_staged
from tests.worker.test_refresh import now, plant
from worker.engine import ledger
from worker.engine.context import Mode, RefreshRequest
from worker.engine.refresh import refresh as run_refresh
from worker.housekeeping.rescue import OVERDUE_S, take_up
from worker.housekeeping.retention import prune
from worker.signals.registry import SIGNALS as RULES

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

SETTINGS: Final = settings.load()
LATER: Final = "999_later"
#: What a revision that expands may do to a table that is there.
EXPANSIONS: Final = (
    "alter table {table} add column later_note text",
    "alter table {table} add column later_flag boolean not null default false",
)


def expand(engine: Engine) -> None:
    """Add to each table of ours, and make another one, as a later revision does."""
    with engine.begin() as conn:
        for table in metadata.tables.values():
            for statement in EXPANSIONS:
                conn.execute(text(statement.format(table=table.fullname)))
        conn.execute(text(f"create table {SCHEMA}.later_table (tenant_id text primary key)"))
        conn.execute(text("update signals.alembic_version set version_num = :later"), {"later": LATER})


@pytest.fixture
def grown(fresh_database: str, owner: Callable[[str], Engine]) -> Engine:
    """Return an engine on a database in service whose schema has grown meanwhile."""
    engine = owner(fresh_database)
    capture.install(engine)
    with engine.begin() as conn:
        for tenant in ("acme", "globex"):
            plant(conn, tenant, now(conn), run_id=f"{tenant}-1")
    for signal in SIGNALS:
        run_refresh(engine, signal, SETTINGS)
    expand(engine)
    return engine


@pytest.mark.parametrize("mode", ["tick", "reconcile"])
@pytest.mark.parametrize("signal", SIGNALS)
def test_a_worker_that_is_running_publishes_on(grown: Engine, signal: str, mode: Mode) -> None:
    with grown.begin() as conn:
        plant(conn, "acme", now(conn), run_id="acme-2")

    result = run_refresh(grown, signal, SETTINGS, mode=mode)

    assert result is not None
    assert result.tenants_changed == 1
    with grown.connect() as conn:
        assert_published_equals_staged(conn, RULES[signal], result.as_of)
        versions = select(snapshot.c.tenant_id, snapshot.c.version).where(snapshot.c.signal == signal)
        assert {row.tenant_id: row.version for row in conn.execute(versions)} == {"acme": 2, "globex": 1}


def test_it_prunes_and_takes_up_requests(grown: Engine) -> None:
    with grown.execution_options(isolation_level="AUTOCOMMIT").connect() as books:
        asked = ledger.request(books, RefreshRequest("cost", mode="manual", requested_by="an operator"))
        age = func.make_interval(0, 0, 0, 0, 0, 0, OVERDUE_S + 1)
        books.execute(refresh.update().where(refresh.c.refresh_id == asked).values(requested_at=func.now() - age))

    assert take_up(grown, SETTINGS)
    assert prune(grown, SETTINGS).abandoned == 0
