"""The bodies of the read layer."""

from __future__ import annotations

from typing import Final

from api.openapi import extras, movement, plain
from api.openapi.console import SESSION
from api.openapi.run import RUN_DETAIL, RUN_SIGNALS, STEP, TRACE
from api.openapi.shapes import (
    Schema,
    array,
    boolean,
    integer,
    moment,
    named,
    nullable,
    number,
    one_of,
    record,
    text,
)
from api.queries.run_signals import PATTERN_TYPES
from api.queries.runs import REPEATABLE
from api.queries.summaries import ALLOWED_DIMENSIONS, SHOWN_BUCKETS, STATES
from snapshots.signal_catalogue import CATALOGUE
from snapshots.signals import SIGNALS

_RUN_ID: Final = text("The run.", examples=["run_7f3a"])
_MONEY: Final = number("US dollars.")
_WINDOW: Final = record({"start": moment(), "end": moment()}, description="Both bounds are inclusive.")
_PARAMETERS: Final = record({}, closed=False, description="What the snapshot was computed with.")

SNAPSHOT: Final = record(
    {
        "as_of": moment("The instant that the content answers for."),
        "computed_at": moment("When this content was first found."),
        "version": integer("Counts the changes of content; 0 for a tenant that never had a finding."),
        "rule_version": text(),
        "stale_after": nullable(moment("null for a kept version.")),
        "next_refresh_at": nullable(moment("null for a kept version.")),
        "verified_at": moment("When a refresh last confirmed the content."),
        "replaced_at": nullable(moment("With as_of alone: the instant of the version that came after.")),
    },
    optional=("replaced_at",),
)

PATTERN_RUN: Final = record(
    {
        "run_id": _RUN_ID,
        "retry_count": integer("Steps that were retried."),
        "max_step_retries": integer(),
        "total_retries": integer(),
        "oscillation_count": integer("Adjacent steps of the same skill."),
        "loop_depth": integer("Uses of the skill in a trace, up to the loop window."),
        "slow_step_count": integer(),
        "avg_duration_ms": number("Of the slow steps, milliseconds."),
        **extras.PATTERN_EXTRAS,
    },
    optional=(
        "retry_count",
        "max_step_retries",
        "total_retries",
        "oscillation_count",
        "loop_depth",
        "slow_step_count",
        "avg_duration_ms",
        *extras.PATTERN_EXTRAS,
    ),
    description="The columns of the pattern's query.",
)
PATTERN: Final = record(
    {
        "pattern_type": one_of(PATTERN_TYPES),
        "run_ids": array(_RUN_ID, "Strongest first."),
        "count": integer("Number of run_ids.", minimum=1),
        "confidence": number("Strength of the evidence, from 0.5 to 1; not a probability.", minimum=0.5, maximum=1),
        "details": record(
            {
                "skill_id": nullable(text()),
                "avg_retries": number(),
                "retrying_steps": integer(),
                "max_step_retries": integer(),
                "oscillation_count": integer(),
                "loop_depth": integer(),
                "slow_step_count": integer(),
                "avg_duration_ms": number(),
            },
            optional=(
                "skill_id",
                "avg_retries",
                "retrying_steps",
                "max_step_retries",
                "oscillation_count",
                "loop_depth",
                "slow_step_count",
                "avg_duration_ms",
            ),
        ),
        "runs": array(named("PatternRun")),
        **extras.PATTERN_EXTRAS,
        **movement.ITEM_EXTRAS,
    },
    optional=(*extras.PATTERN_EXTRAS, *movement.ITEM_EXTRAS),
)
PATTERNS: Final = record(
    {
        "window": _WINDOW,
        "patterns": array(named("Pattern")),
        "parameters": _PARAMETERS,
        "confidence_version": text(),
        "data_quality": record({"non_finite_durations": integer()}),
        **extras.PATTERNS_EXTRAS,
        **movement.LIST_EXTRAS,
        "snapshot": named("Snapshot"),
    },
    optional=(*extras.PATTERNS_EXTRAS, *movement.LIST_EXTRAS),
)

