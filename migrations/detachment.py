"""Detached: without the views and triggers that keep a host from changing its tables, until they are made again.

One row in schema signals says what was there, and the version table names no revision meanwhile, so that whatever
checks the schema finds one that it cannot use. Source: docs/architecture.md#tables.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from migrations import capture, statements, views
from snapshots import host
from snapshots import host_mapping as mappings
from snapshots.errors import ActivityError, SchemaMismatchError
from snapshots.signals import DETACHED
from snapshots.tables import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from snapshots.host_mapping import SourceMapping

#: How long the views' removal waits for a reader.
LOCK_TIMEOUT: Final = "10s"

_REMEMBER: Final = text("""
insert into signals.detachment (revision, captured, indexes)
select
    alembic_version.version_num,
    cast(:captured as text[]),
    array(
        select pg_get_indexdef(to_regclass(created_object.name))
        from signals.created_object
        where created_object.kind = 'index' and to_regclass(created_object.name) is not null
    )
from signals.alembic_version
""")
#: Who may do what with the views and their columns; NULL stands for everybody.
_REMEMBER_GRANTS: Final = text("""
insert into signals.detached_grant
select
    row_number() over (order by granted.column_name is not null, granted.view_name, granted.position),
    granted.view_name,
    pg_get_userbyid(granted.owner),
    granted.column_name,
    case when granted.grantee <> 0 then pg_get_userbyid(granted.grantee) end,
    granted.privilege_type,
    granted.is_grantable
from (
    select relation.relname as view_name, relation.relowner as owner, null as column_name, acl.*
    from pg_catalog.pg_class as relation
    cross join lateral aclexplode(coalesce(relation.relacl, acldefault('r', relation.relowner)))
        with ordinality as acl (grantor, grantee, privilege_type, is_grantable, position)
    where relation.oid = any(cast(:views as regclass[]))
    union all
    select relation.relname, relation.relowner, attribute.attname, acl.*
    from pg_catalog.pg_class as relation
    inner join pg_catalog.pg_attribute as attribute on attribute.attrelid = relation.oid
    cross join lateral aclexplode(attribute.attacl)
        with ordinality as acl (grantor, grantee, privilege_type, is_grantable, position)
    where relation.oid = any(cast(:views as regclass[]))
) as granted
""")
#: A role that has been dropped since has nothing to get back.
_GRANTS: Final = text("""
select
    format(
        'grant %s %s on signals.%I to %s %s',
        privilege,
        '(' || quote_ident(column_name) || ')',
        view_name,
        coalesce(quote_ident(grantee), 'public'),
        case when is_grantable then 'with grant option' end
    )
from signals.detached_grant
where
    grantee is distinct from owner
    and (grantee is null or exists (select from pg_catalog.pg_roles where rolname = grantee))
order by position
""")
_OWNERS: Final = text("""
select distinct format('alter view signals.%I owner to %I', view_name, owner)
from signals.detached_grant
where owner <> current_user and exists (select from pg_catalog.pg_roles where rolname = owner)
""")
#: The schema that a definition names, quoted where it has to be.
_SCHEMA: Final = re.compile(r'"(?:[^"]|"")+"|[^".]+')
_INDEX: Final = text("""
select pg_index.indisvalid from pg_catalog.pg_index where pg_index.indexrelid = to_regclass(:name)
""")
_DEPENDENTS: Final = text("""
select distinct pg_describe_object(pg_depend.classid, pg_depend.objid, 0)
from pg_catalog.pg_depend
left join pg_catalog.pg_rewrite
    on pg_depend.classid = cast('pg_rewrite' as regclass) and pg_rewrite.oid = pg_depend.objid
where
    pg_depend.refclassid = cast('pg_class' as regclass)
    and pg_depend.refobjid = any(cast(:views as regclass[]))
    and pg_depend.deptype = 'n'
    and not coalesce(pg_rewrite.ev_class = any(cast(:views as regclass[])), false)
""")


@dataclass(frozen=True, slots=True)
class Detachment:
    """Since when we are detached, from which revision, and which tables' changes were captured before."""

    detached_at: datetime
    revision: str
    captured: Sequence[str]


