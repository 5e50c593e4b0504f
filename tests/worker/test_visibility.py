"""Work of a worker whose role may not see every row: it ends with an error, and publishes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, select, text

from snapshots import catalogue, settings
from snapshots.database import connect
from snapshots.errors import VisibilityError
from snapshots.signals import SIGNALS, WORKER_ROLE
from snapshots.tables import refresh as attempts
from snapshots.tables import snapshot
from tests.factories import insert_run
from worker.engine.compute import preview
from worker.engine.refresh import refresh
from worker.housekeeping.retention import prune
from worker.webhooks.deliver import notify

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from tests.postgres import Server

SETTINGS = settings.load()
SOURCES = ("runs", "aos_traces", "aos_trace_steps")
POLICIES = [p for p in catalogue.expected() if p.kind == "policy" and p.role == WORKER_ROLE]


@pytest.fixture
def worker(server: Server, engine: Engine, fresh_database: str) -> Iterator[Engine]:
    """Yield an engine of the worker's role, over a tenant whose snapshots are published."""
    with engine.begin() as conn:
        insert_run(conn, id="r", tenant_id="acme", state="LIVE", risk_level="AT_RISK", started_at=func.now())
    made = connect(server.url_as(WORKER_ROLE, fresh_database))
    for signal in SIGNALS:
        refresh(made, signal, SETTINGS, mode="manual")
    yield made
    made.dispose()


def change(engine: Engine, *statements: str) -> None:
    with engine.begin() as conn:
        for statement in statements:
            conn.execute(text(statement))


def published(engine: Engine) -> list[tuple[object, ...]]:
    with engine.connect() as conn:
        rows = conn.execute(select(snapshot.c.signal, snapshot.c.version, snapshot.c.content).order_by("signal"))
        return [tuple(row) for row in rows]


@pytest.mark.parametrize("table", SOURCES)
@pytest.mark.parametrize("signal", SIGNALS)
def test_a_refresh_over_hidden_rows_fails_and_keeps_the_snapshots(
    engine: Engine, worker: Engine, signal: str, table: str
) -> None:
    before = published(engine)
    change(engine, f"alter table public.{table} enable row level security, force row level security")

    with pytest.raises(VisibilityError, match=rf"row-level security of public\.{table} hides rows from activity_owner"):
        refresh(worker, signal, SETTINGS, mode="manual")

    assert published(engine) == before
    with engine.connect() as conn:
        last = conn.execute(select(attempts).order_by(attempts.c.refresh_id.desc()).limit(1)).one()
    assert (last.state, last.error_class) == ("failed", "VisibilityError")


def test_a_policy_that_hides_nothing_is_no_obstacle(engine: Engine, worker: Engine) -> None:
    change(
        engine,
        "alter table public.runs enable row level security, force row level security",
        "create policy everything on public.runs using (true)",
    )
    assert refresh(worker, "attention", SETTINGS, mode="manual")
    change(engine, "create policy narrow on public.runs as restrictive using (tenant_id <> 'acme')")
    with pytest.raises(VisibilityError):
        refresh(worker, "attention", SETTINGS, mode="manual")


def test_an_owner_that_its_own_policies_do_not_bind_is_no_obstacle(engine: Engine, worker: Engine) -> None:
    change(engine, "alter table public.runs enable row level security")
    assert refresh(worker, "attention", SETTINGS, mode="manual")


@pytest.mark.parametrize("policy", POLICIES, ids=lambda part: part.name)
def test_each_missing_policy_of_the_worker_ends_its_work(
    engine: Engine, worker: Engine, policy: catalogue.Part
) -> None:
    change(engine, f"drop policy {policy.name}")

    with pytest.raises(VisibilityError, match=policy.name):
        refresh(worker, "cost", SETTINGS, mode="manual")
    for work in (notify, prune):
        with pytest.raises(VisibilityError, match=policy.name):
            work(worker, SETTINGS)
    with worker.connect() as conn, pytest.raises(VisibilityError, match=policy.name):
        preview(conn, "cost", "acme", SETTINGS, conn.execute(select(func.now())).scalar_one())
