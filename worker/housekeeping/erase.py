"""A tenant, forgotten: every row of it in our schema, and every text that names it, in one transaction.

The host's rows are the host's: while they are there, the next refresh computes the tenant anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import Text, any_, column, delete, func, literal, select, table, text, union, update

from snapshots import catalogue, visibility
from snapshots.catalogue import OWNER
from snapshots.tables import SCHEMA, refresh
from worker.engine.exclusive import no_refresh
from worker.engine.tables import dirty_trace, fact_state, trace_fact

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection, Engine, Select

#: Whatever table has a tenant is found by that, so that one which is added later is not forgotten here.
_TABLES: Final = text("""
select pg_class.relname
from pg_catalog.pg_class
inner join pg_catalog.pg_attribute on pg_attribute.attrelid = pg_class.oid and pg_attribute.attname = 'tenant_id'
where
    pg_class.relnamespace = to_regnamespace(:schema)
    and pg_class.relkind in ('r', 'p')
    and not pg_class.relispartition
    and not pg_attribute.attisdropped
order by pg_class.relname
""")
#: What stands in the ledger where an error named the tenant, or may have quoted a row of it.
REMOVED: Final = "removed with a tenant that it may have named"

_RUN: Final = table("source_run", column("run_id", Text), column("tenant_id", Text), schema=SCHEMA)
_TRACE: Final = table("source_trace", column("trace_id", Text), column("tenant_id", Text), schema=SCHEMA)
_STEP: Final = table("source_step", column("trace_id", Text), schema=SCHEMA)


@dataclass(frozen=True, slots=True)
class Erasure:
    """Rows removed, by table; and the host's remaining rows, None where its tables are not read."""

    removed: Mapping[str, int]
    remaining: Mapping[str, int] | None


def erase(engine: Engine, tenant: str) -> Erasure:
    """Remove `tenant` from every table of ours; waits for the refreshes of its slot that are under way.

    The next refresh of its slot reads every row, since what it knew of the slot's changes is gone too. Needs the owner.
    Raises VisibilityError where rows of the tenant could be hidden.
    """
    with engine.connect() as conn:
        with conn.begin():
            visibility.prove(conn, OWNER)
            catalogue.check_source(conn)
            slot = conn.execute(select(func.signals.slot_of(tenant))).scalar_one()
        with no_refresh(engine, [slot]), conn.begin():
            is_read = conn.execute(select(func.to_regclass(f"{SCHEMA}.source_trace").is_not(None))).scalar_one()
            removed = {dirty_trace.name: _erase_marks(conn, tenant, is_read=is_read)}
            for name in conn.execute(_TABLES, {"schema": SCHEMA}).scalars().all():
                removed[name] = removed.get(name, 0) + _erase_rows(conn, name, tenant)
            removed[refresh.name] = _erase_from_ledger(conn, tenant, slot)
            conn.execute(delete(fact_state).where(fact_state.c.slot == slot))
            return Erasure(removed, _remaining(conn, tenant) if is_read else None)


def _erase_rows(conn: Connection, name: str, tenant: str) -> int:
    rows = table(name, column("tenant_id", Text), schema=SCHEMA)
    return int(conn.execute(delete(rows).where(rows.c.tenant_id == tenant)).rowcount)


def _erase_marks(conn: Connection, tenant: str, *, is_read: bool) -> int:
    """Remove the marks of its traces that name no tenant; a trace that is another tenant's by now keeps its mark."""
    marked = union(*_traces(tenant, is_read=is_read)).subquery()
    mine = dirty_trace.c.tenant_id.is_(None), dirty_trace.c.trace_id.in_(select(marked.c.trace_id))
    statement = delete(dirty_trace).where(*mine)
    if is_read:
        moved = select(_TRACE.c.trace_id).where(_TRACE.c.trace_id == dirty_trace.c.trace_id)
        statement = statement.where(~moved.where(_TRACE.c.tenant_id != tenant).correlate(dirty_trace).exists())
    return int(conn.execute(statement).rowcount)


def _traces(tenant: str, *, is_read: bool) -> Sequence[Select[tuple[str]]]:
    known = [select(rows.c.trace_id).where(rows.c.tenant_id == tenant) for rows in (trace_fact, dirty_trace)]
    if is_read:
        known.append(select(_TRACE.c.trace_id.collate("C").label("trace_id")).where(_TRACE.c.tenant_id == tenant))
    return known


def _erase_from_ledger(conn: Connection, tenant: str, slot: int) -> int:
    """Take the tenant out of what was asked for, and remove the errors that name it or may quote a row of it.

    An error may quote a run and not its tenant, so those of every refresh that read the tenant's slot go; classes stay.
    A request for it alone is closed: without a tenant it would ask for nothing, or be taken to ask for all.
    """
    asked = literal(tenant) == any_(refresh.c.tenants)
    closed = {"state": "failed", "finished_at": func.clock_timestamp(), "error_class": "TenantErased"}
    alone = refresh.c.state.in_(["requested", "running"]), refresh.c.tenants.contained_by([tenant])
    conn.execute(update(refresh).where(*alone, asked).values(closed))
    read_it = refresh.c.tenants.is_(None) & (slot % refresh.c.shards == refresh.c.shard)
    concerned = asked | read_it | (func.strpos(refresh.c.error, tenant) > 0)
    conn.execute(update(refresh).where(concerned, refresh.c.error.is_not(None)).values(error=REMOVED))
    shortened = func.array_remove(refresh.c.tenants, tenant, type_=refresh.c.tenants.type)
    return int(conn.execute(update(refresh).where(asked).values(tenants=shortened)).rowcount)


def _remaining(conn: Connection, tenant: str) -> Mapping[str, int]:
    """Count the rows of the host's that a refresh would read of `tenant`."""
    steps = select(func.count()).select_from(_STEP).join(_TRACE, _TRACE.c.trace_id == _STEP.c.trace_id)
    counts = {
        "runs": select(func.count()).select_from(_RUN).where(_RUN.c.tenant_id == tenant),
        "traces": select(func.count()).select_from(_TRACE).where(_TRACE.c.tenant_id == tenant),
        "steps": steps.where(_TRACE.c.tenant_id == tenant),
    }
    return {name: int(conn.execute(statement).scalar_one()) for name, statement in counts.items()}
