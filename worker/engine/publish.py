"""Publication: turn what a refresh staged into what readers see, in the refresh's own transaction.

Only what differs is written, and only over what an earlier refresh wrote (R2a, R27, R29).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import SmallInteger, cast, delete, func, literal, select, text
from sqlalchemy.dialects.postgresql import ARRAY, insert

from snapshots.body import in_utc
from snapshots.items import ITEMS
from snapshots.tables import freshness
from worker.engine import queries
from worker.engine.movement import record
from worker.engine.results import RefreshResult
from worker.engine.stage import stage_content, stage_published
from worker.signals.spec import in_stage

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

    from snapshots.settings import Settings
    from worker.engine.publication import Publication

#: Versions of a queue that moves with the clock are kept at most this often (architecture.md, `snapshot_history`).
HISTORY_INTERVAL: Final = timedelta(minutes=5)
#: Older than every snapshot: nothing is rescored for its age.
NEVER: Final = datetime.min.replace(tzinfo=UTC)


def publish(conn: Connection, publication: Publication, settings: Settings) -> RefreshResult:
    """Publish what is staged and return the counts; writes nothing where nothing differs.

    Must run in the transaction that staged it, with the locks of the scope held.
    """
    conn.execute(select(func.signals.ensure_history_partition(in_utc(publication.as_of).date())))
    counts = conn.execute(queries.load("engine/publish_snapshot").text, _parameters(publication, settings)).one()
    item_rows = 0
    if counts.tenants_changed:
        item_rows = _replace_items(conn, publication)
        record(conn, publication, settings)
    return RefreshResult(
        signal=publication.signal.name,
        as_of=publication.as_of,
        tenants_seen=counts.tenants_seen,
        tenants_changed=counts.tenants_changed,
        history_rows=counts.history_rows,
        item_rows=item_rows,
    )


def _parameters(publication: Publication, settings: Settings) -> dict[str, object]:
    signal, as_of, scope = publication.signal, publication.as_of, publication.scope
    rescore_before = signal.bound(settings, as_of).get("rescore_before", NEVER)
    return {
        "signal": signal.name,
        "every_tenant": scope.extent == "every",
        "excluded": list(scope.excluded),
        "shard": scope.shard.number,
        "shards": scope.shard.count,
        "as_of": as_of,
        "rescore_before": as_of if publication.is_renewed and signal.moves_with_clock else rescore_before,
        "rule_version": signal.rule_version,
        "window_json": signal.window_json(settings, as_of),
        "fence": publication.fence,
        "refresh_id": publication.refresh_id,
        "keep_every_version": not signal.moves_with_clock,
        "keep_after": as_of - HISTORY_INTERVAL,
    }


def _replace_items(conn: Connection, publication: Publication) -> int:
    """Rewrite the item rows of the tenants that this refresh published."""
    items = ITEMS[publication.signal.name]
    staged = publication.signal.item_stage
    published = stage_published.c.tenant_id
    removed = conn.execute(delete(items).where(in_stage(items.c.tenant_id, published))).rowcount
    names = [column.name for column in items.columns]
    # Not as an array, through which each staged row would look at every tenant.
    rows = select(*(staged.c[name] for name in names)).where(staged.c.tenant_id.in_(select(published)))
    if "run_count" in staged.c:
        rows = rows.where(staged.c.run_count > 0)
    return int(removed) + int(conn.execute(insert(items).from_select(names, rows)).rowcount)


def confirm(conn: Connection, publication: Publication, settings: Settings, *, period_s: int) -> None:
    """Write down that the snapshots of the shard answer for this instant (R27), unless a later refresh already has.

    `period_s` is the number of seconds until the next refresh. Needs what `publish` needs.
    """
    signal = publication.signal
    values: dict[str, ColumnElement[Any]] = {
        "signal": literal(signal.name),
        "slot": func.unnest(cast(publication.scope.shard.slots, ARRAY(SmallInteger))),
        "as_of": literal(publication.as_of),
        "verified_at": func.clock_timestamp(),
        "period_s": literal(period_s),
        "window_json": literal(signal.window_json(settings, publication.as_of)),
        "empty_content": stage_content.c.content,
        "rule_version": literal(signal.rule_version),
        "fence": literal(publication.fence),
        "refresh_id": literal(publication.refresh_id),
        "refreshes": literal(1),
    }
    confirmed = select(*(value.label(name) for name, value in values.items())).where(stage_content.c.tenant_id == "")
    statement = insert(freshness).from_select(list(values), confirmed)
    moved: dict[str, ColumnElement[Any]] = {
        name: statement.excluded[name] for name in values if name not in {"signal", "slot"}
    }
    moved["refreshes"] = freshness.c.refreshes + 1
    conn.execute(
        statement.on_conflict_do_update(
            index_elements=["signal", "slot"], set_=moved, where=freshness.c.fence < statement.excluded.fence
        )
    )


def draw_fence(conn: Connection) -> tuple[datetime, int]:
    """Return the database's clock and a fence number; call it once per transaction, with the locks held (R2a)."""
    row = conn.execute(text("select clock_timestamp() as as_of, nextval('signals.fence') as fence")).one()
    return row.as_of, row.fence
