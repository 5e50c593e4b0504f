"""Proof that a role could have seen the rows of schema signals: a statement that fails where they could be hidden.

A policy that is missing hides rows without an error, and "nothing found" would then be told as all clear.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from snapshots import catalogue
from snapshots.errors import NOT_THERE, VisibilityError, sqlstate
from snapshots.signals import INGEST_ROLE, READER_ROLE, WORKER_ROLE
from snapshots.source import HOST_TABLES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Engine

    from snapshots.catalogue import Part

#: SQLSTATE of a proof that failed: the class is ours.
UNPROVEN: Final = "AS001"
_INSUFFICIENT_PRIVILEGE: Final = "42501"
#: The roles whose answers come from the host's tables, and the role that reads these itself.
_READ_SOURCE: Final[dict[str, str | None]] = {READER_ROLE: None, WORKER_ROLE: None, INGEST_ROLE: INGEST_ROLE}
#: With row_security off PostgreSQL raises an error where a policy would filter, instead of filtering.
_PROBE: Final = "set local row_security = off; {selects} set local row_security = on"
#: The views that answers of the worker come from.
SOURCES: Final = ("source_run", "source_trace", "source_step")
_NESTED: Final = text(f"""
select exists (
    select 1 from {HOST_TABLES} as host
    inner join pg_catalog.pg_class as relation on relation.oid = host.relation
    where relation.relkind not in ('r', 'p')
)
""")  # noqa: S608  # names of ours


@lru_cache(maxsize=8)
def statement(role: str) -> str:
    """Return the statement: it raises UNPROVEN, and names what is missing, where rows could be hidden from `role`.

    Each table that the role may read or write must force its row-level security, with our policies for the role and
    for the owner, whose connection may stand in for it, and no restrictive one beside them. Percent signs are doubled
    for the driver.
    """
    parts = catalogue.expected()
    granted = {part.relation for part in parts if role in (part.role, catalogue.OWNER) and part.kind != "view"}
    wanted = [part for part in parts if _decides(part, role) and part.relation in granted]
    values = ", ".join(f"({', '.join(_quoted(str(words)) for words in _described(part))})" for part in wanted)
    source = ""
    if role in _READ_SOURCE:
        hidden = catalogue.hidden_source(_READ_SOURCE[role])
        source = f"union all select 'row-level security of ' || name || ' hides rows from ' || reader from ({hidden}) as source"  # noqa: E501, S608  # one line of SQL; names of ours
    return f"""do $proof$
declare
    faults text;
begin
    with part as ({catalogue.query(catalogue.VISIBILITY)}),
    wanted (relation, kind, name, state) as (values {values})
    select string_agg(fault, ', ') into faults
    from (
        select lacking.kind || ' ' || lacking.name || ' is missing or differs' as fault
        from (
            select kind, name, state from wanted where to_regclass('signals.' || relation) is not null
            except all
            select kind, name, state from part
        ) as lacking
        union all
        select 'policy ' || name || ' restricts'
        from part
        where kind = 'policy' and state like 'restrictive %' and relation in (select relation from wanted)
        {source}
    ) as found;
    if faults is not null then
        raise exception using errcode = '{UNPROVEN}', message = 'rows could be hidden: ' || faults
            || '; `activity doctor` says what to do';
    end if;
end $proof$;
""".replace("%", "%%")  # noqa: S608  # names of ours


def _decides(part: Part, role: str) -> bool:
    return part.kind in catalogue.VISIBILITY and part.role in (None, role, catalogue.OWNER)


def _described(part: Part) -> tuple[object, ...]:
    return part.relation, part.kind, part.name, part.state


def _quoted(words: str) -> str:
    return "'" + words.replace("'", "''") + "'"


def raise_if_unproven(ex: DBAPIError) -> None:
    """Raise VisibilityError where `ex` is what a failed proof raises."""
    if sqlstate(ex) == UNPROVEN:
        raise VisibilityError(str(ex.orig).strip().splitlines()[0]) from None


def prove(conn: Connection, role: str, sources: Sequence[str] = SOURCES) -> None:
    """Raise VisibilityError where rows could be hidden from `role`, in the caller's transaction.

    For the worker, `sources` are the source views that its answer comes from: a lock of another one's table is not met.
    """
    try:
        conn.exec_driver_sql(statement(role))
    except DBAPIError as ex:
        raise_if_unproven(ex)
        raise
    if role == WORKER_ROLE and sources:
        _probe(conn, sources)


def prove_engine(engine: Engine, role: str, sources: Sequence[str] = SOURCES) -> None:
    """Raise VisibilityError where rows could be hidden from `role`, in a transaction of its own."""
    with engine.begin() as conn:
        prove(conn, role, sources)


def _probe(conn: Connection, sources: Sequence[str]) -> None:
    """Have PostgreSQL itself say whether a policy filters what the views read, be it behind a view of the host's.

    A table whose policy lets its reader see every row is proven already, and refused by the probe alone.
    """
    savepoint = conn.begin_nested()
    try:
        selects = " ".join(f"select from signals.{name} limit 0;" for name in sources)
        conn.exec_driver_sql(_PROBE.format(selects=selects))
    except DBAPIError as ex:
        savepoint.rollback()
        if sqlstate(ex) in NOT_THERE:
            return  # Detached: reading them fails by itself.
        if sqlstate(ex) != _INSUFFICIENT_PRIVILEGE or "row-level security" not in str(ex.orig):
            raise
        if conn.execute(_NESTED).scalar_one():
            raise VisibilityError(f"rows could be hidden: {str(ex.orig).strip().splitlines()[0]}") from None
    else:
        savepoint.commit()
