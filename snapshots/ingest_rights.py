"""Rights of the ingest role on the host's tables: needed by `activity receive`, granted by `activity migrate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection

    from snapshots.host import Source

#: A run changes while it is under way; traces and steps are written once.
NEEDED: Final = {
    "runs": ("select", "insert", "update"),
    "aos_traces": ("select", "insert"),
    "aos_trace_steps": ("select", "insert"),
}
_LACKING: Final = text("""
select wanted.privilege || ' on ' || wanted.relation
from unnest(cast(:relations as text[]), cast(:privileges as text[])) with ordinality
as wanted (relation, privilege, place)
where not coalesce(has_table_privilege(cast(:role as name), to_regclass(wanted.relation), wanted.privilege), false)
order by wanted.place
""")


def lacking(conn: Connection, sources: Mapping[str, Source], role: str) -> Sequence[str]:
    """Return the needed rights that `role` lacks, each as `insert on public.runs`; empty where it has them all.

    A table that does not exist grants nothing.
    """
    wanted = [(sources[name].relation, privilege) for name, needed in NEEDED.items() for privilege in needed]
    relations, privileges = (list(each) for each in zip(*wanted, strict=True))
    return conn.execute(_LACKING, {"relations": relations, "privileges": privileges, "role": role}).scalars().all()
