"""Staging: what a refresh computes before it publishes, in temporary tables of its session.

The tables are made once per session and emptied at each commit, so that a refresh every 30 s does not churn the
catalogue. Their columns are, in order, what the query that fills them returns.
Source: docs/specification-notes.md#unready-and-empty-snapshots.
"""

from __future__ import annotations

from functools import cache
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
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.schema import CreateTable

from snapshots.signal_catalogue import CATALOGUE
from worker.engine.tables import agent_cost, attention_fact, run_pattern, trace_fact

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection, Insert

    from snapshots.queries import Query

metadata = MetaData(schema="pg_temp")


def _stage(name: str, *columns: Column[Any]) -> Table:
    return Table(name, metadata, *columns, prefixes=["TEMPORARY"], postgresql_on_commit="DELETE ROWS")


_PLAIN_TYPES: Final[dict[str, Any]] = {
    "text": Text,
    "integer": BigInteger,
    "number": Numeric,
    "boolean": Boolean,
    "timestamp": DateTime(timezone=True),
}


def _texts(*names: str) -> list[Column[Any]]:
    return [Column(name, Text(collation="C")) for name in names]


def _counts(*names: str) -> list[Column[Any]]:
    return [Column(name, BigInteger) for name in names]


def _numerics(*names: str) -> list[Column[Any]]:
    return [Column(name, Numeric) for name in names]


def _like(kept: Table) -> list[Column[Any]]:
    """Return the columns of a table that is kept between refreshes."""
    return [Column(name, column.type) for name, column in kept.columns.items()]


#: Keys of source rows that changed; in the database's own collation, that of the source's indexes.
stage_dirty_trace = _stage("stage_dirty_trace", Column("trace_id", Text))
stage_dirty_agent = _stage("stage_dirty_agent", Column("tenant_id", Text), Column("agent_id", Text))
stage_dirty_run = _stage("stage_dirty_run", Column("run_id", Text))

#: What follows from them: runs whose facts changed, and tenants whose answer may have; both may repeat.
stage_changed_run = _stage("stage_changed_run", *_texts("tenant_id", "run_id"))
stage_tenant = _stage("stage_tenant", *_texts("tenant_id"))

#: What a trace says of one skill; only what can matter to a pattern, or to data quality.
stage_trace_fact = _stage("stage_trace_fact", *_like(trace_fact))

#: What a run shows of a pattern, and under the type `non_finite_durations` what it lacks in quality.
stage_run_pattern = _stage("stage_run_pattern", *_like(run_pattern))

stage_pattern_item = _stage(
    "stage_pattern_item",
    *_texts("tenant_id", "pattern_type"),
    Column("rank", Integer),
    *_texts("run_id", "skill_id"),
    *_counts("retry_count", "max_step_retries", "total_retries", "oscillation_count", "loop_depth", "slow_step_count"),
    *_numerics("avg_duration_ms"),
    Column("cycle_period", Integer),
    *_counts("cycle_repeats"),
    Column("cycle_skills", ARRAY(Text)),
    *_numerics("density"),
    Column("outcome_stable", Boolean),
    Column("after_error", Boolean),
    *_numerics("wasted_ms", "wasted_cost_usd", "share_of_run"),
)

#: What the runs of a tenant that repeat a skill say together; empty without extras.
stage_pattern_skill = _stage(
    "stage_pattern_skill",
    *_texts("tenant_id"),
    Column("rank", Integer),
    *_texts("skill_id"),
    Column("pattern_types", ARRAY(Text)),
    *_counts("run_count"),
    Column("run_ids", ARRAY(Text)),
    *_numerics("wasted_ms", "wasted_cost_usd"),
)

#: What the runs of an agent cost, in the current day and in the baseline.
stage_agent_cost = _stage("stage_agent_cost", *_like(agent_cost))

