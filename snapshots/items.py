"""The tables of published items, one row per item: for people who query by SQL, and for a run's page.

Source: docs/architecture.md#tables; the columns are those of the specification's SQL.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    Integer,
    Numeric,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from snapshots.tables import Bytewise, Instant, metadata

pattern_item = Table(
    "pattern_item",
    metadata,
    Column("tenant_id", Bytewise, nullable=False),
    Column("pattern_type", Text, nullable=False),
    Column("rank", Integer, nullable=False),
    Column("run_id", Bytewise, nullable=False),
    Column("skill_id", Bytewise),
    Column("retry_count", BigInteger, comment="Steps that were retried"),
    Column("max_step_retries", BigInteger),
    Column("total_retries", BigInteger),
    Column("oscillation_count", BigInteger),
    Column("loop_depth", BigInteger),
    Column("slow_step_count", BigInteger),
    Column("avg_duration_ms", Numeric),
    PrimaryKeyConstraint("tenant_id", "pattern_type", "rank"),
    CheckConstraint(
        "pattern_type in ('retry_loop', 'step_oscillation', 'tool_call_loop', 'timeout_cascade')", name="known_pattern"
    ),
    CheckConstraint("rank between 1 and 10", name="rank_in_top_ten"),
)

cost_item = Table(
    "cost_item",
    metadata,
    Column("tenant_id", Bytewise, nullable=False),
    Column("rank", Integer, nullable=False),
    Column("agent_id", Bytewise, nullable=False),
    Column("current_avg_cost", Numeric, nullable=False),
    Column("total_cost", Numeric, nullable=False),
    Column("run_count", BigInteger, nullable=False),
    Column("baseline_avg", Numeric),
    Column("baseline_p95", Double),
    Column("baseline_stddev", Numeric),
    Column("baseline_run_count", BigInteger, nullable=False),
    Column("z_score", Numeric, nullable=False),
    Column("is_anomaly", Boolean, nullable=False),
    Column("robust_verdict", Text, comment="NULL without extras"),
    PrimaryKeyConstraint("tenant_id", "agent_id"),
    UniqueConstraint("tenant_id", "rank"),
    CheckConstraint("run_count > 0", name="run_count_positive"),
)

attention_item = Table(
    "attention_item",
    metadata,
    Column("tenant_id", Bytewise, nullable=False),
    Column("rank", Integer, nullable=False),
    Column("run_id", Bytewise, nullable=False),
    Column("attention_score", Numeric, nullable=False),
    Column("risk_contribution", Numeric, nullable=False),
    Column("impact_contribution", Numeric, nullable=False),
    Column("latency_contribution", Numeric, nullable=False),
    Column("recency_contribution", Numeric, nullable=False),
    Column("evidence_contribution", Numeric, nullable=False),
    Column("reasons", ARRAY(Text), nullable=False),
    Column("state", Text),
    Column("status", Text),
    Column("started_at", Instant),
    Column("is_abandoned", Boolean, nullable=False),
    PrimaryKeyConstraint("tenant_id", "rank"),
    UniqueConstraint("tenant_id", "run_id"),
    CheckConstraint("attention_score between 0 and 1", name="score_in_range"),
    CheckConstraint("rank > 0", name="rank_positive"),
)

#: The items of plain signals, which have no table of their own.
signal_item = Table(
    "signal_item",
    metadata,
    Column("tenant_id", Bytewise, nullable=False),
    Column("signal", Text, nullable=False),
    Column("rank", Integer, nullable=False),
    Column("key", JSONB, nullable=False),
    Column("item", Text, nullable=False, comment="The item as served: a JSON object"),
    PrimaryKeyConstraint("tenant_id", "signal", "rank"),
    CheckConstraint("rank > 0", name="rank_positive"),
)

#: The item table of each signal that has one, by the signal's name.
ITEMS: Final = {"patterns": pattern_item, "cost": cost_item, "attention": attention_item}
