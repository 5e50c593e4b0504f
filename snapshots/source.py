"""The host's rows as every query sees them: the `source_*` views, and their twins for the reader role.

The views name the host's tables and columns in one place and convert nothing: a cast there would hide the host's
indexes (docs/architecture.md#tables). The `tenant_*` twins are security barriers that carry the tenant predicate.
Source: docs/specification-notes.md#archived-rows-and-late-steps.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Boolean, Column, DateTime, Double, Integer, MetaData, Numeric, Table, Text

from snapshots.tables import SCHEMA

metadata = MetaData(schema=SCHEMA)


def _run_columns() -> list[Column[Any]]:
    texts = ("run_id", "tenant_id", "project_id", "agent_id", "source", "provider_type", "state", "status")
    levels = ("risk_level", "latency_bucket", "evidence_health", "integrity_status")
    instants = ("started_at", "last_seen_at", "completed_at")
    counts = ("incident_count", "policy_draft_count", "input_tokens", "output_tokens")
    return [
        *(Column(name, Text) for name in texts + levels),
        *(Column(name, DateTime(timezone=True)) for name in instants),
        *(Column(name, Integer) for name in counts),
        Column("is_synthetic", Boolean),
        Column("policy_violation", Boolean),
        Column("duration_ms", Double),
        Column("estimated_cost_usd", Numeric),
    ]


#: Every run (`runs`, not `v_runs_o2`, which lacks agent_id).
source_run = Table("source_run", metadata, *_run_columns())
#: The same, of the tenant that `activity.tenant_id` names; nothing when it is unset or empty.
tenant_run = Table("tenant_run", metadata, *_run_columns())

#: Traces that are not archived, of that tenant.
tenant_trace = Table(
    "tenant_trace",
    metadata,
    *(Column(name, Text) for name in ("trace_id", "run_id", "tenant_id")),
    Column("started_at", DateTime(timezone=True)),
    Column("is_synthetic", Boolean),
)
#: Their steps that are not archived, each with what orders them: its trace's start.
tenant_step = Table(
    "tenant_step",
    metadata,
    *(Column(name, Text) for name in ("trace_id", "run_id", "tenant_id")),
    Column("started_at", DateTime(timezone=True)),
    Column("step_index", Integer),
    *(Column(name, Text) for name in ("skill_id", "skill_name", "status", "outcome_category", "outcome_code")),
    Column("cost_cents", Double),
    Column("duration_ms", Double),
    Column("retry_count", Integer),
    Column("timestamp", DateTime(timezone=True)),
)

#: trace_id, run_id, tenant_id, started_at, is_synthetic of every trace that is not archived.
SOURCE_TRACE: Final = f"{SCHEMA}.source_trace"
#: The steps that are not archived: trace_id, step_index, skill_id, skill_name, status, outcome_category, outcome_code,
#: cost_cents, duration_ms, retry_count, timestamp.
SOURCE_STEP: Final = f"{SCHEMA}.source_step"

#: The host's tables, whatever it names them: `source` is the view, `relation` what PostgreSQL knows it to read.
HOST_TABLES: Final = """
(
    select distinct view.relname as source, pg_depend.refobjid as relation
    from pg_catalog.pg_rewrite
    inner join pg_catalog.pg_class as view on view.oid = pg_rewrite.ev_class
    inner join pg_catalog.pg_depend
        on
            pg_depend.classid = cast('pg_rewrite' as regclass)
            and pg_depend.objid = pg_rewrite.oid
            and pg_depend.refclassid = cast('pg_class' as regclass)
            and pg_depend.refobjid <> pg_rewrite.ev_class
    where
        view.oid in (
            to_regclass('signals.source_run'), to_regclass('signals.source_trace'), to_regclass('signals.source_step')
        )
)
"""

#: The transaction-local setting that names the tenant to the reader role; empty counts as unset.
TENANT_SETTING: Final = "activity.tenant_id"
