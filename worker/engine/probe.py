"""Sampled comparison of kept facts with the source rows: notices changes that change capture did not report.

It knows no list of what bypasses a trigger. A tick compares a bounded sample; a reconcile compares everything.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, select, union_all

from snapshots.errors import ActivityError
from worker.engine import queries, stage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import ColumnElement, Connection

    from worker.engine.context import RefreshContext
    from worker.signals.spec import SignalSpec

#: Steps of a trace, or runs of an agent, beyond which it is left out of a sample.
SAMPLE_SIZE: Final = 500
#: Multiples of it, modulo 1, cover the window evenly: each refresh samples another place of it.
_GOLDEN_RATIO: Final = 0.6180339887498949


def unreported(conn: Connection, context: RefreshContext) -> int:
    """Return how many sampled keys have other facts than those kept for the instant, and no change event in the queue.

    Runs in a transaction of its own right after a refresh that left no event, with the locks of the shard held. A
    change that commits meanwhile is in the queue before its rows can be read here, so it is never counted.
    """
    stage.prepare(conn)
    context = replace(context, plan="changed")
    spec, step = context.spec, context.spec.steps[0]
    if step.fact is None:
        raise ActivityError(f"{spec.name}: its first step keeps no facts to compare with")
    parameters = {**context.parameters(), **sample(spec, context.fence)}
    probe = queries.load(spec.changes.probe)
    conn.execute(probe.text, {name: parameters[name] for name in probe.params})
    stage.fill(conn, queries.load(step.query), step.stage, parameters)
    names = [column.name for column in step.fact.table.columns]
    kept = select(*(step.fact.table.c[name] for name in names)).where(context.covers(step.fact))
    found = select(*(step.stage.c[name] for name in names))
    gone, new = kept.except_all(found).subquery(), found.except_all(kept).subquery()
    either = union_all(gone.select(), new.select()).subquery()
    keys: list[ColumnElement[object]] = [either.c[column.name] for column in spec.changes.keys.columns]
    queue = spec.changes.queue
    waits = select(queue).where(*(queue.c[key.name] == key for key in keys)).exists()
    differing = select(*keys).where(~waits).distinct().subquery()
    return int(conn.execute(select(func.count()).select_from(differing)).scalar_one())


def sample(signal: SignalSpec, fence: int) -> Mapping[str, object]:
    """Return the parameters that say which rows the refresh with this fencing token samples."""
    return {
        "probe_share": fence * _GOLDEN_RATIO % 1,
        "probe_rows": signal.changes.probe_rows,
        "probe_size": SAMPLE_SIZE,
    }
