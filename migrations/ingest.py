"""What the ingest role may do with the host's tables: granted where somebody brings traces in, and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from snapshots import host
from snapshots.signals import INGEST_ROLE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection

    from snapshots.host import Source

#: Runs change while they are under way; traces and steps are written once.
NEEDED: Final = {
    "runs": ("select", "insert", "update"),
    "aos_traces": ("select", "insert"),
    "aos_trace_steps": ("select", "insert"),
}
_HELD: Final = text("""
select lower(held.privilege_type) from pg_catalog.pg_class
cross join lateral aclexplode(pg_class.relacl) as held
where pg_class.oid = to_regclass(:relation) and held.grantee = cast(:role as regrole)
""")
_LACKING: Final = text("""
select wanted.privilege || ' on ' || wanted.relation
from unnest(cast(:relations as text[]), cast(:privileges as text[])) with ordinality
as wanted (relation, privilege, place)
where not coalesce(has_table_privilege(cast(:role as name), to_regclass(wanted.relation), wanted.privilege), false)
order by wanted.place
""")


def lacking(conn: Connection, sources: Mapping[str, Source], role: str) -> Sequence[str]:
    """Return what `role` needs of the host's tables and may not do, as `insert on public.runs`; nothing if it may all.

    A table that is not there allows nothing.
    """
    wanted = [(sources[name].relation, privilege) for name, needed in NEEDED.items() for privilege in needed]
    relations, privileges = (list(each) for each in zip(*wanted, strict=True))
    return conn.execute(_LACKING, {"relations": relations, "privileges": privileges, "role": role}).scalars().all()


def open_source(conn: Connection) -> None:
    """Grant the ingest role what it lacks; needs the tables' owner."""
    found = host.read(conn)
    for name, needed in NEEDED.items():
        relation = found[name].relation
        lacking = [privilege for privilege in needed if privilege not in _held(conn, relation)]
        if lacking:
            _run(conn, f"grant {', '.join(lacking)} on {relation} to {INGEST_ROLE}")


def close_source(conn: Connection) -> None:
    """Take it back; a table that it was never granted on is left exactly as it is."""
    found = host.read(conn)
    for relation in (found[name].relation for name in NEEDED):
        if _held(conn, relation):
            _run(conn, f"revoke all on {relation} from {INGEST_ROLE}")


def _run(conn: Connection, statement: str) -> None:
    conn.exec_driver_sql(statement.replace("%", "%%"))


def _held(conn: Connection, relation: str) -> set[str]:
    return set(conn.execute(_HELD, {"relation": relation, "role": INGEST_ROLE}).scalars())
