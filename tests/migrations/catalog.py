"""Contents of a database as lines of text that two databases can be compared by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from snapshots.database import connect

if TYPE_CHECKING:
    from sqlalchemy import Connection

_QUERIES: Final = (
    """
    select format('relation %s %s, options %s, says %s', c.relkind, c.oid::regclass, c.reloptions,
        obj_description(c.oid))
    from pg_class as c where c.relnamespace = to_regnamespace(:schema) and c.relkind <> 'i'
    """,
    """
    select format('access to %s of %s: %s, security %s %s', c.oid::regclass, c.relowner::regrole,
        coalesce(c.relacl, acldefault(case c.relkind when 'S' then 's'::"char" else 'r'::"char" end, c.relowner)),
        c.relrowsecurity, c.relforcerowsecurity)
    from pg_class as c where c.relnamespace = to_regnamespace(:schema) and c.relkind not in ('i', 'I')
    """,
    """
    select format('access to schema %s: %s', nspname, coalesce(nspacl, acldefault('n', nspowner)))
    from pg_namespace where nspname = :schema
    """,
    """
    select format('column %s.%s %s, required %s, default %s, identity %s, collation %s, says %s', c.oid::regclass,
        a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid), a.attidentity,
        a.attcollation::regcollation, col_description(c.oid, a.attnum))
    from pg_class as c inner join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    left join pg_attrdef as d on d.adrelid = c.oid and d.adnum = a.attnum
    where c.relnamespace = to_regnamespace(:schema) and c.relkind in ('r', 'p', 'v')
    """,
    """
    select format('constraint %s on %s: %s', conname, conrelid::regclass, pg_get_constraintdef(oid))
    from pg_constraint where connamespace = to_regnamespace(:schema) and contype <> 'n'
    """,
    """
    select format('index %s, valid %s', pg_get_indexdef(i.indexrelid), i.indisvalid)
    from pg_index as i inner join pg_class as c on c.oid = i.indexrelid
    where c.relnamespace = to_regnamespace(:schema)
    """,
    """
    select format('view %s: %s', c.oid::regclass, pg_get_viewdef(c.oid))
    from pg_class as c where c.relnamespace = to_regnamespace(:schema) and c.relkind = 'v'
    """,
    """
    select format('trigger %s on %s, enabled %s', pg_get_triggerdef(t.oid), c.oid::regclass, t.tgenabled)
    from pg_trigger as t inner join pg_class as c on c.oid = t.tgrelid
    where c.relnamespace = to_regnamespace(:schema) and not t.tgisinternal
    """,
    """
    select format('function %s, access %s', pg_get_functiondef(oid), proacl)
    from pg_proc where pronamespace = to_regnamespace(:schema)
    """,
    """
    select format('policy %s on %s %s to %s: %s, %s', polname, polrelid::regclass, polcmd, polroles::regrole[],
        pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid))
    from pg_policy inner join pg_class as c on c.oid = polrelid where c.relnamespace = to_regnamespace(:schema)
    """,
)


def describe(url: str, schema: str = "public") -> frozenset[str]:
    """Return one line for each thing in `schema`: its relations with their parts and grants, and its functions."""
    engine = connect(url)
    try:
        with engine.connect() as conn:
            return frozenset(line for query in _QUERIES for line in _lines(conn, query, schema))
    finally:
        engine.dispose()


def _lines(conn: Connection, query: str, schema: str) -> list[str]:
    return list(conn.execute(text(query), {"schema": schema}).scalars())
