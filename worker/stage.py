"""Staging: what a refresh computes before it publishes, in temporary tables of its session.

The tables are made once per session and emptied at each commit, so that a refresh every 30 s does not churn the
catalogue. Their columns are, in order, what the query that fills them returns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    Integer,
    MetaData,
    Numeric,
    Table,
    Text,
    delete,
    insert,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.schema import CreateTable

from worker import queries

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from snapshots.settings import Settings
    from worker.queries import Query
    from worker.registry import Signal

metadata = MetaData(schema="pg_temp")


def _stage(name: str, *columns: Column[Any]) -> Table:
    return Table(name, metadata, *columns, prefixes=["TEMPORARY"], postgresql_on_commit="DELETE ROWS")


def _texts(*names: str) -> list[Column[Any]]:
    return [Column(name, Text(collation="C")) for name in names]


def _counts(*names: str) -> list[Column[Any]]:
    return [Column(name, BigInteger) for name in names]


def _numerics(*names: str) -> list[Column[Any]]:
    return [Column(name, Numeric) for name in names]


#: What a trace says of one skill; only what can matter to a pattern, or to data quality.
stage_trace_fact = _stage(
    "stage_trace_fact",
    *_texts("tenant_id", "run_id", "trace_id", "skill_id"),
    *_counts("uses", "repeats", "retried_steps", "total_retries", "max_step_retries", "slow_steps"),
    *_numerics("slow_ms"),
    *_counts("non_finite_durations"),
)

stage_pattern_item = _stage(
    "stage_pattern_item",
    *_texts("tenant_id", "pattern_type"),
    Column("rank", Integer),
    *_texts("run_id", "skill_id"),
    *_counts("retry_count", "max_step_retries", "total_retries", "oscillation_count", "loop_depth", "slow_step_count"),
    *_numerics("avg_duration_ms"),
)

#: A row with a `run_count` of 0 carries `non_finite_costs` alone and is no item.
stage_cost_item = _stage(
    "stage_cost_item",
    *_texts("tenant_id"),
    Column("rank", Integer),
    *_texts("agent_id"),
    *_numerics("current_avg_cost", "total_cost"),
    *_counts("run_count"),
    *_numerics("baseline_avg"),
    Column("baseline_p95", Double),
    *_numerics("baseline_stddev"),
    *_counts("baseline_run_count"),
    *_numerics("z_score"),
    Column("is_anomaly", Boolean),
    *_counts("non_finite_costs"),
)

_SCORED: Final = (
    "attention_score",
    "risk_contribution",
    "impact_contribution",
    "latency_contribution",
    "recency_contribution",
    "evidence_contribution",
)


def _scored_run() -> list[Column[Any]]:
    return [
        *_texts("run_id"),
        *_numerics(*_SCORED),
        Column("reasons", ARRAY(Text)),
        *_texts("state", "status"),
        Column("started_at", DateTime(timezone=True)),
        Column("is_abandoned", Boolean),
    ]


#: Every run that qualifies, shown or not.
stage_attention_run = _stage("stage_attention_run", *_texts("tenant_id"), *_scored_run())

stage_attention_item = _stage("stage_attention_item", *_texts("tenant_id"), Column("rank", Integer), *_scored_run())

#: One text per tenant with findings, and under the empty name what a tenant without any is served (R28).
stage_content = _stage(
    "stage_content",
    *_texts("tenant_id"),
    Column("content", Text),
    Column("items", ARRAY(Text)),
    Column("basis", Text),
    Column("shape", Text),
)


def stage_signal(
    conn: Connection,
    signal: Signal,
    settings: Settings,
    as_of: datetime,
    tenants: Sequence[str] | None = None,
) -> None:
    """Compute `signal` as of `as_of` into the stage tables, for `tenants` (None is all of them).

    `as_of` is an aware datetime. The stage holds this signal's rows until the transaction ends or another signal is
    staged in it. The number of statements depends on the signal alone.
    """
    parameters = signal.parameters(settings, as_of, tenants)
    for query, table in signal.steps:
        empty(conn, table)
        fill(conn, queries.load(query), table, parameters)


def empty(conn: Connection, table: Table) -> None:
    """Make `table` in this session unless it is there, and leave it without rows."""
    conn.execute(CreateTable(table, if_not_exists=True))
    conn.execute(delete(table))


def fill(conn: Connection, query: Query, table: Table, parameters: Mapping[str, object]) -> int:
    """Insert what `query` finds into `table`, column by column in order, and return the number of rows.

    `parameters` may hold more than the query declares.
    """
    names = [column.name for column in table.columns]
    found = query.text.columns(*(Column(name, column.type) for name, column in table.columns.items()))
    binds = {name: parameters[name] for name in query.params}
    return int(conn.execute(insert(table).from_select(names, found), binds).rowcount)
