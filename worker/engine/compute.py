"""Computation: run a signal's steps into the stage, and merge what they find into the facts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import and_, delete, exists, insert, select

from snapshots import visibility
from snapshots.body import join
from snapshots.signals import WORKER_ROLE, check_signal
from worker.engine import queries, stage
from worker.engine.limits import set_limits
from worker.engine.stage import stage_content
from worker.signals.registry import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection, Table

    from snapshots.settings import Settings
    from worker.engine.context import RefreshContext
    from worker.signals.spec import Fact, SignalSpec, Step


def stage_signal(
    conn: Connection,
    signal: SignalSpec,
    settings: Settings,
    as_of: datetime,
    tenants: Sequence[str] | None = None,
) -> None:
    """Compute `signal` as of `as_of` from the source into the stage tables, for `tenants` (None is all of them).

    `as_of` is an aware datetime. The stage holds this signal's rows until the transaction ends or another signal is
    staged in it. The number of statements depends on the signal alone.
    """
    parameters = signal.parameters(settings, as_of, tenants)
    for step in signal.steps:
        stage.empty(conn, step.stage)
        stage.fill(conn, queries.load(step.query), step.stage, parameters)


def compute(conn: Connection, context: RefreshContext, *, keeps: bool) -> None:
    """Run the steps of a refresh into the stage; with `keeps`, the facts follow.

    What changed must be staged before. Leaves the contents of the tenants it answers for in `stage_content`.
    """
    parameters = context.parameters()
    for step in context.spec.steps:
        stage.fill(conn, queries.load(step.query), step.stage, parameters)
        if keeps and step.fact is not None:
            merge(conn, context, step.fact, step.stage)
            if context.plan == "changed":
                _reload(conn, step, step.fact, parameters)


def merge(conn: Connection, context: RefreshContext, fact: Fact, found: Table) -> None:
    """Make the covered rows of a fact table equal to those found, and note the keys of each that differs."""
    kept, names = fact.table.c, [column.name for column in fact.table.columns]
    # By equality where a join can use it.
    is_same = and_(
        *(kept[name] == found.c[name] for name in fact.key),
        *(kept[name].is_not_distinct_from(found.c[name]) for name in names if name not in fact.key),
    )
    noted = [column.name for column in fact.notes.table.columns]
    stale = delete(fact.table).where(context.covers(fact), ~exists().where(is_same))
    is_kept = select(kept[fact.key[0]]).where(context.covers(fact), is_same).correlate(found).exists()
    new = insert(fact.table).from_select(names, select(*(found.c[name] for name in names)).where(~is_kept))
    for change in (stale, new):
        changed = change.returning(*(kept[name] for name in noted)).cte("changed")
        keys = select(*(changed.c[name] for name in noted)).distinct()
        conn.execute(insert(fact.notes.table).from_select(noted, keys))


def _reload(conn: Connection, step: Step, fact: Fact, parameters: Mapping[str, object]) -> None:
    """Fill the stage with what the next step needs of the facts: those of every noted key."""
    conn.execute(delete(step.stage))
    if fact.reload is not None:
        stage.fill(conn, queries.load(fact.reload), step.stage, parameters)
        return
    names = [column.name for column in fact.table.columns]
    rows = select(*(fact.table.c[name] for name in names)).where(fact.notes.among(fact.table))
    conn.execute(insert(step.stage).from_select(names, rows))


#: The `snapshot` member of a body that no snapshot stands behind.
_UNPUBLISHED: Final = b"null"


def preview(conn: Connection, signal: str, tenant: str, settings: Settings, as_of: datetime) -> bytes:
    """Return the body of `signal` for `tenant` as of `as_of`, as the API sends it, with `snapshot: null`.

    Its statements have the limits of a refresh. Raises UnknownSignalError, and VisibilityError where
    rows could be hidden. Nothing is left once the transaction ends.
    """
    rule = SIGNALS[check_signal(signal)]
    set_limits(conn, settings)
    visibility.prove(conn, WORKER_ROLE)
    stage_signal(conn, rule, settings, as_of, [tenant])
    found = conn.execute(select(stage_content.c.tenant_id, stage_content.c.content)).all()
    contents: dict[str, str] = {row.tenant_id: row.content for row in found}
    return join(rule.window_json(settings, as_of), contents.get(tenant, contents[""]), _UNPUBLISHED)
