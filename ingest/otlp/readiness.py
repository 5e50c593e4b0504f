"""What keeps a receiver from doing its work, in words for an operator: the schema, or rights on the host's tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import column, select, table

from migrations import ingest
from snapshots import catalogue, host
from snapshots.signals import DETACHED, INGEST_ROLE
from snapshots.tables import SCHEMA

if TYPE_CHECKING:
    from sqlalchemy import Engine, Select

_REVISION: Final[Select[*tuple[Any, ...]]] = select(column("version_num")).select_from(
    table("alembic_version", schema=SCHEMA)
)


def obstacle(engine: Engine, needed: str) -> str | None:
    """Return what is in the way of an engine of the ingest role, None where nothing is.

    `needed` is the revision that the schema must be at. Raises what the database raises.
    """
    with engine.connect() as conn:
        found = conn.execute(_REVISION).scalar()
        if found == DETACHED:
            return "the schema is detached from the host's tables; `activity attach` brings it back"
        if found != needed:
            return f"the database is at revision {found}; this version needs {needed}"
        lacking = ingest.lacking(conn, host.read(conn), INGEST_ROLE)
        faults = catalogue.faults(catalogue.read(conn))
        hidden = catalogue.source_faults(conn, INGEST_ROLE)
    if lacking:
        return f"the role that takes traces in may not: {', '.join(lacking)}; `activity migrate` grants it"
    if hidden:
        return catalogue.source_sentence(hidden)
    if faults:
        return catalogue.as_sentence(faults)
    return None
