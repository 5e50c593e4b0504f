"""Sampled comparison of kept facts with the source rows: notices changes that change capture did not report.

It knows no list of what bypasses a trigger. A tick compares a bounded sample; a reconcile compares everything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import func, select, union_all

from worker.engine import queries, stage
from worker.engine.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection, Select

    from snapshots.settings import Settings
    from worker.engine.incremental import Order
    from worker.signals.spec import Signal

#: Source rows that each part of a sample reads, by signal. A run is one row; a trace and an agent are many.
SAMPLE_ROWS: Final[Mapping[str, int]] = {"patterns": 10, "cost": 10, "attention": 100}
#: Steps of a trace, or runs of an agent, beyond which it is left out of a sample.
SAMPLE_SIZE: Final = 500
#: Multiples of it, modulo 1, cover the window evenly: each refresh samples another place of it.
_GOLDEN_RATIO: Final = 0.6180339887498949


def unreported(conn: Connection, order: Order, settings: Settings, as_of: datetime, fence: int) -> int:
    """Return how many sampled keys have other facts than those kept for `as_of`, and no change event in the queue.

    Runs in a transaction of its own right after a refresh that left no event, with the locks of the shard held. A
    change that commits meanwhile is in the queue before its rows can be read here, so it is never counted.
    """
    stage.prepare(conn)
    signal = order.signal
    bound = signal.parameters(settings, as_of, shard=order.shard, only_changed=True, excluded=order.excluded)
    parameters = {**bound, **sample(signal, fence)}
    _run(conn, signal.probe, parameters)
    step = signal.steps[0]
    stage.fill(conn, queries.load(step.query), step.stage, parameters)
    return int(conn.execute(select(func.count()).select_from(_differing(order).subquery())).scalar_one())


def sample(signal: Signal, fence: int) -> Mapping[str, object]:
    """Return the parameters that say which rows the refresh with this fencing token samples."""
    return {
        "probe_share": fence * _GOLDEN_RATIO % 1,
        "probe_rows": SAMPLE_ROWS[signal.name],
        "probe_size": SAMPLE_SIZE,
    }


def _run(conn: Connection, name: str, parameters: Mapping[str, object]) -> None:
    query = queries.load(name)
    conn.execute(query.text, {param: parameters[param] for param in query.params})


def _differing(order: Order) -> Select[*tuple[object, ...]]:
    """Return the sampled keys whose kept rows are not those found, without those that wait in the queue."""
    signal, step = order.signal, order.signal.steps[0]
    if step.kept is None:
        raise AssertionError(f"{signal.name}: its first step keeps nothing to compare with")
    scope = Scope("changed", order.shard, excluded=order.excluded)
    names = [column.name for column in step.kept.table.columns]
    kept = select(*(step.kept.table.c[name] for name in names)).where(scope.covers(step.kept))
    found = select(*(step.stage.c[name] for name in names))
    gone, new = kept.except_all(found).subquery(), found.except_all(kept).subquery()
    either = union_all(gone.select(), new.select()).subquery()
    keys: list[ColumnElement[object]] = [either.c[column.name] for column in signal.queue.stage.columns]
    queue = signal.queue.table
    waits = select(queue).where(*(queue.c[key.name] == key for key in keys)).exists()
    return select(*keys).where(~waits).distinct()
