"""The views over the host's tables: one definition for the revisions that make them and for `activity attach`.

They are the one place that names the host's columns, and keep the host from dropping or altering one: a host's own
migration needs them gone (migrations.detachment). Source: docs/architecture.md#tables.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from migrations.access import NAMED_TENANT
from migrations.statements import run_one
from snapshots import host, host_sources
from snapshots.signals import READER_ROLE, WORKER_ROLE
from snapshots.tables import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection

    from snapshots.host import Source
    from snapshots.host_mapping import SourceMapping

_RUN: Final = tuple(name for name in host_sources.TABLES["runs"].columns if name != "id")
_TRACE: Final = ("trace_id", "run_id", "tenant_id", "started_at")
_NOT_SHOWN: Final = frozenset({"trace_id", "archived_at"})
_STEP: Final = tuple(name for name in host_sources.TABLES["aos_trace_steps"].columns if name not in _NOT_SHOWN)
#: What stands for the words in double braces of a definition, whatever the host.
_WORDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "run": ", ".join(_RUN),
        "trace": ", ".join(_TRACE),
        "source_trace": ", ".join(f"source_trace.{name}" for name in _TRACE),
        "source_step": ", ".join(f"source_step.{host.quoted(name)}" for name in _STEP),
        "named_tenant": NAMED_TENANT,
        "barrier": "with (security_barrier = true)",
    }
)
_WORD: Final = re.compile(r"\{\{(\w+)\}\}")

#: The columns that a host's table must have; `is_synthetic` and `archived_at` of traces and steps may be missing.
NEEDED: Final[Mapping[str, Sequence[str]]] = MappingProxyType(
    {
        table.name: tuple(column.name for column in table.columns.values() if not column.is_optional)
        for table in host_sources.TABLES.values()
    }
)


@dataclass(frozen=True, slots=True)
class View:
    """A view of schema signals: who may read it, and what follows its name in CREATE VIEW.

    Words in double braces stand for what depends on the columns that the host has.
    """

    name: str
    role: str
    definition: str

    def create(self, conn: Connection) -> None:
        """Create the view and grant it to its role."""
        run_one(conn, f"create view {SCHEMA}.{self.name} {_filled(conn, self.definition)}")
        conn.exec_driver_sql(f"grant select on {SCHEMA}.{self.name} to {self.role}")

    def replace(self, conn: Connection) -> None:
        """Bring the query of the view to what this version makes of it; its columns and grants stay."""
        run_one(conn, f"create or replace view {SCHEMA}.{self.name} {_filled(conn, self.definition)}")


#: Of revision 097.
SOURCE: Final = (
    View("source_run", WORKER_ROLE, "as {{runs}}"),
    View("source_trace", WORKER_ROLE, "as {{traces}}"),
    View("source_step", WORKER_ROLE, "as {{steps}}"),
    View(
        "tenant_run",
        READER_ROLE,
        "{{barrier}} as select run_id, {{run}} from signals.source_run where {{named_tenant}}",
    ),
)

#: The twins of tenant_run that pages of the runs list read, each in the order of an index, read on or back. A barrier
#: view that names no order forgets that of the index, and all rows of the tenant are read and sorted for a page. NULLs
#: come where the index has them; the pages read none here.
_RUNS_IN_ORDER: Final = (
    ("tenant_run_by_started_at_desc", "started_at desc nulls last"),
    ("tenant_run_by_started_at_asc", "started_at asc nulls first"),
    ("tenant_run_by_completed_at_desc", "completed_at desc nulls first"),
    ("tenant_run_by_completed_at_asc", "completed_at asc nulls last"),
)
_IN_ORDER: Final = (
    "{{barrier}} as select source_run.* from signals.source_run where {{named_tenant}}"
    ' order by {{order}}, run_id collate "C"'
)

#: Of revision 099.
TENANT: Final = (
    View(
        "tenant_trace",
        READER_ROLE,
        "{{barrier}} as select {{trace}}, is_synthetic from signals.source_trace where {{named_tenant}}",
    ),
    View(
        "tenant_step",
        READER_ROLE,
        "{{barrier}} as select {{source_trace}}, {{source_step}}"
        " from signals.source_trace inner join signals.source_step"
        " on source_step.trace_id = source_trace.trace_id where source_trace.{{named_tenant}}",
    ),
    *(View(name, READER_ROLE, _IN_ORDER.replace("{{order}}", order)) for name, order in _RUNS_IN_ORDER),
)

#: Every view that reads a host's table, itself or through another, in an order in which they can be made.
ALL: Final = (*SOURCE, *TENANT)


def create(conn: Connection, views: Sequence[View]) -> None:
    """Create views and grant them, in the caller's transaction."""
    for view in views:
        view.create(conn)


def drop(conn: Connection, views: Sequence[View]) -> None:
    """Drop those of the views that are there, the last made first."""
    for view in reversed(views):
        conn.exec_driver_sql(f"drop view if exists {SCHEMA}.{view.name}")


def missing(conn: Connection, mapping: SourceMapping | None = None) -> Sequence[str]:
    """Return what a host lacks of what the views read: tables, and columns with their tables, as phrases."""
    return [phrase for source in host.read(conn, mapping).values() for phrase in source.faults()]


def _filled(conn: Connection, definition: str) -> str:
    """Return a definition with its words filled in, all at once: a host's name may look like a word."""
    words = {**_WORDS, **_of_host(conn)}
    return _WORD.sub(lambda word: words[word[1]], definition)


def _of_host(conn: Connection) -> Mapping[str, str]:
    """Return the queries over the host's tables, for its names and for the columns that it has."""
    found = host.read(conn)
    return {
        "runs": _query(found["runs"], ("id", *_RUN)),
        "traces": _query(found["aos_traces"], (*_TRACE, "is_synthetic")),
        "steps": _query(found["aos_trace_steps"], ("trace_id", *_STEP)),
    }


def _query(source: Source, columns: Sequence[str]) -> str:
    listed = ", ".join(_selected(source, name) for name in columns)
    kept = f" where {source.value('archived_at')} is null" if _may_be_archived(source) else ""
    return f"select {listed} from {source.relation}{kept}"  # noqa: S608  # names of the catalogue, quoted


def _selected(source: Source, name: str) -> str:
    """Return a column of a view: of the host's, nothing converted but what the host's types ask for."""
    if name == "is_synthetic" and not source.has(name) and source.table.columns[name].is_optional:
        return f"false as {name}"
    value, shown = source.converted(name), host.quoted("run_id" if name == "id" else name)
    return value if value == shown else f"{value} as {shown}"


def _may_be_archived(source: Source) -> bool:
    return "archived_at" in source.table.columns and source.has("archived_at")
