"""What is published, held against a full recompute of the same instant that publishes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from snapshots import settings
from snapshots.tables import ITEMS, snapshot
from worker.stage import stage_content, stage_signal

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from worker.signal import Signal

SETTINGS = settings.load()


def assert_published_equals_staged(conn: Connection, signal: Signal, now: datetime) -> None:
    """Compare every tenant's answer and items; a queue that moved with the clock, as of its own instant (R26)."""
    stage_signal(conn, signal, SETTINGS, now)
    staged = {row.tenant_id: row for row in conn.execute(select(stage_content))}
    published = {row.tenant_id: row for row in conn.execute(select(snapshot).where(snapshot.c.signal == signal.name))}
    assert set(staged) - {""} <= set(published)
    for tenant, row in published.items():
        expected = staged.get(tenant, staged[""])
        assert (tenant, row.basis) == (tenant, expected.basis)
        if not signal.moves_with_clock:
            assert row.content == expected.content
    if not signal.moves_with_clock:
        _assert_same_items(conn, signal)
        return
    for tenant, row in published.items():
        assert (now - row.as_of).total_seconds() < SETTINGS.attention_rescore_s
        stage_signal(conn, signal, SETTINGS, row.as_of, [tenant])
        then = {found.tenant_id: found.content for found in conn.execute(select(stage_content))}
        assert row.content == then.get(tenant, then[""])


def _assert_same_items(conn: Connection, signal: Signal) -> None:
    kept = ITEMS[signal.name]
    names = [column.name for column in kept.columns]
    staged = select(*(signal.item_stage.c[name] for name in names))
    if "run_count" in names:
        staged = staged.where(signal.item_stage.c.run_count > 0)
    assert set(conn.execute(staged)) == set(conn.execute(select(*kept.columns)))