#: A row with a `run_count` of 0 carries `non_finite_costs`, or an agent that fell silent, and is no item.
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
    *(Column(name, Text) for name in ("robust_verdict", "robust_reason", "robust_method")),
    *_counts("baseline_priced", "current_priced", "unpriced_runs"),
    *(Column(name, Double) for name in ("median_usd", "mad_usd", "ratio", "effect_usd", "robust_score")),
    Column("spike_run_ids", ARRAY(Text)),
    Column("spike_costs", ARRAY(Numeric)),
    *_numerics("volume_ratio"),
    *_counts("peer_agents"),
    *(Column(name, Double) for name in ("peer_median_usd", "peer_ratio")),
    Column("baseline_last_at", DateTime(timezone=True)),
    *(Column(name, Double) for name in ("spec_rate", "robust_rate")),
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
        *_texts("agent_id"),
    ]


#: What a run that asks for attention is scored by.
stage_attention_fact = _stage("stage_attention_fact", *_like(attention_fact))

#: Every run that qualifies, shown or not.
stage_attention_run = _stage("stage_attention_run", *_texts("tenant_id"), *_scored_run())

stage_attention_item = _stage("stage_attention_item", *_texts("tenant_id"), Column("rank", Integer), *_scored_run())

#: One text per tenant with findings, and under the empty name what a tenant without any is served. Its items are
#: there where the content holds the first of them alone, else how many characters of it each of them takes.
stage_content = _stage(
    "stage_content",
    *_texts("tenant_id"),
    Column("content", Text),
    Column("items", ARRAY(Text)),
    Column("lengths", ARRAY(Integer)),
    Column("basis", Text),
    Column("shape", Text),
)

#: The tenants whose answer this refresh has published, with the new version.
stage_published = _stage("stage_published", *_texts("tenant_id"), *_counts("version"))

#: What identifies each published item, and what of it can rise and fall; without a position it is not among the items.
stage_identity = _stage(
    "stage_identity",
    *_texts("tenant_id"),
    Column("position", Integer),
    *_texts("fingerprint"),
    Column("key", JSONB),
    *_numerics("value", "severity"),
    Column("traits", ARRAY(Text)),
)


#: What the query of each plain signal finds, by the signal's name.
PLAIN_FOUND: Final = {
    name: _stage(
        f"stage_{name}_found",
        *_texts("tenant_id"),
        *(Column(column, _PLAIN_TYPES[each.type]) for column, each in definition.columns.items()),
    )
    for name, definition in CATALOGUE.items()
    if definition.is_plain
}

#: The items of a plain signal, as they are served.
stage_signal_item = _stage(
    "stage_signal_item",
    *_texts("tenant_id"),
    Column("rank", Integer),
    *_texts("signal"),
    Column("key", JSONB),
    Column("item", Text),
    *_numerics("severity"),
)


#: One message makes every table that the session lacks.
_CREATE_ALL: Final = ";\n".join(
    str(CreateTable(table, if_not_exists=True).compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]  # SQLAlchemy's dialects are untyped
    for table in metadata.sorted_tables
)


_EMPTY_ALL: Final = ";\n".join(
    str(delete(table).compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]  # as above
    for table in metadata.sorted_tables
)


def prepare(conn: Connection) -> None:
    """Make the stage tables that the session lacks, and leave all of them without rows."""
    conn.exec_driver_sql(_CREATE_ALL)
    conn.exec_driver_sql(_EMPTY_ALL)


def empty(conn: Connection, table: Table) -> None:
    """Make the stage tables that the session lacks, and leave `table` without rows."""
    conn.exec_driver_sql(_CREATE_ALL)
    conn.execute(delete(table))


def fill(conn: Connection, query: Query, table: Table, parameters: Mapping[str, object]) -> int:
    """Insert what `query` finds into `table`, column by column in order, and return the number of rows.

    `parameters` may hold more than the query declares.
    """
    binds = {name: parameters[name] for name in query.params}
    return int(conn.execute(_filling(query, table), binds).rowcount)


@cache
def _filling(query: Query, table: Table) -> Insert:
    """Return the statement, the same one each time: to make it, and its key, may take longer than to run it."""
    names = [column.name for column in table.columns]
    found = query.text.columns(*(Column(name, column.type) for name, column in table.columns.items()))
    return insert(table).from_select(names, found)
