"""The body of one run: its steps, and what the signals say of it."""

from __future__ import annotations

from typing import Final

from api.openapi.shapes import array, boolean, integer, moment, named, nullable, number, one_of, record, text
from api.queries.run_detail import MAX_TRACES
from api.queries.run_signals import CAPABILITIES, PATTERN_TYPES

_WHOLE: Final = {"type": "integer"}
_COUNTS: Final = (
    "retry_count",
    "max_step_retries",
    "total_retries",
    "oscillation_count",
    "loop_depth",
    "slow_step_count",
)

TRACE: Final = record({"trace_id": text(), "started_at": nullable(moment()), "step_count": integer()})
STEP: Final = record(
    {
        "trace_id": text(),
        "step_index": nullable(_WHOLE),
        "skill_id": nullable(text()),
        "skill_name": nullable(text()),
        "status": nullable(text()),
        "outcome_category": nullable(text()),
        "outcome_code": nullable(text()),
        "duration_ms": nullable(number("Milliseconds.")),
        "retry_count": nullable(_WHOLE),
        "cost_cents": nullable(number("US cents.")),
        "timestamp": nullable(moment()),
        "is_slow": boolean("Above the threshold of slow steps."),
    }
)
RUN_SIGNALS: Final = record(
    {
        "patterns": nullable(
            array(
                record(
                    {
                        "pattern_type": one_of(PATTERN_TYPES),
                        "rank": integer("Among the tenant's rows of this pattern.", minimum=1),
                        "skill_id": nullable(text()),
                        **{name: integer() for name in _COUNTS},
                        "avg_duration_ms": number(),
                    },
                    optional=(*_COUNTS, "avg_duration_ms"),
                )
            )
        ),
        "attention": nullable(
            record(
                {
                    "rank": integer(minimum=1),
                    "attention_score": number(),
                    "contributions": named("Contributions"),
                    "reasons": array(text()),
                }
            )
        ),
        "cost": nullable(
            record(
                {
                    "agent_id": text(),
                    "rank": integer(minimum=1),
                    "z_score": number(),
                    "is_anomaly": boolean(),
                    "current_avg_cost": number("US dollars per run."),
                    "baseline_avg": nullable(number("US dollars per run.")),
                },
                description="Of the run's agent.",
            )
        ),
        "as_of": record(
            {name: nullable(moment()) for name in CAPABILITIES},
            optional=tuple(CAPABILITIES),
            description="The instant that each signal answers for.",
        ),
    },
    description="null for a signal that the run does not appear in, or that is withheld.",
)
RUN_DETAIL: Final = record(
    {
        "run": named("Run"),
        "traces": array(named("Trace"), maxItems=MAX_TRACES),
        "traces_total": integer(),
        "steps": array(named("Step"), "One page of the timeline."),
        "has_more": boolean(),
        "next_cursor": nullable(text("Opaque; of this run alone.")),
        "signals": named("RunSignals"),
        "signals_withheld": array(one_of(CAPABILITIES), "Signals that this credential may not read."),
    }
)
