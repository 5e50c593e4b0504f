"""Extra fields of the patterns (docs/specification-notes.md#extra-fields-on-patterns)."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select, text

from tests.factories import AS_OF, TENANT, insert_step, insert_trace
from worker.engine.compute import stage_signal
from worker.engine.stage import stage_content
from worker.signals.patterns.signal import CYCLE_MAX_STEPS
from worker.signals.registry import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from snapshots.settings import Settings

_FAILED: dict[str, Any] = {"status": "failed", "outcome_category": "FAILURE"}


def _content(conn: Connection, settings: Settings) -> dict[str, Any]:
    stage_signal(conn, SIGNALS["patterns"], settings, AS_OF)
    found = select(stage_content.c.content).where(stage_content.c.tenant_id == TENANT)
    return dict(json.loads(conn.execute(found).scalar_one()))


def _trace(conn: Connection, run_id: str, skills: Iterable[str | None], stride: int = 1, **step: Any) -> str:  # noqa: ANN401  # any column's value
    trace_id = insert_trace(conn, run_id=run_id)
    for position, skill in enumerate(skills):
        insert_step(conn, trace_id, position * stride, **{"skill_id": skill, **step})
    return trace_id


def _entries(conn: Connection, settings: Settings, pattern: str) -> dict[str | None, dict[str, Any]]:
    entries = _content(conn, settings)["patterns"]
    return {entry["details"].get("skill_id"): entry for entry in entries if entry["pattern_type"] == pattern}


@pytest.mark.parametrize(
    ("skills", "cycle"),
    [
        ("ABABAB", {"period": 2, "repeats": 3, "skills": ["A", "B"]}),
        ("ABABABA", {"period": 2, "repeats": 3, "skills": ["A", "B"]}),
        ("xABCABCABCy", {"period": 3, "repeats": 3, "skills": ["A", "B", "C"]}),
        ("ABABABABABABABAB", {"period": 2, "repeats": 8, "skills": ["A", "B"]}),
        ("AABBAABBAABB", {"period": 4, "repeats": 3, "skills": ["A", "A", "B", "B"]}),
        ("ABCDEABCDEABCDE", {"period": 5, "repeats": 3, "skills": ["A", "B", "C", "D", "E"]}),
        ("ABABAxBAB", None),
        ("AAAAAAAA", None),
        ("ABCDEFABCDEFABCDEF", None),
        ("ABxAByABz", None),
        ("ABABABxxACACACAC", {"period": 2, "repeats": 4, "skills": ["A", "C"]}),
    ],
)
def test_a_cycle_is_a_sequence_of_two_to_five_skills_three_times_in_a_row(
    conn: Connection, defaults: Settings, skills: str, cycle: dict[str, Any] | None
) -> None:
    _trace(conn, "run-1", skills)

    entry = _entries(conn, defaults, "tool_call_loop")["A"]

    assert entry["cycle"] == cycle
    assert entry["runs"][0]["cycle"] == cycle


def test_a_skill_outside_of_the_cycle_has_none_and_the_run_as_a_whole_has_it(
    conn: Connection, defaults: Settings
) -> None:
    _trace(conn, "run-1", "xxxABABAB", retry_count=1)

    assert _entries(conn, defaults, "tool_call_loop")["x"]["cycle"] is None
    assert _entries(conn, defaults, "retry_loop")[None]["cycle"]["skills"] == ["A", "B"]


def test_steps_without_a_skill_break_a_cycle(conn: Connection, defaults: Settings) -> None:
    _trace(conn, "run-1", ["A", None, "A", None, "A", None, "A"])

    assert _entries(conn, defaults, "tool_call_loop")["A"]["cycle"] is None


def test_density_tells_neighbours_from_uses_far_apart(conn: Connection, defaults: Settings) -> None:
    _trace(conn, "near", "AxAxA".replace("x", "b"))
    far = insert_trace(conn, run_id="far")
    for position in (0, 100, 200):
        insert_step(conn, far, position, skill_id="Z")

    entries = _entries(conn, defaults, "tool_call_loop")

    assert (entries["A"]["density"], entries["Z"]["density"]) == (0.6, 0.0149)


def test_outcomes_are_stable_when_status_and_code_are_shared(conn: Connection, defaults: Settings) -> None:
    _trace(conn, "same", "AAAA", outcome_code="E1")
    polled = insert_trace(conn, run_id="polled")
    for position, code in enumerate(["WAIT", "WAIT", "WAIT", "DONE"]):
        insert_step(conn, polled, position, skill_id="P", outcome_code=code)
    _trace(conn, "unknown", "UUUU", status="", outcome_code=None)

    entries = _entries(conn, defaults, "step_oscillation")

    assert [entries[skill]["outcome_stable"] for skill in "APU"] == [True, False, None]
    assert entries["U"]["after_error"] is None


def test_repeats_after_a_failure_are_told_from_others(conn: Connection, defaults: Settings) -> None:
    _trace(conn, "failing", "AAAA", **_FAILED)
    _trace(conn, "fine", "BBBB")
    apologetic = insert_trace(conn, run_id="apologetic")
    for position, skill in enumerate("CrCrCr"):
        insert_step(conn, apologetic, position, skill_id=skill, **(_FAILED if skill == "C" else {}))

    entries, loops = (_entries(conn, defaults, name) for name in ("step_oscillation", "tool_call_loop"))

    assert (entries["A"]["after_error"], entries["B"]["after_error"]) == (True, False)
    assert (loops["C"]["after_error"], loops["r"]["after_error"]) == (True, False)


def test_what_is_wasted_is_what_the_repeats_took(conn: Connection, defaults: Settings) -> None:
    trace = insert_trace(conn, run_id="run-1")
    for position, (skill, ms, cents) in enumerate(
        [("A", 1000.0, 7.0), ("A", 10.5, 2.0), ("b", 99.0, 1.0), ("A", 20.0, None), ("A", "NaN", "Infinity")]
    ):
        insert_step(conn, trace, position, skill_id=skill, duration_ms=ms, cost_cents=cents)

    entry = _entries(conn, defaults, "tool_call_loop")["A"]

    assert (entry["wasted_ms"], entry["wasted_cost_usd"], entry["share_of_run"]) == (30.5, 0.02, 0.6)


def test_neighbours_alone_are_wasted_in_an_oscillation_and_retries_in_a_retry_loop(
    conn: Connection, defaults: Settings
) -> None:
    _trace(conn, "run-1", "AAAAbA", duration_ms=100.0)
    _trace(conn, "run-2", "xy", duration_ms=100.0, cost_cents=10.0, retry_count=3)

    oscillation, retried = (_entries(conn, defaults, name) for name in ("step_oscillation", "retry_loop"))

    assert (oscillation["A"]["wasted_ms"], oscillation["A"]["share_of_run"]) == (300, 0.5)
    assert (retried[None]["wasted_ms"], retried[None]["wasted_cost_usd"]) == (150, 0.15)
    assert retried[None]["share_of_run"] == 0.75


def test_a_cascade_repeats_nothing(conn: Connection, defaults: Settings) -> None:
    _trace(conn, "run-1", "ab", duration_ms=6000.0)

    entry = _entries(conn, defaults, "timeout_cascade")[None]

    assert [entry[name] for name in ("wasted_ms", "wasted_cost_usd", "share_of_run", "density")] == [None] * 4
    assert entry["evidence_basis"] == "skill_name_only"


def test_several_traces_of_a_run_count_together(conn: Connection, defaults: Settings) -> None:
    for _ in range(2):
        _trace(conn, "run-1", "AAA", duration_ms=10.0)
    insert_trace(conn, run_id="run-1", tenant_id="beta")

    entry = _entries(conn, defaults, "tool_call_loop")["A"]

    assert (entry["wasted_ms"], entry["share_of_run"], entry["density"]) == (40, 0.6667, 1)


def test_by_skill_counts_every_run_and_names_the_ten_strongest(conn: Connection, defaults: Settings) -> None:
    for number in range(12):
        _trace(conn, f"run-{number:02}", "A" * (3 + number % 2), duration_ms=10.0)
    _trace(conn, "run-x", "BBBB")

    first, second = _content(conn, defaults)["by_skill"]

    assert (first["skill_id"], first["run_count"], first["wasted_ms"]) == ("A", 12, 6 * 20 + 6 * 30)
    assert first["run_ids"][:6] == [f"run-{number:02}" for number in (1, 3, 5, 7, 9, 11)]
    assert len(first["run_ids"]) == 10
    assert first["pattern_types"] == ["step_oscillation", "tool_call_loop"] or first["pattern_types"] == [
        "tool_call_loop"
    ]
    assert (second["skill_id"], second["run_count"]) == ("B", 1)


def test_archived_steps_are_outside(conn: Connection, defaults: Settings) -> None:
    trace = _trace(conn, "run-1", "ABABAB", duration_ms=10.0)
    for position in (6, 7):
        insert_step(conn, trace, position, skill_id="A", duration_ms=1000.0, archived_at=AS_OF - timedelta(hours=1))

    assert _entries(conn, defaults, "tool_call_loop")["A"]["wasted_ms"] == 20


def test_a_cycle_is_sought_at_the_start_of_a_long_trace(conn: Connection, defaults: Settings) -> None:
    _trace(conn, "early", "ABABAB")
    late = insert_trace(conn, run_id="late")
    fill = text(
        "insert into aos_trace_steps (trace_id, step_index, skill_id)"
        " select :trace_id, n, case when n <= :steps then 's' || n else (array['C', 'D'])[1 + n % 2] end"
        " from generate_series(1, :steps + 6) as n"
    )
    conn.execute(fill, {"trace_id": late, "steps": CYCLE_MAX_STEPS})

    entries = _entries(conn, defaults, "tool_call_loop")

    assert entries["A"]["cycle"]["repeats"] == 3
    assert entries["C"]["cycle"] is None
