"""An example of each body, held against its schema by a test."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from api.openapi import plain
from snapshots.signals import SIGNALS

_AT: Final = "2026-01-17T12:00:00.000000Z"
_DAY_BEFORE: Final = "2026-01-16T12:00:00.000000Z"
_SNAPSHOT: Final = {
    "as_of": _AT,
    "computed_at": "2026-01-17T11:58:00.000000Z",
    "version": 7,
    "rule_version": "1.0",
    "stale_after": "2026-01-17T12:02:30.000000Z",
    "next_refresh_at": "2026-01-17T12:01:00.000000Z",
    "verified_at": _AT,
}
_FINGERPRINT: Final = "3f2a9c0d5be14786a1c0de99b7f05d42"
_TRIAGE: Final = {
    "state": "snoozed",
    "until": "2026-01-17T13:00:00.000000Z",
    "reason": None,
    "comment": "being repaired",
    "actor": "on-call (k_3f2a9c)",
    "at": _AT,
}
_RUN: Final = {
    "run_id": "run_7f3a",
    "tenant_id": "acme",
    "project_id": "checkout",
    "agent_id": "agent_12",
    "is_synthetic": False,
    "source": "sdk",
    "provider_type": "anthropic",
    "state": "COMPLETED",
    "status": "succeeded",
    "started_at": _DAY_BEFORE,
    "last_seen_at": _AT,
    "completed_at": _AT,
    "duration_ms": 41250.5,
    "risk_level": "NEAR_THRESHOLD",
    "latency_bucket": "SLOW",
    "evidence_health": "FLOWING",
    "integrity_status": "VERIFIED",
    "incident_count": 0,
    "policy_draft_count": 0,
    "policy_violation": False,
    "input_tokens": 18230,
    "output_tokens": 912,
    "estimated_cost_usd": 0.0412,
}

_LOOP: Final = {
    "cycle": {"period": 2, "repeats": 4, "skills": ["search", "read"]},
    "density": 0.5714,
    "outcome_stable": True,
    "after_error": False,
    "wasted_ms": 9300,
    "wasted_cost_usd": 0.0045,
    "share_of_run": 0.3333,
    "evidence_basis": "skill_name_only",
}

BODIES: Final[dict[str, Any]] = {
    "Session": {"tenant_id": "acme", "capabilities": ["activity.attention_queue"], "valid_until": None},
    "Patterns": {
        "window": {"start": _DAY_BEFORE, "end": _AT},
        "patterns": [
            {
                "pattern_type": "tool_call_loop",
                "run_ids": ["run_7f3a"],
                "count": 1,
                "confidence": 0.82,
                "details": {"skill_id": "search", "loop_depth": 5},
                "runs": [{"run_id": "run_7f3a", "loop_depth": 5, **_LOOP}],
                **_LOOP,
            }
        ],
        "parameters": {"window_hours": 24, "loop_min_uses": 3},
        "confidence_version": "1.0",
        "data_quality": {"non_finite_durations": 0},
        "by_skill": [
            {
                "skill_id": "search",
                "pattern_types": ["tool_call_loop"],
                "run_count": 40,
                "run_ids": ["run_7f3a"],
                "wasted_ms": 371000,
                "wasted_cost_usd": 0.18,
            }
        ],
        "extra_parameters": {"extras_version": "1.0", "cycle_max_steps": 2000},
        "snapshot": _SNAPSHOT,
    },
    "CostAnalysis": {
        "window": {
            "current": "last_24h",
            "baseline": "7_day_average",
            "current_start": _DAY_BEFORE,
            "current_end": _AT,
            "baseline_start": "2026-01-10T12:00:00.000000Z",
            "baseline_end": _DAY_BEFORE,
        },
        "agents": [
            {
                "agent_id": "agent_12",
                "current_cost_usd": 0.31,
                "baseline_avg_usd": 0.12,
                "baseline_p95_usd": 0.2,
                "z_score": 3.8,
                "is_anomaly": True,
                "run_count": 40,
                "total_cost_usd": 12.4,
                "baseline_run_count": 260,
                "robust": {
                    "method": "log_median_mad",
                    "n_baseline": 260,
                    "n_current": 40,
                    "zero_cost_runs": 0,
                    "median_usd": 0.11,
                    "mad_usd": 0.07,
                    "ratio": 2.4,
                    "effect_usd": 6.16,
                    "score": 6.1,
                    "verdict": "anomaly",
                    "reason": "costlier",
                },
                "spike_runs": [{"run_id": "run_7f3a", "cost_usd": 3.2, "ratio": 29.0909}],
                "volume_ratio": 1.1,
                "peer": None,
            }
        ],
        "total_anomalies": 1,
        "total_cost_usd": 12.4,
        "parameters": {"z_threshold": 2},
        "data_quality": {"non_finite_costs": 0},
        "savers": [],
        "silent_agents": [{"agent_id": "agent_3", "baseline_runs": 96, "last_run_at": "2026-01-15T08:30:00.000000Z"}],
        "expected_false_flags": {"spec": 0.09, "robust": 0.0005},
        "extra_parameters": {"extras_version": "1.0", "robust_score": 3.5},
        "snapshot": _SNAPSHOT,
    },
    "AttentionQueue": {
        "queue": [
            {
                "run_id": "run_7f3a",
                "attention_score": 0.7,
                "reasons": ["risk_violated"],
                "state": "LIVE",
                "status": "running",
                "started_at": _DAY_BEFORE,
                "contributions": {"risk": 0.35, "impact": 0.2, "latency": 0.1, "recency": 0.05, "evidence": 0},
                "rank": 1,
                "abandoned": False,
                "links": {
                    "patterns": [{"pattern_type": "tool_call_loop", "skill_id": "search"}],
                    "cost": {"agent_id": "agent_12", "is_anomaly": True, "robust_verdict": "anomaly"},
                },
            }
        ],
        "total_attention_items": 1,
        "abandoned_items": 0,
        "weights_version": "1.0",
        "generated_at": _AT,
        "parameters": {"hide_abandoned": False},
        "links_as_of": {"patterns": _AT, "cost": _AT},
        "snapshot": _SNAPSHOT,
    },
    "ChangeList": {
        "changes": [
            {
                "cursor": "WyI1ZjEiLCI5YyIsMTJd",
                "at": _AT,
                "signal": "attention",
                "kind": "worsened",
                "fingerprint": _FINGERPRINT,
                "key": {"run_id": "run_7f3a"},
                "rank": 1,
                "previous_rank": 4,
                "value": 0.7,
                "previous_value": 0.42,
            }
        ],
        "next_cursor": "WyI1ZjEiLCI5YyIsMTJd",
        "has_more": False,
    },
    "History": {
        "signal": "attention",
        "key": _FINGERPRINT,
        "points": [{"at": _DAY_BEFORE, "value": 0.42, "rank": 4}, {"at": _AT, "value": 0.7, "rank": 1}],
    },
    "Explanation": {
        "fingerprint": _FINGERPRINT,
        "signal": "attention",
        "key": {"run_id": "run_7f3a"},
        "finds": "runs that ask for a person's attention",
        "present": True,
        "first_seen_at": _DAY_BEFORE,
        "left_at": None,
        "snapshot": {"as_of": _AT, "version": 7, "rule_version": "1.0"},
        "inputs": {"risk": "VIOLATED", "impact": "none", "latency": "SLOW", "evidence": "none"},
        "thresholds": {"weights": {"risk": 0.35, "impact": 0.25, "latency": 0.15, "recency": 0.15, "evidence": 0.1}},
        "arithmetic": ["risk: 0.35 x 1 (VIOLATED) = 0.35", "latency: 0.15 x 0.5 (SLOW) = 0.075"],
        "evidence": [{"run_id": "run_7f3a", "rank": 1, "reasons": ["risk", "latency"]}],
        "value": 0.425,
        "source": {"checked_at": _AT, "agrees": True, "differences": []},
    },
    "Decision": {"fingerprint": _FINGERPRINT, "action": "snooze", "minutes": 60, "comment": "being repaired"},
    "Decided": {"triage": _TRIAGE},
    "TriageHistory": {
        "fingerprint": _FINGERPRINT,
        "triage": _TRIAGE,
        "events": [
            {
                "action": "snooze",
                "until": "2026-01-17T13:00:00.000000Z",
                "reason": None,
                "comment": "being repaired",
                "actor": "on-call (k_3f2a9c)",
                "at": _AT,
            }
        ],
    },
    "StatusSummary": {
        "tenant_id": "acme",
        "window": {"started_after": None, "started_before": None},
        "summary": {"succeeded": 1200, "failed": 104, "aborted": 0, "retry": 0},
        "near_threshold_count": 31,
        "total": 1304,
    },
    "DimensionCounts": {
        "dimension": "source",
        "state": "LIVE",
        "buckets": [{"key": "sdk", "count": 12}],
        "total_runs": 12,
        "other_runs": 0,
    },
    "RunList": {
        "items": [_RUN],
        "has_more": False,
        "next_cursor": None,
        "filters_applied": {"risk_level": ["NEAR_THRESHOLD"]},
    },
    "RunDetail": {
        "run": _RUN,
        "traces": [{"trace_id": "tr_1", "started_at": _DAY_BEFORE, "step_count": 1}],
        "traces_total": 1,
        "steps": [
            {
                "trace_id": "tr_1",
                "step_index": 0,
                "skill_id": "search",
                "skill_name": "Search",
                "status": "ok",
                "outcome_category": None,
                "outcome_code": None,
                "duration_ms": 6200.5,
                "retry_count": 0,
                "cost_cents": 0.12,
                "timestamp": _DAY_BEFORE,
                "is_slow": True,
            }
        ],
        "has_more": False,
        "next_cursor": None,
        "signals": {
            "patterns": [{"pattern_type": "tool_call_loop", "rank": 1, "skill_id": "search", "loop_depth": 5}],
            "attention": None,
            "cost": None,
            "as_of": {"patterns": _AT},
        },
        "signals_withheld": ["attention", "cost"],
    },
    "SignalList": {
        "signals": [
            {
                "name": "agent_failures",
                "title": "Agents that fail more often",
                "finds": "agents whose runs fail more often than before",
                "explanation": "Lists agents with at least {min_runs} runs whose failure rate rose.",
                "capability": "activity.agent_failures",
                "item_list": "agents",
                "item_key": ["agent_id"],
                "severity": "failure_rate",
                "period_s": 300,
                "route": "/api/v1/activity/agent-failures",
                "columns": [
                    {"name": "agent_id", "type": "text", "unit": "", "description": "The agent"},
                    {
                        "name": "failure_rate",
                        "type": "number",
                        "unit": "percent",
                        "description": "Failed runs of the last 24 hours",
                    },
                ],
                "thresholds": [
                    {
                        "name": "min_runs",
                        "type": "integer",
                        "default": 10,
                        "unit": "runs",
                        "description": "Minimum runs of an agent",
                        "extra": False,
                    }
                ],
                "components": [],
                "kinds": [],
            }
        ]
    },
    "Freshness": {
        "signals": [
            {
                "signal": signal,
                "as_of": _AT,
                "verified_at": _AT,
                "age_s": 12.5,
                "stale_after": "2026-01-17T12:02:30.000000Z",
                "next_refresh_at": "2026-01-17T12:01:00.000000Z",
                "rule_version": "1.0",
                "stale": False,
                "failing": False,
                "last_attempt": {"state": "succeeded", "error_class": None, "finished_at": _AT},
            }
            for signal in SIGNALS
        ]
    },
    **plain.examples(_SNAPSHOT),
}


def problem(status: int, code: str) -> dict[str, Any]:
    """Return an example of an error."""
    return {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": "What is wrong, and what was expected.",
        "instance": "/api/v1/activity/patterns",
        "error": code,
    }
