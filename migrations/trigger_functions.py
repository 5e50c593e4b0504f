"""The functions that our triggers call, written for the names and types of a host's columns."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from psycopg2 import sql

from migrations.statements import run_one
from snapshots import host

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from psycopg2.extensions import connection
    from sqlalchemy import Connection

    from snapshots.host import Source

#: What a change must touch to count; the columns that a host lacks are left out.
_COMPARED: Final[Mapping[str, Sequence[str]]] = {
    "trace": ("tenant_id", "run_id", "trace_id", "started_at", "is_synthetic", "archived_at"),
    "cost": ("tenant_id", "agent_id", "estimated_cost_usd", "started_at", "completed_at", "is_synthetic"),
    "run": (
        "id",
        "tenant_id",
        "agent_id",
        "state",
        "status",
        "started_at",
        "completed_at",
        "last_seen_at",
        "risk_level",
        "latency_bucket",
        "evidence_health",
        "policy_violation",
        "incident_count",
        "is_synthetic",
    ),
}
_SOURCES: Final = {"mark_traces": "aos_traces", "mark_steps": "aos_trace_steps", "mark_runs": "runs"}
_NAME: Final = re.compile(r"function signals\.(\w+)\(\) returns")
_WORD: Final = re.compile(r"\{\{(old|new)_(?:row\.)?(\w+)\}\}")
_QUOTE: Final = "$$"


def create(conn: Connection) -> None:
    """Create the functions or replace them, in the caller's transaction."""
    found = host.read(conn)
    driver: connection = conn.connection.driver_connection  # type: ignore[assignment]  # ours is psycopg2
    for statement in _statements():
        head, _, rest = statement.partition(_QUOTE)
        body, _, tail = rest.partition(_QUOTE)
        if not body:
            run_one(conn, statement)
            continue
        # As a literal: whatever a host names its columns, none ends the body.
        literal = sql.Literal(_filled(body, found[_SOURCES[_name(head)]])).as_string(driver)
        run_one(conn, f"{head}{literal}{tail}")


def bodies(conn: Connection) -> str:
    """Return the bodies that this version creates on this host, in the order of the functions' names."""
    found = host.read(conn)
    pieces = {_name(head): body for head, body in _creations()}
    return "".join(_filled(pieces[name], found[_SOURCES[name]]) for name in sorted(pieces))


def _statements() -> Iterator[str]:
    source = files("migrations").joinpath("sql/capture_functions.sql").read_text(encoding="utf-8")
    return (statement.strip().removesuffix(";") for statement in source.split(";\n\n"))


def _creations() -> Iterator[tuple[str, str]]:
    parts = (statement.split(_QUOTE) for statement in _statements())
    return ((part[0], part[1]) for part in parts if len(part) > 1)


def _name(head: str) -> str:
    return str(_NAME.findall(head)[0])


def _filled(body: str, source: Source) -> str:
    """Return a body with its words filled in, all at once: a host's name may look like a word."""

    def meaning(word: re.Match[str]) -> str:
        row, name = f"{word[1]}_row", word[2]
        if name in source.table.columns:
            return source.converted(name, row)
        return ", ".join(source.value(each, row) for each in _COMPARED[name] if source.has(each))

    return _WORD.sub(meaning, body)
