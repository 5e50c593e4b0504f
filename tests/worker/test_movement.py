"""Movement between two publications: told once, in order, and beside the snapshots."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import func, select, text, update

from snapshots import settings
from snapshots.body import ITEM_LISTS
from snapshots.movement import change_counter, item_state, movement, signal_change
from snapshots.signals import SIGNALS
from snapshots.tables import freshness, snapshot
from tests.factories import insert_run, insert_step, insert_trace
from worker.engine.batch import refresh_batch
from worker.engine.context import RefreshContext
from worker.engine.publish import draw_fence
from worker.housekeeping.retention import prune
from worker.signals.attention.signal import STORED_ITEMS
from worker.signals.registry import SIGNALS as RULES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Connection, Engine, Row

SETTINGS = settings.load()
HOUR = timedelta(hours=1)


def now(conn: Connection) -> datetime:
    instant: datetime = conn.execute(select(func.now())).scalar_one()
    return instant


def publish(conn: Connection, signal: str, as_of: datetime) -> None:
    _, fence = draw_fence(conn)
    refresh_batch(conn, RefreshContext(RULES[signal], SETTINGS, fence, as_of, fence))


def changes(conn: Connection, tenant: str = "acme") -> Sequence[Row[Any]]:
    found = select(signal_change).where(signal_change.c.tenant_id == tenant)
    return conn.execute(found.order_by(signal_change.c.change_no)).all()


def kinds(conn: Connection) -> list[tuple[str, str]]:
    return [(next(iter(row.key.values())), row.kind) for row in changes(conn)]


def at_risk(conn: Connection, run_id: str, as_of: datetime, **overrides: object) -> None:
    insert_run(conn, id=run_id, state="LIVE", started_at=as_of - HOUR, risk_level="AT_RISK", **overrides)


def set_run(conn: Connection, run_id: str, assignment: str) -> None:
    conn.execute(text(f"update runs set {assignment} where id = :run"), {"run": run_id})  # noqa: S608  # the test's own


def spend(conn: Connection, agent: str, as_of: datetime, cost: float) -> str:
    return insert_run(conn, agent_id=agent, started_at=as_of - HOUR, completed_at=as_of, estimated_cost_usd=cost)


def loop(conn: Connection, run_id: str, as_of: datetime, steps: int) -> None:
    trace = insert_trace(conn, run_id=run_id, started_at=as_of - HOUR)
    for index in range(steps):
        insert_step(conn, trace, index, skill_id="search")


def test_an_item_enters_once_and_stays_silent_while_nothing_happens_to_it(conn: Connection) -> None:
    as_of = now(conn)
    at_risk(conn, "run-1", as_of)

    for minutes in (0, 10, 20):
        publish(conn, "attention", as_of + timedelta(minutes=minutes))

    assert kinds(conn) == [("run-1", "entered")]
    assert (changes(conn)[0].rank, changes(conn)[0].previous_rank) == (1, None)


def test_scores_that_only_grow_old_are_no_change(conn: Connection) -> None:
    as_of = now(conn)
    at_risk(conn, "run-1", as_of)
    publish(conn, "attention", as_of)

    publish(conn, "attention", as_of + 6 * HOUR)

    assert conn.execute(select(snapshot.c.version)).scalar_one() == 2
    assert len(changes(conn)) == 1


def test_a_run_above_others_moves_none_of_them(conn: Connection) -> None:
    as_of = now(conn)
    at_risk(conn, "run-1", as_of)
    publish(conn, "attention", as_of)
    at_risk(conn, "run-2", as_of, policy_violation=True)

    publish(conn, "attention", as_of)

    assert kinds(conn) == [("run-1", "entered"), ("run-2", "entered")]


@pytest.mark.parametrize(
    ("assignment", "kind"),
    [
        ("risk_level = 'VIOLATED'", "worsened"),
        ("risk_level = 'NEAR_THRESHOLD'", "fell"),
        ("risk_level = 'NORMAL', evidence_health = 'DEGRADED'", "worsened"),
        ("status = 'halted'", None),
        ("risk_level = 'NORMAL'", "left"),
    ],
)
def test_a_queued_run_moves_with_its_reasons_and_its_score_without_recency(
    conn: Connection, assignment: str, kind: str | None
) -> None:
    as_of = now(conn)
    at_risk(conn, "run-1", as_of)
    publish(conn, "attention", as_of)
    set_run(conn, "run-1", assignment)

    publish(conn, "attention", as_of + timedelta(minutes=1))

    assert [each for _, each in kinds(conn)][1:] == [kind] * (kind is not None)


def test_what_left_and_returns_enters_again_and_keeps_when_it_was_first_seen(conn: Connection) -> None:
    as_of = now(conn)
    at_risk(conn, "run-1", as_of)
    for minutes, level in enumerate(("AT_RISK", "NORMAL", "AT_RISK")):
        set_run(conn, "run-1", f"risk_level = '{level}'")
        publish(conn, "attention", as_of + timedelta(minutes=minutes))

    assert kinds(conn) == [("run-1", "entered"), ("run-1", "left"), ("run-1", "entered")]
    state = conn.execute(select(item_state)).one()
    assert (state.first_seen_at, state.left_at) == (as_of, None)


@pytest.mark.parametrize(
    ("factor", "kind"), [(1.05, None), (1.2, "rose"), (1.49, "rose"), (1.6, "worsened"), (0.95, None), (0.8, "fell")]
)
def test_an_agents_cost_moves_by_a_tenth_and_worsens_by_half(conn: Connection, factor: float, kind: str | None) -> None:
    as_of = now(conn)
    run = spend(conn, "agent-1", as_of, 1)
    publish(conn, "cost", as_of)
    set_run(conn, run, f"estimated_cost_usd = {factor}")

    publish(conn, "cost", as_of + timedelta(minutes=1))

    assert [each for _, each in kinds(conn)][1:] == [kind] * (kind is not None)


def test_many_small_rises_add_up_to_a_worse_one(conn: Connection) -> None:
    as_of = now(conn)
    run = spend(conn, "agent-1", as_of, 1)
    for minutes, cost in enumerate((1, 1.15, 1.3, 1.45, 1.6)):
        set_run(conn, run, f"estimated_cost_usd = {cost}")
        publish(conn, "cost", as_of + timedelta(minutes=minutes))

    assert [kind for _, kind in kinds(conn)] == ["entered", "rose", "rose", "rose", "worsened"]
    assert [row.previous_value for row in changes(conn)][1:] == [row.value for row in changes(conn)][:-1]


def test_a_pattern_worsens_with_its_strength_and_with_twice_as_many_runs(conn: Connection) -> None:
    as_of = now(conn)
    loop(conn, "run-1", as_of, 3)
    publish(conn, "patterns", as_of)
    for minutes, (run_id, steps) in enumerate((("run-2", 3), ("run-3", 3), ("run-4", 4)), start=1):
        loop(conn, run_id, as_of, steps)
        publish(conn, "patterns", as_of + timedelta(minutes=minutes))

    assert {row.key["pattern_type"] for row in changes(conn)} == {"tool_call_loop", "step_oscillation"}
    assert [row.kind for row in changes(conn) if row.key["pattern_type"] == "tool_call_loop"] == [
        "entered",
        "worsened",
        "worsened",
    ]


@pytest.mark.parametrize("signal", SIGNALS)
def test_marks_stand_in_the_order_of_the_items_and_name_them(conn: Connection, signal: str) -> None:
    as_of = now(conn)
    for number in range(4):
        run = insert_run(conn, agent_id=f"agent-{number}", started_at=as_of - HOUR, completed_at=as_of, **SPENDING)
        loop(conn, run, as_of, 3 + number)
    publish(conn, signal, as_of)

    row = conn.execute(select(movement, snapshot.c.content).join(snapshot, _same_version())).one()
    items = json.loads(row.content)[ITEM_LISTS[signal]]
    keys = [key_of(signal, item) for item in items]

    assert len(row.marks) == len(items) > 1
    for mark, key in zip(row.marks, keys, strict=True):
        fingerprint = conn.execute(
            select(func.signals.item_fingerprint(signal, func.jsonb_build_object(*_flat(key))))
        ).scalar_one()
        assert json.loads("{" + mark + "}}")["fingerprint"] == fingerprint
    if signal != "attention":
        assert cut(row.content, row.lengths) == items


def cut(content: str, lengths: list[int]) -> list[Any]:
    """Return the items that `lengths` cuts out of a content."""
    found, start = [], content.index("[") + 1
    for length in lengths:
        found.append(json.loads(content[start : start + length]))
        start += length + 1
    return found


SPENDING = {"estimated_cost_usd": 1, "risk_level": "AT_RISK"}


def key_of(signal: str, item: dict[str, Any]) -> dict[str, Any]:
    if signal == "patterns":
        return {"pattern_type": item["pattern_type"], "skill_id": item["details"].get("skill_id")}
    name = "agent_id" if signal == "cost" else "run_id"
    return {name: item[name]}


def _flat(key: dict[str, Any]) -> list[Any]:
    return [part for pair in key.items() for part in pair]


def _same_version() -> Any:  # noqa: ANN401  # a condition
    return (
        (snapshot.c.tenant_id == movement.c.tenant_id)
        & (snapshot.c.signal == movement.c.signal)
        & (snapshot.c.version == movement.c.version)
    )


def test_numbers_have_no_gap_and_are_each_tenants_own(conn: Connection) -> None:
    as_of = now(conn)
    for tenant in ("acme", "globex"):
        for number in range(3):
            at_risk(conn, f"{tenant}-{number}", as_of, tenant_id=tenant, estimated_cost_usd=1, agent_id=f"a{number}")
    for signal in ("attention", "cost"):
        publish(conn, signal, as_of)

    for tenant in ("acme", "globex"):
        assert [row.change_no for row in changes(conn, tenant)] == [1, 2, 3, 4, 5, 6]
    assert set(conn.execute(select(change_counter.c.last_no)).scalars()) == {6}


def test_a_run_that_is_pushed_beyond_the_stored_items_has_not_left(conn: Connection) -> None:
    as_of = now(conn)
    at_risk(conn, "run-0", as_of)
    publish(conn, "attention", as_of)
    for number in range(STORED_ITEMS):
        at_risk(conn, f"worse-{number}", as_of, policy_violation=True)

    publish(conn, "attention", as_of + timedelta(minutes=1))

    assert [each for each in kinds(conn) if each[0] == "run-0"] == [("run-0", "entered")]
    set_run(conn, "run-0", "risk_level = 'NORMAL'")
    publish(conn, "attention", as_of + timedelta(minutes=2))
    assert kinds(conn)[-1] == ("run-0", "left")


def test_the_refreshes_of_a_slot_are_counted_without_rewriting_what_is_served(conn: Connection) -> None:
    as_of = now(conn)
    spend(conn, "agent-1", as_of, 1)
    publish(conn, "cost", as_of)
    before = conn.execute(text("select xmin, ctid, entered from signals.movement")).one()
    for minutes in (1, 2):
        publish(conn, "cost", as_of + timedelta(minutes=minutes))

    assert conn.execute(text("select xmin, ctid, entered from signals.movement")).one() == before
    slot = freshness.c.slot == func.signals.slot_of("acme")
    assert conn.execute(select(freshness.c.refreshes).where(slot)).scalar_one() - before.entered[0] + 1 == 3


def test_changes_and_items_that_left_go_with_retention(engine: Engine) -> None:
    with engine.begin() as conn:
        as_of = now(conn)
        at_risk(conn, "run-1", as_of)
        at_risk(conn, "run-2", as_of)
        publish(conn, "attention", as_of)
        set_run(conn, "run-1", "risk_level = 'NORMAL'")
        publish(conn, "attention", as_of)
        old = timedelta(days=SETTINGS.history_days + 1)
        conn.execute(update(signal_change).where(signal_change.c.kind == "entered").values(recorded_at=as_of - old))
        conn.execute(update(item_state).where(item_state.c.left_at.is_not(None)).values(left_at=as_of - old))

    prune(engine, SETTINGS)

    with engine.connect() as conn:
        assert kinds(conn) == [("run-1", "left")]
        assert conn.execute(select(item_state.c.key)).scalars().all() == [{"run_id": "run-2"}]