AGENT_COST: Final = record(
    {
        "agent_id": text("`unknown` for the runs of no agent."),
        "current_cost_usd": number("Mean cost per run of the current day, US dollars."),
        "baseline_avg_usd": nullable(_MONEY),
        "baseline_p95_usd": nullable(_MONEY),
        "z_score": number(),
        "is_anomaly": boolean(),
        "run_count": integer(minimum=1),
        "total_cost_usd": _MONEY,
        "baseline_run_count": integer(),
        **extras.AGENT_EXTRAS,
        **movement.ITEM_EXTRAS,
    },
    optional=(*extras.AGENT_EXTRAS, *movement.ITEM_EXTRAS),
)
COST_ANALYSIS: Final = record(
    {
        "window": record(
            {
                "current": text(examples=["last_24h"]),
                "baseline": text(examples=["7_day_average"]),
                "current_start": moment(),
                "current_end": moment(),
                "baseline_start": moment(),
                "baseline_end": moment(),
            },
            description="The two names of the specification, and the exact bounds.",
        ),
        "agents": array(named("AgentCost"), "By z_score, descending."),
        "total_anomalies": integer(),
        "total_cost_usd": _MONEY,
        "parameters": _PARAMETERS,
        "data_quality": record({"non_finite_costs": integer()}),
        **extras.COST_EXTRAS,
        **movement.LIST_EXTRAS,
        "snapshot": named("Snapshot"),
    },
    optional=(*extras.COST_EXTRAS, *movement.LIST_EXTRAS),
)

_SHARE: Final = number(minimum=0, maximum=1)
CONTRIBUTIONS: Final = record(
    dict.fromkeys(CATALOGUE["attention"].components, _SHARE),
    description="Per component; they sum to the score.",
)
ATTENTION_ITEM: Final = record(
    {
        "run_id": _RUN_ID,
        "attention_score": _SHARE,
        "reasons": array(text()),
        "state": nullable(text()),
        "status": nullable(text()),
        "started_at": nullable(moment()),
        "contributions": named("Contributions"),
        "rank": integer(minimum=1),
        "abandoned": boolean("LIVE, without a heartbeat for long."),
        **extras.ITEM_EXTRAS,
        **movement.ITEM_EXTRAS,
    },
    optional=(*extras.ITEM_EXTRAS, *movement.ITEM_EXTRAS),
)
ATTENTION_QUEUE: Final = record(
    {
        "queue": array(named("AttentionItem"), "By attention_score, descending."),
        "total_attention_items": integer("All runs that qualify, shown or not."),
        "abandoned_items": integer(),
        "weights_version": text(),
        "generated_at": moment("The instant that the scores were computed for."),
        "parameters": _PARAMETERS,
        **extras.QUEUE_EXTRAS,
        **movement.LIST_EXTRAS,
        "snapshot": named("Snapshot"),
    },
    optional=(*extras.QUEUE_EXTRAS, *movement.LIST_EXTRAS),
)

STATUS_SUMMARY: Final = record(
    {
        "tenant_id": text(),
        "window": record({"started_after": nullable(moment()), "started_before": nullable(moment())}),
        "summary": {
            **record({}, closed=False, description="COMPLETED runs per status; the four usual ones always."),
            "additionalProperties": integer(),
        },
        "near_threshold_count": integer("Those at NEAR_THRESHOLD or AT_RISK."),
        "total": integer(),
    }
)
DIMENSION_COUNTS: Final = record(
    {
        "dimension": one_of(sorted(ALLOWED_DIMENSIONS)),
        "state": one_of(STATES),
        "buckets": array(record({"key": text(), "count": integer(minimum=1)}), maxItems=SHOWN_BUCKETS),
        "total_runs": integer("All runs in scope, shown or not."),
        "other_runs": integer(),
    }
)

RUN: Final = record(
    {
        "run_id": _RUN_ID,
        "tenant_id": text(),
        "project_id": nullable(text()),
        "agent_id": nullable(text()),
        "is_synthetic": nullable(boolean()),
        "source": nullable(text()),
        "provider_type": nullable(text()),
        "state": nullable(text()),
        "status": nullable(text()),
        "started_at": nullable(moment()),
        "last_seen_at": nullable(moment()),
        "completed_at": nullable(moment()),
        "duration_ms": nullable(number()),
        **{name: nullable(text()) for name, known in REPEATABLE.items() if known},
        "incident_count": nullable({"type": "integer"}),
        "policy_draft_count": nullable({"type": "integer"}),
        "policy_violation": nullable(boolean()),
        "input_tokens": nullable({"type": "integer"}),
        "output_tokens": nullable({"type": "integer"}),
        "estimated_cost_usd": nullable(_MONEY),
    },
    description="A run as its writer left it; what nobody wrote is null.",
)
RUN_LIST: Final = record(
    {
        "items": array(named("Run")),
        "has_more": boolean(),
        "next_cursor": nullable(text("Opaque; of these filters, this sort and this order alone.")),
        "filters_applied": record({}, closed=False),
    }
)

