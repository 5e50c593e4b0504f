"""The contents that are published: shapes, numbers, order, and what moves their basis."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, select

from snapshots.body import slice_items
from snapshots.errors import UnknownSignalError
from snapshots.items import ITEMS
from snapshots.settings import load
from tests.factories import AS_OF, TENANT, insert_run, insert_step, insert_trace
from worker.engine.compute import preview, stage_signal
from worker.engine.stage import stage_content
from worker.signals.registry import SIGNALS

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

    from snapshots.settings import Settings

_DAY = timedelta(days=1)


def _staged(
    conn: Connection,
    signal: str,
    settings: Settings,
    *,
    after: timedelta = timedelta(0),
    tenants: list[str] | None = None,
) -> dict[str, Row[Any]]:
    stage_signal(conn, SIGNALS[signal], settings, AS_OF + after, tenants)
    return {row.tenant_id: row for row in conn.execute(select(stage_content))}


def _content(conn: Connection, signal: str, settings: Settings, tenant: str = TENANT) -> dict[str, Any]:
    return dict(json.loads(_staged(conn, signal, settings)[tenant].content))


def _steps(conn: Connection, run_id: str, *steps: dict[str, Any], tenant_id: str = TENANT) -> None:
    trace_id = insert_trace(conn, run_id=run_id, tenant_id=tenant_id)
    for position, step in enumerate(steps):
        insert_step(conn, trace_id, position, **{"skill_id": f"skill-{position}", **step})


def test_a_tenant_without_findings_is_served_the_specs_empty_shapes(conn: Connection, defaults: Settings) -> None:
    patterns, cost, attention = (_content(conn, signal, defaults, "") for signal in ("patterns", "cost", "attention"))

    assert patterns["patterns"] == []
    assert (cost["agents"], cost["total_anomalies"], cost["total_cost_usd"]) == ([], 0, 0)
    assert (attention["queue"], attention["total_attention_items"]) == ([], 0)
    assert attention["generated_at"] == "2026-01-17T12:00:00.000000Z"


def test_the_specs_retry_loop_has_its_confidence(conn: Connection, bare: Settings) -> None:
    """A mean of 4.5 retries over two runs gives 0.95 (docs/specification-notes.md#confidence)."""
    _steps(conn, "run_abc", {"retry_count": 3}, {"retry_count": 2})
    _steps(conn, "run_def", {"retry_count": 4})

    assert _content(conn, "patterns", bare)["patterns"] == [
        {
            "pattern_type": "retry_loop",
            "run_ids": ["run_abc", "run_def"],
            "count": 2,
            "confidence": 0.95,
            "details": {"avg_retries": 4.5, "retrying_steps": 2, "max_step_retries": 3},
            "runs": [
                {"run_id": "run_abc", "retry_count": 2, "max_step_retries": 3, "total_retries": 5},
                {"run_id": "run_def", "retry_count": 1, "max_step_retries": 4, "total_retries": 4},
            ],
        }
    ]


def test_the_specs_tool_call_loop_has_its_confidence(conn: Connection, bare: Settings) -> None:
    """A depth of 5 gives 0.82 (docs/specification-notes.md#confidence)."""
    other = ({"skill_id": f"other-{n}"} for n in range(5))
    _steps(conn, "run_xyz", *(step for pair in other for step in ({"skill_id": "llm_invoke_v2"}, pair)))

    (entry,) = _content(conn, "patterns", bare)["patterns"]

    assert entry == {
        "pattern_type": "tool_call_loop",
        "run_ids": ["run_xyz"],
        "count": 1,
        "confidence": 0.82,
        "details": {"skill_id": "llm_invoke_v2", "loop_depth": 5},
        "runs": [{"run_id": "run_xyz", "loop_depth": 5}],
    }


@pytest.mark.parametrize(
    ("pattern", "steps", "confidence"),
    [
        ("retry_loop", [{"retry_count": 3}], 0.8),
        ("retry_loop", [{"retry_count": 9}], 0.99),
        ("step_oscillation", [{"skill_id": "a"}] * 4, 0.6),
        ("step_oscillation", [{"skill_id": "a"}] * 9, 0.95),
        ("tool_call_loop", [{"skill_id": "a"}] * 3, 0.7),
        ("timeout_cascade", [{"duration_ms": 6000.0}] * 2, 0.6),
        ("timeout_cascade", [{"duration_ms": 6000.0}] * 3, 0.75),
        ("timeout_cascade", [{"duration_ms": 6000.0}] * 8, 0.95),
    ],
)
def test_confidence_grows_with_the_evidence_up_to_a_ceiling(
    conn: Connection, defaults: Settings, pattern: str, steps: list[dict[str, Any]], confidence: float
) -> None:
    _steps(conn, "run-1", *steps)

    entries = {entry["pattern_type"]: entry for entry in _content(conn, "patterns", defaults)["patterns"]}

    assert entries[pattern]["confidence"] == confidence


def test_confidence_stays_within_its_bounds_under_other_thresholds(conn: Connection) -> None:
    _steps(conn, "run-1", *([{"skill_id": "a"}] * 40), {"retry_count": 1})

    content = _content(conn, "patterns", load(loop_window_steps=40, retry_min_total=1))

    assert {entry["pattern_type"]: entry["confidence"] for entry in content["patterns"]} == {
        "retry_loop": 0.6,
        "step_oscillation": 0.95,
        "tool_call_loop": 0.99,
    }


def test_entries_follow_the_specs_patterns_then_their_strongest_run(conn: Connection, defaults: Settings) -> None:
    _steps(conn, "run-1", *([{"skill_id": "b", "duration_ms": 6000.0}] * 4))
    _steps(conn, "run-2", *([{"skill_id": "a", "retry_count": 1}] * 6))

    entries = _content(conn, "patterns", defaults)["patterns"]

    assert [(entry["pattern_type"], entry["details"].get("skill_id")) for entry in entries] == [
        ("retry_loop", None),
        ("step_oscillation", "a"),
        ("step_oscillation", "b"),
        ("tool_call_loop", "a"),
        ("tool_call_loop", "b"),
        ("timeout_cascade", None),
    ]


def test_averages_are_means_over_the_runs_with_four_decimals(conn: Connection, defaults: Settings) -> None:
    _steps(conn, "run-1", *({"duration_ms": ms} for ms in (6000.0, 6000.5, 6001.5)))
    _steps(conn, "run-2", *({"duration_ms": ms} for ms in (7000.0, 8000.0)))

    (entry,) = _content(conn, "patterns", defaults)["patterns"]

    assert entry["details"] == {"slow_step_count": 3, "avg_duration_ms": 6750.3333}
    assert [run["avg_duration_ms"] for run in entry["runs"]] == [6000.6667, 7500]


def test_durations_that_are_not_finite_are_counted(conn: Connection, defaults: Settings) -> None:
    _steps(conn, "run-1", *({"duration_ms": ms} for ms in (float("nan"), float("inf"), float("-inf"))))

    content = _content(conn, "patterns", defaults)

    assert content["patterns"] == []
    assert content["data_quality"] == {"non_finite_durations": 3}


def test_costs_that_are_not_finite_are_counted(conn: Connection, defaults: Settings) -> None:
    old = {"started_at": AS_OF - 3 * _DAY, "completed_at": AS_OF - 3 * _DAY}
    for cost in ("NaN", "Infinity", "-Infinity"):
        insert_run(conn, estimated_cost_usd=cost)
        insert_run(conn, estimated_cost_usd=cost, tenant_id="beta", **old)
        insert_run(conn, estimated_cost_usd=cost, tenant_id="gamma", **dict.fromkeys(old, AS_OF - 9 * _DAY))

    staged = _staged(conn, "cost", defaults)

    assert staged.keys() == {"", TENANT, "beta"}
    for tenant in (TENANT, "beta"):
        content = json.loads(staged[tenant].content)
        assert (content["agents"], content["data_quality"]) == ([], {"non_finite_costs": 3})


def test_cost_has_the_specs_members_and_rounds_money_once(conn: Connection, bare: Settings) -> None:
    old = {"started_at": AS_OF - 3 * _DAY, "completed_at": AS_OF - 3 * _DAY}
    for cost in ("1", "2", "4"):
        insert_run(conn, estimated_cost_usd=cost, agent_id="a", **old)
    for cost in ("10.000000002", "10.000000002", "20.5"):
        insert_run(conn, estimated_cost_usd=cost, agent_id="a")
    insert_run(conn, estimated_cost_usd="0.000000004", agent_id="b")

    content = _content(conn, "cost", bare)

    first = {"agent_id": "a", "current_cost_usd": 13.5, "baseline_avg_usd": 2.33333333, "baseline_p95_usd": 3.8}
    assert content["agents"][0] == {
        **first,
        "z_score": 7.3103,
        "is_anomaly": True,
        "run_count": 3,
        "total_cost_usd": 40.5,
        "baseline_run_count": 3,
    }
    assert content["agents"][1]["baseline_avg_usd"] is None
    assert content["agents"][1]["is_anomaly"] is False
    assert (content["total_anomalies"], content["total_cost_usd"]) == (1, 40.50000001)


def test_contributions_add_up_to_the_score(conn: Connection, defaults: Settings) -> None:
    insert_run(
        conn,
        risk_level="AT_RISK",
        latency_bucket="SLOW",
        evidence_health="DEGRADED",
        policy_violation=True,
        started_at=AS_OF - _DAY / 3,
        completed_at=AS_OF,
    )

    (item,) = _content(conn, "attention", defaults)["queue"]

    assert item["contributions"] == {
        "risk": 0.28,
        "impact": 0.2,
        "latency": 0.075,
        "recency": 0.1,
        "evidence": 0.05,
    }
    assert item["attention_score"] == pytest.approx(sum(item["contributions"].values()), abs=1e-6)
    assert item["reasons"] == ["risk", "latency", "evidence", "impact"]
    assert (item["rank"], item["abandoned"], item["started_at"]) == (1, False, "2026-01-17T04:00:00.000000Z")


def test_the_queue_can_be_sliced_by_bytes_to_every_limit(conn: Connection, defaults: Settings) -> None:
    for number in range(25):
        insert_run(conn, id=f'run "{number:02}" é', risk_level="VIOLATED", completed_at=AS_OF)

    row = _staged(conn, "attention", defaults)[TENANT]

    for limit in (1, 20, 24, 25, 100):
        sliced = json.loads(slice_items(row.content, row.items, limit))
        assert [item["rank"] for item in sliced["queue"]] == list(range(1, min(limit, 25) + 1))
        assert sliced["total_attention_items"] == 25


def test_abandoned_runs_are_counted_and_can_be_hidden(conn: Connection, defaults: Settings) -> None:
    insert_run(conn, state="LIVE", risk_level="AT_RISK", last_seen_at=AS_OF - 2 * _DAY)
    insert_run(conn, state="LIVE", risk_level="AT_RISK", last_seen_at=None, started_at=AS_OF - 2 * _DAY)
    insert_run(conn, state="LIVE", risk_level="AT_RISK", last_seen_at=AS_OF, tenant_id="beta")

    shown = _content(conn, "attention", defaults)
    hidden = _content(conn, "attention", load(hide_abandoned=True))

    assert (len(shown["queue"]), shown["total_attention_items"], shown["abandoned_items"]) == (2, 2, 2)
    assert (len(hidden["queue"]), hidden["total_attention_items"], hidden["abandoned_items"]) == (0, 0, 2)


def test_an_infinite_start_prints_as_null(host: Connection, defaults: Settings) -> None:
    insert_run(host, risk_level="VIOLATED", started_at="-infinity", completed_at=AS_OF)
    insert_run(host, risk_level="VIOLATED", started_at="infinity", completed_at=AS_OF, tenant_id="beta")

    staged = _staged(host, "attention", defaults)

    assert staged.keys() == {"", TENANT}
    assert [item["started_at"] for item in json.loads(staged[TENANT].content)["queue"]] == [None]


def test_the_clock_alone_moves_the_queue_and_not_its_basis(conn: Connection, defaults: Settings) -> None:
    insert_run(conn, id="run-a", risk_level="VIOLATED", completed_at=AS_OF, last_seen_at=AS_OF)

    before = _staged(conn, "attention", defaults)[TENANT]
    later = _staged(conn, "attention", defaults, after=timedelta(hours=1))[TENANT]
    insert_run(conn, id="run-b", latency_bucket="SLOW", completed_at=AS_OF)
    joined = _staged(conn, "attention", defaults, after=timedelta(hours=1))[TENANT]

    assert before.content != later.content
    assert (before.basis, before.shape) == (later.basis, later.shape)
    assert joined.basis != later.basis
    assert joined.shape != later.shape


@pytest.mark.parametrize("signal", ["patterns", "cost"])
def test_unchanged_content_is_the_answer_of_a_later_window(conn: Connection, defaults: Settings, signal: str) -> None:
    _steps(conn, "run-1", {"retry_count": 3})
    insert_run(conn, estimated_cost_usd=1)

    before = _staged(conn, signal, defaults)[TENANT]
    later = _staged(conn, signal, defaults, after=timedelta(hours=1))[TENANT]

    assert (before.content, before.basis) == (later.content, later.basis)


def test_synthetic_rows_count_unless_the_deployment_excludes_them(conn: Connection, defaults: Settings) -> None:
    insert_run(conn, is_synthetic=True, risk_level="VIOLATED", completed_at=AS_OF, estimated_cost_usd=1)
    trace_id = insert_trace(conn, is_synthetic=True)
    insert_step(conn, trace_id, 0, retry_count=3)

    for signal in SIGNALS:
        assert TENANT in _staged(conn, signal, defaults)
        assert TENANT not in _staged(conn, signal, load(exclude_synthetic=True))


def test_a_refresh_of_some_tenants_stages_them_and_the_empty_content(conn: Connection, defaults: Settings) -> None:
    for tenant_id in (TENANT, "beta", "gamma", None, ""):
        insert_run(conn, tenant_id=tenant_id, risk_level="VIOLATED", completed_at=AS_OF, estimated_cost_usd=1)
    for tenant_id in (TENANT, "beta", "gamma", ""):
        _steps(conn, "run-1", {"retry_count": 3}, tenant_id=tenant_id)

    for signal in SIGNALS:
        everyone = _staged(conn, signal, defaults)
        some = _staged(conn, signal, defaults, tenants=[TENANT, "beta"])
        assert everyone.keys() == {"", TENANT, "beta", "gamma"}
        assert some == {tenant: row for tenant, row in everyone.items() if tenant != "gamma"}
        assert _staged(conn, signal, defaults, tenants=[]).keys() == {""}


def test_the_number_of_statements_does_not_grow_with_the_tenants(conn: Connection, defaults: Settings) -> None:
    counts = []
    for tenants in (1, 30):
        for number in range(tenants):
            insert_run(conn, tenant_id=f"t{number}", risk_level="VIOLATED", completed_at=AS_OF, estimated_cost_usd=1)
        statements: list[str] = []
        listener = (conn, "before_cursor_execute", lambda *args, seen=statements: seen.append(args[2]))
        event.listen(*listener)
        for signal in SIGNALS:
            _staged(conn, signal, defaults)
        event.remove(*listener)
        counts.append(len(statements))

    assert counts[0] == counts[1]


@pytest.mark.parametrize("signal", SIGNALS)
def test_the_stage_has_every_column_of_the_item_table(signal: str) -> None:
    assert set(ITEMS[signal].columns.keys()) <= set(SIGNALS[signal].item_stage.columns.keys())


@pytest.mark.parametrize("signal", SIGNALS)
def test_a_computed_body_is_the_content_between_window_and_an_absent_snapshot(
    conn: Connection, defaults: Settings, signal: str
) -> None:
    insert_run(conn, risk_level="VIOLATED", completed_at=AS_OF, estimated_cost_usd=1)
    _steps(conn, "run-1", {"retry_count": 3})
    content = _content(conn, signal, defaults)
    window = SIGNALS[signal].window_json(defaults, AS_OF)

    body = json.loads(preview(conn, signal, TENANT, defaults, AS_OF))

    assert body == {**({} if window is None else {"window": json.loads(window)}), **content, "snapshot": None}


def test_a_computed_body_of_a_tenant_without_findings_is_empty(conn: Connection, defaults: Settings) -> None:
    body = json.loads(preview(conn, "patterns", "nobody", defaults, AS_OF))

    assert body["patterns"] == []
    assert body["window"] == {"start": "2026-01-16T12:00:00.000000Z", "end": "2026-01-17T12:00:00.000000Z"}


def test_a_signal_that_does_not_exist_cannot_be_computed(conn: Connection, defaults: Settings) -> None:
    with pytest.raises(UnknownSignalError, match="'weather' does not exist"):
        preview(conn, "weather", TENANT, defaults, AS_OF)
