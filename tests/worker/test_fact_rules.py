"""Rules of the kept facts: an upgrade is a full refresh and no drift, and two versions do not undo each other."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Engine, select, text, update

from migrations import capture
from snapshots.queries import parse
from snapshots.signals import SIGNALS
from snapshots.tables import refresh, snapshot
from tests.worker.test_refresh import SETTINGS, now, plant
from worker.engine import ledger, queries
from worker.engine.batch import refresh_batch
from worker.engine.context import Mode, RefreshContext, RefreshRequest
from worker.engine.publish import draw_fence
from worker.engine.reconcile import reconcile
from worker.engine.refresh import refresh as run_refresh
from worker.engine.refresh import refresh_requested
from worker.engine.tables import fact_state
from worker.signals.registry import SIGNALS as SIGNAL_RULES

if TYPE_CHECKING:
    from worker.signals.spec import SignalSpec

#: Queries of all signals alike: they publish, and no fact or content comes from them.
_COMMON = {"engine/publish_snapshot", "engine/record_movement", "engine/capture_fingerprint"}
_OTHER = SETTINGS.model_copy(
    update={"slow_step_ms": 60_000.0, "cost_z_threshold": 2.5, "abandoned_after_hours": 12}, deep=True
)


@pytest.fixture(autouse=True)
def planted(engine: Engine) -> None:
    """Give three tenants what every signal finds, with captured changes."""
    capture.install(engine)
    with engine.begin() as conn:
        for tenant in ("acme", "globex", "initech"):
            plant(conn, tenant, now(conn), run_id=f"{tenant}-1")


def _age(engine: Engine, signal: str, seconds: float) -> None:
    with engine.begin() as conn:
        earlier = fact_state.c.as_of - timedelta(seconds=seconds)
        conn.execute(update(fact_state).where(fact_state.c.signal == signal).values(as_of=earlier))


def _last(engine: Engine) -> tuple[str, str | None, int | None]:
    with engine.connect() as conn:
        row = conn.execute(select(refresh).order_by(refresh.c.refresh_id.desc()).limit(1)).one()
        return row.state, row.method, row.drift


def _methods(engine: Engine, signal: str) -> list[str | None]:
    with engine.connect() as conn:
        done = refresh.c.signal == signal, refresh.c.state == "succeeded"
        return list(conn.execute(select(refresh.c.method).where(*done).order_by(refresh.c.refresh_id)).scalars())


@pytest.mark.parametrize("signal", SIGNALS)
def test_an_upgrade_is_a_full_refresh_and_no_drift(engine: Engine, signal: str) -> None:
    run_refresh(engine, signal, SETTINGS)
    with engine.begin() as conn:  # what an earlier version left: its hash of the content, and its rules
        conn.execute(update(snapshot).where(snapshot.c.signal == signal).values(basis="of an earlier version"))
        conn.execute(update(fact_state).values(rules=text("left(rules, -33)")))

    result = run_refresh(engine, signal, SETTINGS, mode="reconcile")

    assert result is not None
    assert (result.method, result.drift, result.tenants_changed) == ("full", None, 3)
    assert _last(engine) == ("succeeded", "full", None)
    again = run_refresh(engine, signal, SETTINGS, mode="reconcile")
    assert again is not None
    assert (again.drift, again.tenants_changed) == (0, 0)


def test_every_query_of_a_signal_is_part_of_its_rules() -> None:
    named = {name for signal in SIGNAL_RULES.values() for name in signal.query_names}
    identities = {signal.movement.identities for signal in SIGNAL_RULES.values()}

    probes = {signal.changes.probe for signal in SIGNAL_RULES.values()}
    assert named == set(queries.names()) - _COMMON - identities - probes


@pytest.mark.parametrize("name", SIGNALS)
def test_another_query_text_makes_other_rules(name: str) -> None:
    signal = SIGNAL_RULES[name]
    for position, step in enumerate(signal.steps):
        swapped = replace(step, query=signal.changes.window_edges)
        other = replace(signal, steps=(*signal.steps[:position], swapped, *signal.steps[position + 1 :]))
        assert other.rules(SETTINGS) != signal.rules(SETTINGS)


def test_a_comment_or_layout_leaves_a_query_as_it_is() -> None:
    source = "-- One row.\n-- reads: nothing\n-- grain: one\n-- params: none\nselect 'a  b -- c' as x"
    base = parse("one", source)

    assert parse("one", source.replace("as x", "-- named\n    as   x")).meaning == base.meaning
    assert parse("one", source.replace("a  b", "a b")).meaning != base.meaning


def _alternate(engine: Engine, signal: str, rounds: int) -> None:
    """Tick with two versions in turn, as in a deployment that replaces one worker after the other."""
    for _ in range(rounds):
        run_refresh(engine, signal, _OTHER)
        run_refresh(engine, signal, SETTINGS)


@pytest.mark.parametrize("signal", SIGNALS)
def test_two_versions_side_by_side_cause_one_full_refresh(engine: Engine, signal: str) -> None:
    run_refresh(engine, signal, SETTINGS)

    _alternate(engine, signal, 3)

    assert _methods(engine, signal) == ["full", "full", "incremental", "incremental"]
    assert _last(engine) == ("coalesced", None, None)


@pytest.mark.parametrize("mode", ["tick", "reconcile"])
def test_after_a_rollback_the_old_version_takes_over_once_stale(engine: Engine, mode: Mode) -> None:
    run_refresh(engine, "cost", SETTINGS)
    run_refresh(engine, "cost", _OTHER)
    assert run_refresh(engine, "cost", SETTINGS, mode=mode) is None

    _age(engine, "cost", 2 * SETTINGS.period_s("cost") + 31)
    result = run_refresh(engine, "cost", SETTINGS, mode=mode)

    assert result is not None
    assert (result.method, result.drift) == ("full", None)
    assert run_refresh(engine, "cost", _OTHER) is None


@pytest.mark.parametrize("tenants", [None, ["acme"]])
def test_a_replaced_worker_leaves_a_request_to_a_newer_one(engine: Engine, tenants: list[str] | None) -> None:
    run_refresh(engine, "cost", SETTINGS)
    run_refresh(engine, "cost", _OTHER)
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as conn:
        asked = ledger.request(conn, RefreshRequest("cost", mode="manual", requested_by="test", tenants=tenants))

    assert refresh_requested(engine, asked, SETTINGS) is None
    assert _last(engine)[0] == "requested"
    assert refresh_requested(engine, asked, _OTHER) is not None
    assert _last(engine)[0] == "succeeded"


def _renewed(engine: Engine, signal: SignalSpec, content: str) -> tuple[int, str]:
    """Refresh after `content` was published by an earlier version with the hash that this one computes."""
    with engine.begin() as conn:
        conn.execute(update(snapshot).where(snapshot.c.signal == signal.name).values(content=content))
        conn.execute(update(fact_state).values(rules="of an earlier version"))
        as_of, fence = draw_fence(conn)
        batch = refresh_batch(conn, RefreshContext(signal, SETTINGS, 1, as_of, fence))
        found = conn.execute(select(snapshot.c.content).where(snapshot.c.signal == signal.name)).scalars().all()
    return batch.tenants_changed, found[0]


def test_a_queue_is_published_in_the_format_of_the_new_version(engine: Engine) -> None:
    run_refresh(engine, "attention", SETTINGS)

    changed, content = _renewed(engine, SIGNAL_RULES["attention"], '{"queue":[]}')

    assert changed == 3
    assert content != '{"queue":[]}'


def test_a_long_queue_does_not_hide_that_the_rules_are_other_ones(engine: Engine) -> None:
    settings = SETTINGS.model_copy(update={"refresh_batch_marks": 1})
    run_refresh(engine, "attention", SETTINGS)
    with engine.begin() as conn:
        conn.execute(update(fact_state).values(rules="of an earlier version"))
        conn.execute(update(snapshot).where(snapshot.c.signal == "attention").values(content='{"queue":[]}'))
        plant(conn, "acme", now(conn), run_id="acme-2")
        plant(conn, "acme", now(conn), run_id="acme-3")

    result = run_refresh(engine, "attention", settings)

    assert result is not None
    assert (result.method, result.tenants_changed) == ("full", 3)


def test_facts_compared_under_their_own_rules_still_show_drift(engine: Engine) -> None:
    run_refresh(engine, "cost", SETTINGS)
    with engine.begin() as conn:
        conn.execute(update(snapshot).where(snapshot.c.signal == "cost").values(basis="damaged"))
        as_of, fence = draw_fence(conn)
        _, later = draw_fence(conn)
        result = reconcile(conn, RefreshContext(SIGNAL_RULES["cost"], SETTINGS, 1, as_of, fence), later)

    assert result.drift == 3