FRESHNESS: Final = record(
    {
        "signals": array(
            record(
                {
                    "signal": one_of(SIGNALS),
                    "as_of": nullable(moment()),
                    "verified_at": nullable(moment()),
                    "age_s": nullable(number("Since verified_at, seconds.", minimum=0)),
                    "stale_after": nullable(moment()),
                    "next_refresh_at": nullable(moment()),
                    "rule_version": nullable(text()),
                    "stale": boolean(),
                    "failing": boolean(
                        "The tenant's data breaks this signal, which is tried again less and less often."
                    ),
                    "last_attempt": {
                        "anyOf": [
                            record(
                                {
                                    "state": one_of(("succeeded", "failed")),
                                    "error_class": nullable(text()),
                                    "finished_at": moment(),
                                }
                            ),
                            {"type": "null"},
                        ]
                    },
                },
                description="null where the signal was never computed for this tenant's slot.",
            ),
            minItems=len(SIGNALS),
            maxItems=len(SIGNALS),
        )
    }
)

_TEMPLATE: Final = "A threshold's name in braces stands for its value in the body's parameters."
_KIND_OF_VALUE: Final = ("integer", "number", "boolean")
SIGNAL: Final = record(
    {
        "name": text("The name that other answers give the signal."),
        "title": text(),
        "finds": text("The items of the signal, as a noun phrase."),
        "explanation": text(f"The rule in plain words. {_TEMPLATE}"),
        "capability": text("The capability that reading it needs."),
        "item_list": text("The body's member that holds the items."),
        "item_key": array(text(), "The members that identify an item.", minItems=1),
        "severity": nullable(text("The column that an item rises and falls by; null for a built-in signal.")),
        "period_s": integer("Default seconds between refreshes.", minimum=1),
        "route": text("The path that serves the signal."),
        "columns": array(
            record(
                {
                    "name": text(),
                    "type": one_of(("text", "integer", "number", "boolean", "timestamp")),
                    "unit": text("Empty for a value without a unit."),
                    "description": text(),
                }
            ),
            "The members of an item; empty where the body has a schema of its own.",
        ),
        "thresholds": array(
            record(
                {
                    "name": text(),
                    "type": one_of(_KIND_OF_VALUE),
                    "default": {"type": list(_KIND_OF_VALUE)},
                    "unit": text(),
                    "description": text(),
                    "extra": boolean("Stated in the body's extra_parameters, else in its parameters."),
                }
            ),
            "The settings of the signal. The value in force is in the body.",
        ),
        "components": array(
            record(
                {
                    "name": text(),
                    "title": text(),
                    "code": text("Two letters.", minLength=2, maxLength=2),
                    "levels": array(
                        record(
                            {
                                "score": number(minimum=0, maximum=1),
                                "value": text("The run's value."),
                                "title": text(),
                            }
                        ),
                        "Highest first; empty for a continuous score.",
                    ),
                }
            ),
            "The parts of a score: each contributes its weight times the score of the level.",
        ),
        "kinds": array(
            record({"name": text(), "title": text(), "rule": text(_TEMPLATE)}),
            "The kinds of items, where they differ in kind.",
        ),
    }
)
SIGNAL_LIST: Final = record({"signals": array(named("Signal"))})

PROBLEM: Final = record(
    {
        "type": text(),
        "title": text(),
        "status": integer(minimum=400, maximum=599),
        "detail": text("What is wrong, and what was expected."),
        "instance": text("The path of the request."),
        "error": text("A stable code."),
    },
    closed=False,
    description="RFC 9457; some codes add members, such as `parameter` and `expected`.",
)

SCHEMAS: Final[dict[str, Schema]] = {
    **movement.SCHEMAS,
    "Snapshot": SNAPSHOT,
    **extras.SCHEMAS,
    "PatternRun": PATTERN_RUN,
    "Pattern": PATTERN,
    "Patterns": PATTERNS,
    "AgentCost": AGENT_COST,
    "CostAnalysis": COST_ANALYSIS,
    "AttentionItem": ATTENTION_ITEM,
    "AttentionQueue": ATTENTION_QUEUE,
    "StatusSummary": STATUS_SUMMARY,
    "DimensionCounts": DIMENSION_COUNTS,
    "Run": RUN,
    "RunList": RUN_LIST,
    "RunDetail": RUN_DETAIL,
    "RunSignals": RUN_SIGNALS,
    "Trace": TRACE,
    "Step": STEP,
    "Contributions": CONTRIBUTIONS,
    "Freshness": FRESHNESS,
    "Signal": SIGNAL,
    "SignalList": SIGNAL_LIST,
    "Session": SESSION,
    "Problem": PROBLEM,
    **plain.SCHEMAS,
}