def find(conn: Connection) -> Detachment | None:
    """Return what is remembered, or None where we are attached."""
    if conn.execute(text("select to_regclass('signals.detachment')")).scalar_one() is None:
        return None
    row = conn.execute(text("select detached_at, revision, captured from signals.detachment")).one()
    return Detachment(row.detached_at, row.revision, _ours(row.captured))


def detach(conn: Connection) -> None:
    """Remember what there is and drop the views, in the caller's transaction; the triggers are `capture`'s to drop.

    Raises ActivityError naming what is not ours and reads a view of ours.
    """
    conn.exec_driver_sql(f"set local lock_timeout = '{LOCK_TIMEOUT}'")
    names = [f"{SCHEMA}.{view.name}" for view in views.ALL]
    others = conn.execute(_DEPENDENTS, {"views": names}).scalars().all()
    if others:
        raise ActivityError(f"not ours, and reads what would go: {', '.join(sorted(others))}; drop it first")
    statements.run_on(conn, "detachment")
    conn.execute(_REMEMBER, {"captured": capture.captured(conn)})
    conn.execute(_REMEMBER_GRANTS, {"views": names})
    views.drop(conn, views.ALL)
    conn.execute(text("update signals.alembic_version set version_num = :word"), {"word": DETACHED})


def check(conn: Connection, known: Detachment, head: str, mapping: SourceMapping | None = None) -> None:
    """Raise SchemaMismatchError when the views cannot be made: of another version, or for what the host lacks."""
    if known.revision != head:
        raise SchemaMismatchError(
            f"detached from revision {known.revision}, and this version has {head};"
            " attach with the version that detached"
        )
    lacking = views.missing(conn, mapping)
    if lacking:
        raise SchemaMismatchError(f"the host has no {', no '.join(lacking)}; nothing was changed")
    if mapping is not None:
        host.check(conn, mapping)


def attach(conn: Connection, known: Detachment, mapping: SourceMapping | None = None) -> None:
    """Make views, grants and triggers as they were and forget the facts, in the caller's transaction.

    A `mapping` is put in force first. The triggers come last: writers wait for their creation, and it for writers.
    """
    if mapping is not None:
        mappings.store(conn, mapping)
    views.create(conn, views.ALL)
    for view in views.ALL:
        conn.exec_driver_sql(f"revoke all on {SCHEMA}.{view.name} from {view.role}")
    for found in (_OWNERS, _GRANTS):
        for statement in conn.execute(found).scalars().all():
            conn.exec_driver_sql(statement)
    conn.exec_driver_sql("delete from signals.fact_state")
    forget(conn, known)
    if known.captured:
        capture.create(conn, known.captured)


def forget(conn: Connection, known: Detachment) -> None:
    """Take back what says that we are detached, and nothing else."""
    conn.execute(text("update signals.alembic_version set version_num = :revision"), {"revision": known.revision})
    conn.exec_driver_sql("drop table signals.detachment, signals.detached_grant")


def _ours(captured: Sequence[str]) -> Sequence[str]:
    """Return our names of the tables that had triggers; an earlier version kept them with a schema."""
    return [name.rpartition(".")[2] for name in captured]


def lost_indexes(conn: Connection) -> Sequence[str]:
    """Return the statements that build the indexes of ours which a host's migration took along."""
    found = []
    for definition in conn.execute(text("select unnest(indexes) from signals.detachment")).scalars().all():
        kind, _, rest = definition.partition(" INDEX ")
        name = rest.partition(" ")[0]
        schema = _SCHEMA.match(rest.partition(" ON ")[2].removeprefix("ONLY "))[0]  # type: ignore[index]  # it always names one
        is_valid = conn.execute(_INDEX, {"name": f"{schema}.{name}"}).scalar_one_or_none()
        if is_valid is False:
            found.append(f"drop index concurrently {schema}.{name}")
        if not is_valid:
            found.append(f"{kind} index concurrently {rest}")
    return found
