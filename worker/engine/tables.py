"""Tables of the incremental refresh: change queues, and the facts that the signals are made of.

The worker alone reads these. A fact table always holds what its query would find for the instant in `fact_state`; the
queues hold what has changed since. Source: docs/architecture.md#tables, docs/architecture.md#whole-facts.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    Index,
    Integer,
    Numeric,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import ARRAY

from snapshots.tables import Bytewise, Instant, metadata

#: The queues are emptied all day: vacuumed by the number of rows that went, whatever the size of what is left.
_EMPTIED: Final = {"autovacuum_vacuum_scale_factor": "0", "autovacuum_vacuum_threshold": "5000"}
#: Facts are replaced one by one.
_REPLACED: Final = {"autovacuum_vacuum_scale_factor": "0.05", "fillfactor": "80"}


def _cycle() -> list[Column[Any]]:
    """Return the columns that hold a sequence of skills which comes again and again."""
    return [
        Column("cycle_period", Integer),
        Column("cycle_repeats", BigInteger),
        Column("cycle_skills", ARRAY(Bytewise)),
    ]


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
    Column(
        "replaced",
        ARRAY(Text),
        nullable=False,
        server_default="{}",
        comment="Hashes of the rules that made the facts before, the latest first",
    ),
    PrimaryKeyConstraint("signal", "slot"),
    CheckConstraint("slot between 0 and 63", name="known_slot"),
    postgresql_with={"fillfactor": "50"},
)

#: A row whose `capture` is the present fingerprint has the signal's refreshes read every row.
capture_doubt = Table(
    "capture_doubt",
    metadata,
    Column("signal", Text, primary_key=True),
    Column("capture", Text, nullable=False, comment="Fingerprint of the triggers that did not report a change"),
    Column(
        "unreported", BigInteger, nullable=False, comment="Keys of the first sample whose facts differed without a mark"
    ),
    Column("found_at", Instant, nullable=False),
    Column("last_found_at", Instant, nullable=False),
    CheckConstraint("signal in ('patterns', 'cost', 'attention')", name="known_signal"),
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
    Column(
        "trace_steps", BigInteger, comment="Steps of the trace, of every skill; NULL without extras, as what follows"
    ),
    Column("span_steps", BigInteger, comment="From the first use to the last, both included, by step_index"),
    Column("later_ms", Numeric, comment="Of the uses after the first"),
    Column("later_cents", Numeric),
    Column("later_after_error", BigInteger, comment="Of them, those that follow a step that failed"),
    Column("repeat_ms", Numeric, comment="Of the uses that follow one of the same skill"),
    Column("repeat_cents", Numeric),
    Column("repeats_after_error", BigInteger),
    Column("retry_ms", Numeric, comment="The share of the retries in the steps that were retried"),
    Column("retry_cents", Numeric),
    Column("outcome_low", Bytewise, comment="The first and the last of the outcomes, status/code, bytewise"),
    Column("outcome_high", Bytewise),
    *_cycle(),
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
    *_cycle(),
    Column("density", Numeric, comment="Uses over the steps from the first to the last"),
    Column("outcome_stable", Boolean),
    Column("after_error", Boolean),
    Column("wasted_ms", Numeric),
    Column("wasted_cost_usd", Numeric),
    Column("share_of_run", Numeric),
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
    Column("baseline_priced", BigInteger, comment="Runs with a cost above 0; NULL without extras, as what follows"),
    Column("current_priced", BigInteger),
    Column("baseline_log_median", Double),
    Column("baseline_log_mad", Double, comment="Median absolute deviation of the logs"),
    Column("baseline_log_mean_ad", Numeric, comment="Mean absolute deviation, where the median one is 0"),
    Column("current_log_median", Double),
    Column("baseline_total", Numeric),
    Column("baseline_days", BigInteger, comment="Dates, in UTC, on which runs were completed"),
    Column("baseline_last_at", Instant),
    Column("spike_run_ids", ARRAY(Bytewise)),
    Column("spike_costs", ARRAY(Numeric)),
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
    Column("agent_id", Bytewise),
    PrimaryKeyConstraint("run_id", "tenant_id"),
    Index(None, "tenant_id"),
    Index(None, "started_at"),
    Index(None, "completed_at"),
    Index(None, "heartbeat_at"),
    postgresql_with=_REPLACED,
)
