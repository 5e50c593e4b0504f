"""Taking everything of ours out of a database, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import func, select, table, text

from migrations import capture
from snapshots.errors import ActivityError
from snapshots.tables import created_object

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

#: What would be dropped along, or keep something of ours from being dropped, and is not ours.
_FOREIGN: Final = text("""
with ours as (
    select cast('pg_class' as regclass) as class, oid
    from pg_catalog.pg_class where relnamespace = to_regnamespace('signals')
    union
    select cast('pg_class' as regclass), to_regclass(name)
    from signals.created_object where to_regclass(name) is not null
    union
    select cast('pg_proc' as regclass), oid
    from pg_catalog.pg_proc where pronamespace = to_regnamespace('signals')
),

dependent as (
    select
        pg_depend.classid,
        pg_depend.objid,
        coalesce(pg_rewrite.ev_class, pg_constraint.conrelid, pg_policy.polrelid, relation.oid) as relation
    from pg_catalog.pg_depend
    inner join ours on ours.oid = pg_depend.refobjid and ours.class = pg_depend.refclassid
    left join pg_catalog.pg_rewrite
        on pg_rewrite.oid = pg_depend.objid and pg_depend.classid = cast('pg_rewrite' as regclass)
    left join pg_catalog.pg_constraint
        on pg_constraint.oid = pg_depend.objid and pg_depend.classid = cast('pg_constraint' as regclass)
    left join pg_catalog.pg_policy
        on pg_policy.oid = pg_depend.objid and pg_depend.classid = cast('pg_policy' as regclass)
    left join pg_catalog.pg_class as relation
        on relation.oid = pg_depend.objid and pg_depend.classid = cast('pg_class' as regclass)
    -- Triggers on the host's tables that call our functions are ours, and go first.
    where
        pg_depend.deptype = 'n'
        and pg_depend.classid not in (cast('pg_attrdef' as regclass), cast('pg_trigger' as regclass))
)

select distinct pg_describe_object(classid, objid, 0)
from dependent
where
    not exists (
        select from ours where ours.class = cast('pg_class' as regclass) and ours.oid = dependent.relation
    )
order by 1
""")
#: A sequence that belongs to a column is no stranger.
_STRANGERS: Final = text("""
select pg_class.relname as name from pg_catalog.pg_class
where
    pg_class.relnamespace = to_regnamespace('signals')
    and pg_class.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
    and not pg_class.relispartition
    and pg_class.relname <> all(:known)
    and not exists (
        select from pg_catalog.pg_depend
        where
            pg_depend.classid = cast('pg_class' as regclass)
            and pg_depend.objid = pg_class.oid
            and pg_depend.deptype in ('a', 'i')
    )
union
select pg_proc.proname from pg_catalog.pg_proc
where pg_proc.pronamespace = to_regnamespace('signals') and pg_proc.proname <> all(:known)
order by name
""")
_SIZE: Final = text("""
select pg_size_pretty(coalesce(sum(pg_total_relation_size(oid)), 0)) from pg_catalog.pg_class
where relnamespace = to_regnamespace('signals') and relkind = 'r'
""")


def check(conn: Connection, known: frozenset[str]) -> None:
    """Raise ActivityError naming what is not ours and depends on something of ours, or lies in our schema.

    `known` are the names of our tables, views, functions and sequences.
    """
    foreign = conn.execute(_FOREIGN).scalars().all()
    if foreign:
        raise ActivityError(f"not ours, and depends on what would go: {', '.join(foreign)}; drop it first")
    strangers = conn.execute(_STRANGERS, {"known": sorted(known)}).scalars().all()
    if strangers:
        raise ActivityError(f"not ours, and in schema signals: {', '.join(strangers)}; move it first")


def plan(conn: Connection) -> Iterator[str]:
    """Yield a line for each thing that would go, the rows of tables counted: those are not made again."""
    places = capture.places(conn)
    for name in capture.captured(conn):
        yield f"triggers on {places[name]}"
    recorded = conn.execute(select(created_object.c.kind, created_object.c.name).order_by(*created_object.primary_key))
    for kind, name in recorded.all():
        yield f"{kind} {name}" + (f", {_rows(conn, name)} rows" if kind == "table" else "")
    yield f"schema signals, {conn.execute(_SIZE).scalar_one()}"


def _rows(conn: Connection, name: str) -> int:
    schema, _, relation = name.partition(".")
    return int(conn.execute(select(func.count()).select_from(table(relation, schema=schema))).scalar_one())
