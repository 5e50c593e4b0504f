"""The views over the host's tables: one definition for the revisions that make them and for `activity attach`.

They are the one place that names the host's columns, and keep the host from dropping or altering one: a host's own
migration needs them gone (migrations.detachment). Source: architecture.md "Tables we own".
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from sqlalchemy import inspect

from migrations.access import NAMED_TENANT
from snapshots.signals import READER_ROLE, WORKER_ROLE
from snapshots.tables import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection

_RUN: Final = (
    "tenant_id, project_id, agent_id, is_synthetic, source, provider_type, state, status, started_at, last_seen_at, "
    "completed_at, duration_ms, risk_level, latency_bucket, evidence_health, integrity_status, incident_count, "
    "policy_draft_count, policy_violation, input_tokens, output_tokens, estimated_cost_usd"
)
_TRACE: Final = "trace_id, run_id, tenant_id, started_at"
_STEP: Final = (
    "step_index, skill_id, skill_name, status, outcome_category, outcome_code, cost_cents, duration_ms, retry_count, "
    '"timestamp"'
)
#: What stands for the words in double braces of a definition, whatever the host.
_WORDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "run": _RUN,
        "trace": _TRACE,
        "step": _STEP,
        "source_trace": ", ".join(f"source_trace.{name}" for name in _TRACE.split(", ")),
        "source_step": ", ".join(f"source_step.{name}" for name in _STEP.split(", ")),
        "named_tenant": NAMED_TENANT,
        "barrier": "with (security_barrier = true)",
    }
)

#: The columns that a host's table must have; `is_synthetic` and `archived_at` of traces and steps may be missing.
NEEDED: Final[Mapping[str, Sequence[str]]] = MappingProxyType(
    {
        "runs": ("id", *_RUN.split(", ")),
        "aos_traces": tuple(_TRACE.split(", ")),
        "aos_trace_steps": ("trace_id", *_STEP.replace('"', "").split(", ")),
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
        conn.exec_driver_sql(f"create view {SCHEMA}.{self.name} {_filled(conn, self.definition)}")
        conn.exec_driver_sql(f"grant select on {SCHEMA}.{self.name} to {self.role}")


#: Of revision 097.
SOURCE: Final = (
    View("source_run", WORKER_ROLE, "as select id as run_id, {{run}} from public.runs"),
    View("source_trace", WORKER_ROLE, "as select {{trace}}, {{is_synthetic}} from public.aos_traces{{kept_traces}}"),
    View("source_step", WORKER_ROLE, "as select trace_id, {{step}} from public.aos_trace_steps{{kept_steps}}"),
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


def missing(conn: Connection) -> Sequence[str]:
    """Return what a host lacks of what the views read: tables, and columns with their tables, as phrases."""
    return [phrase for table in NEEDED for phrase in _missing_of(conn, table)]


def _missing_of(conn: Connection, table: str) -> Sequence[str]:
    if not inspect(conn).has_table(table, schema="public"):
        return [f"table public.{table}"]
    found = _columns(conn, table)
    return [f"column {name} of public.{table}" for name in NEEDED[table] if name not in found]


def _filled(conn: Connection, definition: str) -> str:
    for word, meaning in {**_WORDS, **_of_host(conn)}.items():
        definition = definition.replace("{{" + word + "}}", meaning)
    return definition


def _of_host(conn: Connection) -> Mapping[str, str]:
    """Return what stands for the words that depend on the columns which a host may lack."""
    traces, steps = _columns(conn, "aos_traces"), _columns(conn, "aos_trace_steps")
    kept = " where archived_at is null"
    return {
        "is_synthetic": "is_synthetic" if "is_synthetic" in traces else "false as is_synthetic",
        "kept_traces": kept if "archived_at" in traces else "",
        "kept_steps": kept if "archived_at" in steps else "",
    }


def _columns(conn: Connection, table: str) -> set[str]:
    return {column["name"] for column in inspect(conn).get_columns(table, schema="public")}
