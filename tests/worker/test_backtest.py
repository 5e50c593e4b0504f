"""A rule replayed with other thresholds: over the source, beside what was published, and what people said of it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import insert, text

from snapshots.errors import SettingsError
from snapshots.settings import load
from snapshots.triage import triage_event
from tests.factories import AS_OF, TENANT, insert_run, insert_step, insert_trace
from worker.backtest import Judgement, Rule, decisions, instants, judged, replay, with_thresholds

if TYPE_CHECKING:
    from sqlalchemy import Connection

_HOUR = timedelta(hours=1)
SETTINGS = load()


def _loop(conn: Connection, run_id: str, skill: str, uses: int) -> None:
    trace = insert_trace(conn, run_id=run_id, started_at=AS_OF - 2 * _HOUR)
    for position in range(uses):
        insert_step(conn, trace, 2 * position, skill_id=skill)
        insert_step(conn, trace, 2 * position + 1, skill_id=f"{skill}-{position}")


def test_each_instant_says_what_either_set_of_thresholds_flags(conn: Connection) -> None:
    _loop(conn, "run-1", "often", 5)
    _loop(conn, "run-2", "seldom", 3)
    candidate = with_thresholds(SETTINGS, "patterns", {"loop_min_uses": "4"})
    moments = [AS_OF - 3 * _HOUR, AS_OF]

    before, after = replay(conn, Rule("patterns", TENANT), moments, SETTINGS, candidate)

    assert not before.current | before.candidate
    assert before.stored is None
    assert after.current == {("tool_call_loop", "often"), ("tool_call_loop", "seldom")}
    assert after.candidate == {("tool_call_loop", "often")}


def test_what_was_published_then_is_read_from_the_kept_versions(conn: Connection) -> None:
    kept = text(
        "insert into signals.snapshot_history (tenant_id, signal, version, content, as_of, computed_at, rule_version,"
        " replaced_at) values (:tenant, 'cost', 1, :content, :as_of, :as_of, '1.0', :replaced_at)"
    )
    content = '{"agents":[{"agent_id":"a","is_anomaly":true},{"agent_id":"b","is_anomaly":false}]}'
    conn.execute(kept, {"tenant": TENANT, "content": content, "as_of": AS_OF - 2 * _HOUR, "replaced_at": AS_OF - _HOUR})
    moments = instants(AS_OF - 3 * _HOUR, AS_OF, _HOUR)

    found = list(replay(conn, Rule("cost", TENANT), moments, SETTINGS, SETTINGS))

    assert [each.stored for each in found] == [None, {("a",)}, None, None]


def test_the_robust_verdict_can_be_replayed_too(conn: Connection) -> None:
    for number in range(30):
        past = AS_OF - timedelta(days=3)
        insert_run(conn, agent_id="a", started_at=past, completed_at=past, estimated_cost_usd=1 + number / 100)
    insert_run(conn, agent_id="a", estimated_cost_usd=1.9, started_at=AS_OF)
    candidate = with_thresholds(SETTINGS, "cost", {"min_effect_usd": "5"})

    (found,) = replay(conn, Rule("cost", TENANT, is_robust=True), [AS_OF], SETTINGS, candidate)

    assert found.current == {("a",)}
    assert not found.candidate


def test_precision_is_measured_by_what_people_last_said(conn: Connection) -> None:
    said = [("a", "acknowledge"), ("b", "expect"), ("c", "expect"), ("c", "acknowledge"), ("d", "snooze")]
    for agent, action in said:
        until = None if action == "acknowledge" else AS_OF
        conn.execute(
            insert(triage_event).values(
                tenant_id=TENANT,
                signal="cost",
                fingerprint=agent,
                key={"agent_id": agent},
                action=action,
                until=until,
                reason="known" if action == "expect" else None,
                actor="someone",
            )
        )

    decided = decisions(conn, Rule("cost", TENANT))
    judgement = judged(frozenset({("a",), ("b",), ("c",), ("d",), ("e",)}), decided)

    assert judgement == Judgement(5, 2, 1)
    assert judgement.precision == pytest.approx(2 / 3)
    assert judged(frozenset(), decided).precision is None


@pytest.mark.parametrize(
    ("signal", "values", "message"),
    [
        ("patterns", {"z_threshold": "3"}, "patterns has no threshold 'z_threshold'; expected one of"),
        ("cost", {"z_threshold": "high"}, "ACTIVITY_COST_Z_THRESHOLD"),
        ("cost", {"z_threshold": "-1"}, "ACTIVITY_COST_Z_THRESHOLD"),
        ("attention", {"hide_abandoned": "maybe"}, "expected true or false"),
    ],
)
def test_a_wrong_threshold_is_named(signal: str, values: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        with_thresholds(SETTINGS, signal, values)


def test_a_stretch_of_time_is_bounded() -> None:
    assert len(instants(AS_OF, AS_OF + timedelta(hours=399), _HOUR)) == 400
    with pytest.raises(SettingsError, match="401 instants; expected 400 at most"):
        instants(AS_OF, AS_OF + timedelta(hours=400), _HOUR)
    with pytest.raises(SettingsError, match="is before --from"):
        instants(AS_OF, AS_OF - _HOUR, _HOUR)
