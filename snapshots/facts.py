"""What an incremental refresh lives on: marks of what changed, and the facts that the signals are made of.

The worker alone reads these. A fact table always holds what its query would find for the instant in `fact_state`; the
queues hold what has changed since. Source: architecture.md "Tables we own"; performance.md "Incremental".
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    Index,
    Numeric,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
)

from snapshots.tables import Bytewise, Instant, metadata

#: The queues are emptied all day: vacuumed by the number of rows that went, whatever the size of what is left.
_EMPTIED: Final = {"autovacuum_vacuum_scale_factor": "0", "autovacuum_vacuum_threshold": "5000"}
#: Facts are replaced one by one.
_REPLACED: Final = {"autovacuum_vacuum_scale_factor": "0.05", "fillfactor": "80"}

#: Append-only, duplicates allowed, no index: no writer of the host waits for another because of it.
dirty_trace = Table(
    "dirty_trace",
    metadata,
    Column("trace_id", Bytewise, nullable=False),
    Column("tenant_id", Bytewise, comment="The tenant that the trace left; NULL is the one that it has now"),
    postgresql_with=_EMPTIED,
)

dirty_agent = Table(
    "dirty_agent",
    metadata,
    Column("tenant_id", Bytewise, nullable=False),
    Column("agent_id", Bytewise, nullable=False),
    postgresql_with=_EMPTIED,
)

dirty_run = Table(
    "dirty_run",
    metadata,
    Column("run_id", Bytewise, nullable=False),
    Column("tenant_id", Bytewise, nullable=False),
    postgresql_with=_EMPTIED,
)

#: Without a row for each slot of a shard, the shard's next refresh reads every row of the source.
fact_state = Table(
    "fact_state",
    metadata,
    Column("signal", Text, nullable=False),
    Column("slot", SmallInteger, nullable=False),
    Column("as_of", Instant, nullable=False, comment="The instant that the facts of the slot hold for"),
    Column("capture", Text, nullable=False, comment="Fingerprint of the triggers that have marked every change since"),
    Column("rules", Text, nullable=False, comment="Rule version and parameters that the facts were made with"),
    PrimaryKeyConstraint("signal", "slot"),
    CheckConstraint("slot between 0 and 63", name="known_slot"),
    postgresql_with={"fillfactor": "50"},
)

trace_fact = Table(
    "trace_fact",
    metadata,
    Column("tenant_id", Bytewise, nullable=False),
    Column("run_id", Bytewise, nullable=False),
    Column("trace_id", Bytewise, nullable=False),
    Column("skill_id", Bytewise),
    Column("started_at", Instant, nullable=False),
    Column("uses", BigInteger, nullable=False),
    Column("repeats", BigInteger, nullable=False),
    Column("retried_steps", BigInteger, nullable=False),
    Column("total_retries", BigInteger),
    Column("max_step_retries", BigInteger),
    Column("slow_steps", BigInteger, nullable=False),
    Column("slow_ms", Numeric),
    Column("non_finite_durations", BigInteger, nullable=False),
    UniqueConstraint("trace_id", "tenant_id", "skill_id"),
    Index(None, "run_id"),
    Index(None, "started_at"),
    postgresql_with=_REPLACED,
)

run_pattern = Table(
    "run_pattern",
    metadata,
    Column("tenant_id", Bytewise, nullable=False),
    Column("pattern_type", Text, nullable=False),
    Column("strength", BigInteger, nullable=False),
    Column("run_id", Bytewise, nullable=False),
    Column("skill_id", Bytewise),
    Column("retry_count", BigInteger),
    Column("max_step_retries", BigInteger),
    Column("total_retries", BigInteger),
    Column("slow_step_count", BigInteger),
    Column("avg_duration_ms", Numeric),
    UniqueConstraint("run_id", "tenant_id", "pattern_type", "skill_id"),
    postgresql_with=_REPLACED,
)
# A tenant's strongest rows are read from it in order.
Index(
    "ix_run_pattern_strongest",
    run_pattern.c.tenant_id,
    run_pattern.c.pattern_type,
    run_pattern.c.strength.desc(),
    run_pattern.c.run_id,
    run_pattern.c.skill_id,
)

agent_cost = Table(
    "agent_cost",
    metadata,
    Column("tenant_id", Bytewise, nullable=False),
    Column("agent_id", Bytewise, nullable=False),
    Column("current_avg_cost", Numeric),
    Column("total_cost", Numeric),
    Column("run_count", BigInteger, nullable=False),
    Column("baseline_avg", Numeric),
    Column("baseline_p95", Double),
    Column("baseline_stddev", Numeric),
    Column("baseline_run_count", BigInteger, nullable=False),
    Column("non_finite_costs", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant_id", "agent_id"),
    postgresql_with=_REPLACED,
)

attention_fact = Table(
    "attention_fact",
    metadata,
    Column("tenant_id", Bytewise, nullable=False),
    Column("run_id", Bytewise, nullable=False),
    Column("risk_score", Numeric, nullable=False),
    Column("impact_score", Numeric, nullable=False),
    Column("latency_score", Numeric, nullable=False),
    Column("evidence_score", Numeric, nullable=False),
    Column("state", Text),
    Column("status", Text),
    Column("started_at", Instant),
    Column("completed_at", Instant),
    Column("heartbeat_at", Instant, comment="The last sign of life, or the start"),
    PrimaryKeyConstraint("run_id", "tenant_id"),
    Index(None, "tenant_id"),
    Index(None, "started_at"),
    Index(None, "completed_at"),
    Index(None, "heartbeat_at"),
    postgresql_with=_REPLACED,
)
