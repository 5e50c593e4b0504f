"""The signals on recorded agent runs: against the answers that came with them, and against the specification's SQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.signals import recorded
from tests.signals.oracle import (
    EVERY_ROW,
    PATTERNS,
    Row,
    assert_attention_agrees,
    assert_cost_agrees,
    assert_patterns_agree,
    items,
    staged,
)
from worker.engine import stage

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from snapshots.settings import Settings

pytestmark = pytest.mark.skipif(not recorded.FOLDER.is_dir(), reason="the recorded runs are not beside the repository")

#: Floats of the answers agree within this, and their costs and scores are rounded to as many digits.
_AGREES = 1e-6
#: After everything that was recorded.
_LATER = datetime(2027, 1, 1, tzinfo=UTC)
_UNTIMED = datetime(2026, 1, 17, tzinfo=UTC)


def _literal(answer: dict[str, Any], pattern: str) -> list[Row]:
    rows: list[Row] = (answer[pattern] if pattern in answer else answer[f"{pattern}.literal"])["rows"]
    return rows


def _by_run(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (row["run_id"], row.get("skill_id") or ""))


def _assert_answer(ours: list[Row], expected: list[Row]) -> None:
    """Compare whole answers; their ties are in no order, so both sides are sorted by key."""
    shown = [{name: mine[name] for name in row} for mine, row in zip(_by_run(ours), _by_run(expected), strict=True)]
    for mine, row in zip(shown, _by_run(expected), strict=True):
        for name, value in row.items():
            numeric = isinstance(value, int | float) and not isinstance(value, bool)
            assert (
                (float(mine[name]) == pytest.approx(value, rel=_AGREES, abs=_AGREES))
                if numeric
                else mine[name] == value
            ), row


@pytest.mark.parametrize(("folder", "stand_in"), [("timed", None), ("untimed", _UNTIMED)])
def test_patterns_are_those_of_the_answers(
    conn: Connection, defaults: Settings, folder: str, stand_in: datetime | None
) -> None:
    recorded.load(conn, folder, started_at=stand_in)
    for tenant, windows in recorded.answers(folder)["patterns"].items():
        for answer in windows.values():
            stated = answer.get("window_start")
            start = datetime.fromisoformat(stated) if stated else _UNTIMED
            narrowed = {"window_start": start, "tenants": [tenant]}
            staged(conn, "patterns", defaults, _LATER, pattern_rows=EVERY_ROW, **narrowed)
            for pattern in PATTERNS:
                found = items(conn, stage.stage_pattern_item, tenant, pattern_type=pattern)
                _assert_answer(found, _literal(answer, pattern))


@pytest.mark.parametrize("folder", ["timed", "nab"])
def test_cost_is_that_of_the_answers(conn: Connection, defaults: Settings, folder: str) -> None:
    recorded.load(conn, folder)
    for tenant, instants in recorded.answers(folder)["cost"].items():
        for instant, agents in instants.items():
            staged(conn, "cost", defaults, datetime.fromisoformat(instant), tenants=[tenant])
            found = {row["agent_id"]: row for row in items(conn, stage.stage_cost_item, tenant) if row["run_count"]}
            assert found.keys() == {agent["agent_id"] for agent in agents}
            for agent in agents:
                _assert_agent(found[agent["agent_id"]], agent)


def _assert_agent(ours: Row, expected: Row) -> None:
    ours = {**ours, "baseline_runs": ours["baseline_run_count"]}
    for name in ("current_avg_cost", "total_cost", "run_count", "baseline_avg", "baseline_p95", "z_score"):
        value = expected[name]
        assert (
            ours[name] is None if value is None else float(ours[name]) == pytest.approx(value, rel=_AGREES, abs=_AGREES)
        ), expected
    assert (ours["is_anomaly"], ours["baseline_runs"]) == (expected["is_anomaly"], expected["baseline_runs"])


def test_attention_is_that_of_the_answers(conn: Connection, defaults: Settings) -> None:
    recorded.load(conn, "timed")
    recorded.apply_overlay(conn, "timed")
    for tenant, instants in recorded.answers("timed")["attention_with_overlay"].items():
        for instant, answer in instants.items():
            staged(conn, "attention", defaults, datetime.fromisoformat(instant), tenants=[tenant], item_limit=EVERY_ROW)
            found = items(conn, stage.stage_attention_item, tenant)
            assert len(found) == answer["candidates"]
            top = answer["top"]
            by_run = {row["run_id"]: row for row in found}
            _assert_answer([by_run[row["run_id"]] for row in answer["rows"]], answer["rows"])
            shown = {row["run_id"] for row in found[: top["required"] + top["take"]]}
            assert shown >= {row["run_id"] for row in answer["rows"][: top["required"]]}
            assert shown <= {row["run_id"] for row in answer["rows"]}


@pytest.mark.parametrize("folder", ["timed", "untimed", "nab"])
def test_every_signal_agrees_with_the_spec(conn: Connection, defaults: Settings, folder: str) -> None:
    """At several instants, with every tenant at once, on all that was recorded."""
    recorded.load(conn, folder, started_at=_UNTIMED)
    recorded.apply_overlay(conn, folder)
    answers = recorded.answers(folder)
    tenants = tuple(answers["summaries"])
    compared = 0
    for as_of in _instants(answers):
        compared += assert_patterns_agree(conn, defaults, tenants, as_of, as_of - timedelta(days=400))
        compared += assert_cost_agrees(conn, defaults, tenants, as_of)
        compared += assert_attention_agrees(conn, defaults, tenants, as_of)
    assert compared > 100


def _instants(answers: dict[str, Any]) -> list[datetime]:
    """Return up to three of the answers' instants, and one after everything."""
    stated = {key for tenant in answers.get("cost", {}).values() for key in tenant}
    some = sorted(stated)[:: max(1, len(stated) // 3)][:3]
    return [*(datetime.fromisoformat(key) for key in some), _UNTIMED + timedelta(hours=1)]
