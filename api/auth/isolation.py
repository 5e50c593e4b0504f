"""Isolation check: the reader role must not see another tenant's rows, whatever our own queries say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from snapshots.errors import ActivityError
from snapshots.source import HOST_TABLES

if TYPE_CHECKING:
    from api.queries.reader import Reader

#: One row per way around row-level security that is open to the current role. The relations that it may read are
#: named; those among them with rows of tenants must force their policies or be security barriers.
_WAYS: Final = text(f"""
with readable as (
    select
        relation.oid,
        relation.relowner,
        relation.relkind,
        relation.relrowsecurity and relation.relforcerowsecurity as is_forced,
        coalesce('security_barrier=true' = any(relation.reloptions), false) as is_barrier,
        namespace.nspname || '.' || relation.relname as name
    from pg_catalog.pg_class as relation
    inner join pg_catalog.pg_namespace as namespace on namespace.oid = relation.relnamespace
    where
        (
            namespace.nspname = 'signals'
            or relation.oid = to_regclass('public.v_runs_o2')
            or relation.oid in (select host.relation from {HOST_TABLES} as host)
        )
        and relation.relkind in ('r', 'p', 'v', 'm')
        and (
            has_any_column_privilege(relation.oid, 'select')
            or has_any_column_privilege(relation.oid, 'insert')
            or has_any_column_privilege(relation.oid, 'update')
            or has_table_privilege(relation.oid, 'delete')
        )
)

select 1 as weight, 'is a superuser or may become one' as way
where exists (
    select 1 from pg_catalog.pg_roles where rolsuper and pg_has_role(current_user, oid, 'member')
)
union all
select 2, 'has BYPASSRLS or may become a role that has'
where exists (
    select 1 from pg_catalog.pg_roles where rolbypassrls and not rolsuper and pg_has_role(current_user, oid, 'member')
)
union all
select 3, 'owns ' || name
from readable
where pg_has_role(current_user, relowner, 'member')
union all
select 4, 'may read ' || name
from readable
where not (is_forced or is_barrier or name in ('signals.freshness', 'signals.alembic_version'))
union all
select 5, 'may write ' || name
from readable
where
    has_any_column_privilege(oid, 'insert')
    or has_any_column_privilege(oid, 'update')
    or has_table_privilege(oid, 'delete')
order by weight, way
limit 5
""")  # noqa: S608  # a constant


class IsolationError(ActivityError):
    """The role that serves reads could see rows of every tenant."""


def check(reader: Reader) -> None:
    """Raise IsolationError, which names the ways, when the role of `reader` could get around row-level security."""
    ways = [row.way for row in reader.rows(_WAYS)]
    if ways:
        raise IsolationError(f"the reader role {', '.join(ways)}: give ACTIVITY_READER_DATABASE_URL a role of its own")
