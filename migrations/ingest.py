"""Rights of the ingest role on the host's tables: granted where `activity receive` is configured, and taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from snapshots import host
from snapshots.ingest_rights import NEEDED
from snapshots.signals import INGEST_ROLE

if TYPE_CHECKING:
    from sqlalchemy import Connection

_HELD: Final = text("""
select lower(held.privilege_type) from pg_catalog.pg_class
cross join lateral aclexplode(pg_class.relacl) as held
where pg_class.oid = to_regclass(:relation) and held.grantee = cast(:role as regrole)
""")


def open_source(conn: Connection) -> None:
    """Grant the ingest role the needed rights that it lacks; needs the tables' owner."""
    found = host.read(conn)
    for name, needed in NEEDED.items():
        relation = found[name].relation
        lacking = [privilege for privilege in needed if privilege not in _held(conn, relation)]
        if lacking:
            _run(conn, f"grant {', '.join(lacking)} on {relation} to {INGEST_ROLE}")


def close_source(conn: Connection) -> None:
    """Revoke the rights; a table without a grant to the ingest role is left exactly as it is."""
    found = host.read(conn)
    for relation in (found[name].relation for name in NEEDED):
        if _held(conn, relation):
            _run(conn, f"revoke all on {relation} from {INGEST_ROLE}")


def _run(conn: Connection, statement: str) -> None:
    conn.exec_driver_sql(statement.replace("%", "%%"))


def _held(conn: Connection, relation: str) -> set[str]:
    return set(conn.execute(_HELD, {"relation": relation, "role": INGEST_ROLE}).scalars())
