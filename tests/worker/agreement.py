"""Comparison of the published state with a full recompute of the same instant that publishes nothing.

Source: docs/specification-notes.md#rescoring.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import select, text

from snapshots import settings
from snapshots.items import ITEMS
from snapshots.tables import snapshot
from worker.engine.compute import stage_signal
from worker.engine.stage import stage_content
from worker.signals.registry import SIGNALS

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from worker.signals.spec import SignalSpec

SETTINGS = settings.load()


def assert_published_equals_staged(conn: Connection, signal: SignalSpec, now: datetime) -> None:
    """Compare every tenant's answer and items; a queue that moved with the clock, as of its own instant."""
    stage_signal(conn, signal, SETTINGS, now)
    staged = {row.tenant_id: row for row in conn.execute(select(stage_content))}
    published = {row.tenant_id: row for row in conn.execute(select(snapshot).where(snapshot.c.signal == signal.name))}
    assert set(staged) - {""} <= set(published)
    assert conn.execute(_UNKNOWN_ITEMS, {"signal": signal.name}).all() == []
    for tenant, row in published.items():
        expected = staged.get(tenant, staged[""])
        assert (tenant, row.basis) == (tenant, expected.basis)
        if not signal.moves_with_clock:
            assert row.content == expected.content
    if not signal.moves_with_clock:
        _assert_same_items(conn, signal)
        return
    for row in published.values():
        assert (now - row.as_of).total_seconds() < SETTINGS.attention_rescore_s
    _assert_scored_at_their_own_instant(conn)


#: Tenants whose served marks are not, one for one, items that are known to be there.
_UNKNOWN_ITEMS: Final = text("""
select snapshot.tenant_id
from signals.snapshot
left join signals.movement
    on movement.tenant_id = snapshot.tenant_id and movement.signal = snapshot.signal
    and movement.version = snapshot.version
where
    snapshot.signal = :signal
    and cardinality(movement.marks) is distinct from (
        select count(*) from signals.item_state
        where
            item_state.tenant_id = snapshot.tenant_id
            and item_state.signal = snapshot.signal
            and item_state.left_at is null
            and exists (select from unnest(movement.marks) as mark where substr(mark, 16, 32) = item_state.fingerprint)
    )
""")

#: Items whose parts are not the specified ones, for the instant that their queue was scored for, or that are not
#: where their score puts them. What does not move with time is compared with what is staged.
_MISPLACED = text("""
select item.tenant_id, item.run_id
from (
    select
        attention_item.*,
        snapshot.as_of,
        row_number() over (
            partition by attention_item.tenant_id
            order by attention_item.attention_score desc, attention_item.run_id
        ) as place
    from signals.attention_item
    inner join signals.snapshot on snapshot.tenant_id = attention_item.tenant_id and snapshot.signal = 'attention'
) as item
left join pg_temp.stage_attention_run as run on run.tenant_id = item.tenant_id and run.run_id = item.run_id
where
    run.run_id is null
    or item.rank <> item.place
    or row(item.risk_contribution, item.impact_contribution, item.latency_contribution, item.evidence_contribution)
    <> row(run.risk_contribution, run.impact_contribution, run.latency_contribution, run.evidence_contribution)
    or row(item.reasons, item.state, item.status, item.started_at, item.is_abandoned)
    is distinct from row(run.reasons, run.state, run.status, run.started_at, run.is_abandoned)
    or item.recency_contribution is distinct from 0.15 * greatest(
        0, 1 - extract(epoch from (item.as_of - item.started_at)) / 86400
    )
    or item.attention_score <> item.risk_contribution + item.impact_contribution + item.latency_contribution
    + item.recency_contribution + item.evidence_contribution
""")


def _assert_scored_at_their_own_instant(conn: Connection) -> None:
    assert conn.execute(_MISPLACED).all() == []
    kept, staged = ITEMS["attention"], SIGNALS["attention"].item_stage
    runs = [set(conn.execute(select(table.c.tenant_id, table.c.run_id))) for table in (kept, staged)]
    assert runs[0] == runs[1]


def _assert_same_items(conn: Connection, signal: SignalSpec) -> None:
    kept = ITEMS[signal.name]
    names = [column.name for column in kept.columns]
    staged = select(*(signal.item_stage.c[name] for name in names))
    if "run_count" in names:
        staged = staged.where(signal.item_stage.c.run_count > 0)
    assert set(conn.execute(staged)) == set(conn.execute(select(*kept.columns)))
