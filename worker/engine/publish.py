"""Publication: turn what a refresh staged into what readers see, in the refresh's own transaction.

Only what differs is written, and only over what an earlier refresh wrote.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import SmallInteger, cast, delete, func, literal, select, text, true
from sqlalchemy.dialects.postgresql import ARRAY, insert

from snapshots.body import in_utc
from snapshots.items import ITEMS, signal_item
from snapshots.tables import freshness
from snapshots.triage import SYSTEM
from worker.engine import queries, stage
from worker.engine.context import RefreshResult
from worker.engine.stage import stage_content, stage_published
from worker.signals.spec import in_stage

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

    from worker.engine.context import RefreshContext
    from worker.signals.spec import SignalSpec

#: Versions of a queue that moves with the clock are kept at most this often.
HISTORY_INTERVAL: Final = timedelta(minutes=5)
#: Older than every snapshot: nothing is rescored for its age.
NEVER: Final = datetime.min.replace(tzinfo=UTC)


def publish(conn: Connection, context: RefreshContext) -> RefreshResult:
    """Publish what is staged, record what moved and return the counts; writes nothing where nothing differs.

    Must run in the transaction that staged it, with the locks of its slots held.
    """
    spec, as_of, settings = context.spec, context.as_of, context.settings
    conn.execute(select(func.signals.ensure_history_partition(in_utc(as_of).date())))
    rescore_before = spec.query_parameters(settings, as_of).get("rescore_before", NEVER)
    parameters = {
        "signal": spec.name,
        "every_tenant": context.plan == "full",
        "excluded": [] if context.plan == "tenants" else list(context.excluded),
        "shard": context.shard.number,
        "shards": context.shard.count,
        "as_of": as_of,
        "rescore_before": as_of if context.is_renewed and spec.moves_with_clock else rescore_before,
        "rule_version": spec.rule_version,
        "window_json": spec.window_json(settings, as_of),
        "fence": context.fence,
        "refresh_id": context.refresh_id,
        "keep_every_version": not spec.moves_with_clock,
        "keep_after": as_of - HISTORY_INTERVAL,
    }
    counts = conn.execute(queries.load("engine/publish_snapshot").text, parameters).one()
    item_rows = 0
    if counts.tenants_changed:
        item_rows = _replace_items(conn, spec)
        record_movement(conn, context)
    return RefreshResult(
        signal=spec.name,
        as_of=as_of,
        tenants_seen=counts.tenants_seen,
        tenants_changed=counts.tenants_changed,
        history_rows=counts.history_rows,
        item_rows=item_rows,
    )


def _replace_items(conn: Connection, spec: SignalSpec) -> int:
    """Rewrite the item rows of the tenants that this refresh published, and return how many were written or removed."""
    items, staged = ITEMS.get(spec.name, signal_item), spec.item_stage
    published = stage_published.c.tenant_id
    of_signal = items.c.signal == spec.name if items is signal_item else true()
    removed = conn.execute(delete(items).where(in_stage(items.c.tenant_id, published), of_signal)).rowcount
    names = [column.name for column in items.columns]
    # Not as an array, through which each staged row would look at every tenant.
    rows = select(*(staged.c[name] for name in names)).where(staged.c.tenant_id.in_(select(published)))
    if spec.is_item is not None:
        rows = rows.where(spec.is_item)
    return int(removed) + int(conn.execute(insert(items).from_select(names, rows)).rowcount)


def record_movement(conn: Connection, context: RefreshContext) -> int:
    """Record what entered, left, rose and fell among the items just published; return how many changes.

    Needs the stage as publication left it. The number of statements does not depend on the number of tenants.
    """
    movement = context.spec.movement
    parameters = context.spec.parameters(context.settings, context.as_of)
    stage.fill(conn, queries.load(movement.identities), stage.stage_identity, parameters)
    recorded = {
        "signal": context.spec.name,
        "as_of": context.as_of,
        "step": movement.step,
        "worse_by": movement.worse_by,
        "actor": SYSTEM,
    }
    return int(conn.execute(queries.load("engine/record_movement").text, recorded).scalar_one())


def confirm(conn: Connection, context: RefreshContext, *, period_s: int) -> None:
    """Record that the snapshots of the shard answer for this instant, unless a later refresh already has.

    `period_s` is the number of seconds until the next refresh. Needs what `publish` needs.
    """
    spec = context.spec
    values: dict[str, ColumnElement[Any]] = {
        "signal": literal(spec.name),
        "slot": func.unnest(cast(context.shard.slots, ARRAY(SmallInteger))),
        "as_of": literal(context.as_of),
        "verified_at": func.clock_timestamp(),
        "period_s": literal(period_s),
        "window_json": literal(spec.window_json(context.settings, context.as_of)),
        "empty_content": stage_content.c.content,
        "rule_version": literal(spec.rule_version),
        "fence": literal(context.fence),
        "refresh_id": literal(context.refresh_id),
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
    """Return the database's clock and a fencing token; call it once per transaction, with the locks held."""
    row = conn.execute(text("select clock_timestamp() as as_of, nextval('signals.fence') as fence")).one()
    return row.as_of, row.fence
