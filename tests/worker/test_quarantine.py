"""A tenant whose data breaks a query is set aside, and nobody waits for it (see `worker.engine.quarantine`)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import delete, func, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from migrations import capture
from ops.recomputing import wait
from snapshots.database import connect
from snapshots.errors import ActivityError
from snapshots.items import ITEMS
from snapshots.signals import SIGNALS
from snapshots.tables import freshness, quarantine, refresh, snapshot
from tests.worker.test_refresh import SETTINGS, now, plant
from worker.engine import ledger
from worker.engine.context import Mode, RefreshRequest
from worker.engine.errors import TenantDataError
from worker.engine.quarantine import FIRST_WAIT_S, MOST_CULPRITS, culprits
from worker.engine.refresh import refresh as run_refresh
from worker.engine.refresh import refresh_requested

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection, Engine

BAD = "bad"
GOOD = tuple(f"good_{number}" for number in range(6))


@pytest.fixture
def engine(fresh_database: str) -> Iterator[Engine]:
    """Yield an engine on a database where some tenants have what every signal finds."""
    engine = connect(fresh_database)
    with engine.begin() as conn:
        for tenant in (*GOOD, BAD):
            plant(conn, tenant, now(conn), run_id=f"{tenant}-1")
    yield engine
    engine.dispose()


def poison(engine: Engine, signal: str, *tenants: str) -> None:
    """Have the item rows of `tenants` break a constraint: whatever breaks for one tenant alone serves."""
    listed = ", ".join(f"'{tenant}'" for tenant in tenants)
    with engine.begin() as conn:
        name = ITEMS[signal].fullname
        conn.execute(text(f"alter table {name} add constraint poison check (tenant_id not in ({listed})) not valid"))


def heal(engine: Engine, signal: str) -> None:
    """Take the poison away."""
    with engine.begin() as conn:
        conn.execute(text(f"alter table {ITEMS[signal].fullname} drop constraint poison"))


def change(engine: Engine, number: int = 2) -> None:
    """Give every tenant another run."""
    with engine.begin() as conn:
        for tenant in (*GOOD, BAD):
            plant(conn, tenant, now(conn), run_id=f"{tenant}-{number}")


def versions(engine: Engine, signal: str) -> dict[str, int]:
    """Return the version of each tenant's snapshot."""
    wanted = select(snapshot.c.tenant_id, snapshot.c.version).where(snapshot.c.signal == signal)
    with engine.connect() as conn:
        return {row.tenant_id: row.version for row in conn.execute(wanted)}


def aside(engine: Engine) -> dict[str, int]:
    """Return the failures of each tenant that is set aside."""
    with engine.connect() as conn:
        return {row.tenant_id: row.failures for row in conn.execute(select(quarantine))}


def request(engine: Engine, signal: str, tenants: Sequence[str] | None = None) -> int:
    """Ask for a refresh as an operator does."""
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as conn:
        return ledger.request(conn, RefreshRequest(signal, mode="manual", requested_by="test", tenants=tenants))


def last_attempt(conn: Connection) -> tuple[str, int | None]:
    row = conn.execute(select(refresh).order_by(refresh.c.refresh_id.desc()).limit(1)).one()
    return row.state, row.tenants_failed


@pytest.mark.parametrize("signal", SIGNALS)
def test_the_others_are_published_at_once(engine: Engine, signal: str) -> None:
    poison(engine, signal, BAD)

    result = run_refresh(engine, signal, SETTINGS)

    assert result is not None
    assert result.tenants_failed == 1
    assert versions(engine, signal) == dict.fromkeys(GOOD, 1)
    assert aside(engine) == {BAD: 1}
    with engine.connect() as conn:
        assert last_attempt(conn) == ("succeeded", 1)


@pytest.mark.parametrize("mode", ["tick", "reconcile"])
@pytest.mark.parametrize("signal", SIGNALS)
def test_a_tenant_that_is_set_aside_keeps_its_last_snapshot(engine: Engine, signal: str, mode: Mode) -> None:
    capture.install(engine)
    run_refresh(engine, signal, SETTINGS)
    change(engine)
    poison(engine, signal, BAD)

    with engine.connect() as conn:
        confirmed = conn.execute(select(func.max(freshness.c.as_of)).where(freshness.c.signal == signal)).scalar_one()
    run_refresh(engine, signal, SETTINGS, mode=mode)
    run_refresh(engine, signal, SETTINGS, mode=mode)

    with engine.connect() as conn:
        assert conn.execute(select(quarantine.c.as_of)).scalar_one() == confirmed
        assert last_attempt(conn) == ("succeeded", 1)
    assert versions(engine, signal) == {**dict.fromkeys(GOOD, 2), BAD: 1}


@pytest.mark.parametrize("signal", SIGNALS)
def test_a_tenant_that_breaks_only_the_comparison_is_set_aside_and_the_others_are_compared(
    engine: Engine, signal: str
) -> None:
    capture.install(engine)
    run_refresh(engine, signal, SETTINGS)
    poison(engine, signal, BAD)
    with engine.begin() as conn:  # what no mark tells of: the refresh before the comparison finds nothing to do
        conn.execute(update(snapshot).where(snapshot.c.tenant_id.in_([BAD, GOOD[0]])).values(basis="another"))
        conn.execute(delete(ITEMS[signal]))

    result = run_refresh(engine, signal, SETTINGS, mode="reconcile")

    assert result is not None
    assert (result.method, result.drift, result.tenants_failed) == ("full", 1, 1)
    assert aside(engine) == {BAD: 1}
    assert versions(engine, signal) == {**dict.fromkeys(GOOD, 1), GOOD[0]: 2, BAD: 1}
    with engine.connect() as conn:
        assert last_attempt(conn) == ("succeeded", 1)


@pytest.mark.parametrize("signal", SIGNALS)
def test_a_tenant_that_has_healed_is_published_and_let_go(engine: Engine, signal: str) -> None:
    capture.install(engine)
    run_refresh(engine, signal, SETTINGS)
    change(engine)
    poison(engine, signal, BAD)
    run_refresh(engine, signal, SETTINGS)
    change(engine, 3)
    heal(engine, signal)

    run_refresh(engine, signal, SETTINGS)

    assert aside(engine) == {}
    assert versions(engine, signal) == {**dict.fromkeys(GOOD, 3), BAD: 2}
    # What it missed meanwhile is in its facts: a full recompute finds nothing to repair.
    change(engine, 4)
    result = run_refresh(engine, signal, SETTINGS, mode="reconcile")
    assert result is not None
    assert (result.drift, versions(engine, signal)[BAD]) == (0, 3)


def test_a_tenant_that_goes_on_failing_is_tried_less_and_less_often(engine: Engine) -> None:
    capture.install(engine)
    poison(engine, "attention", BAD)
    waits = []

    for _ in range(5):
        with engine.begin() as conn:
            conn.execute(update(quarantine).values(retry_at=func.clock_timestamp()))
        run_refresh(engine, "attention", SETTINGS)
        with engine.connect() as conn:
            waits.append(conn.execute(select(quarantine.c.retry_at - quarantine.c.last_failed_at)).scalar_one())

    seconds = [0, 0, FIRST_WAIT_S, 2 * FIRST_WAIT_S, 4 * FIRST_WAIT_S]
    assert waits == [timedelta(seconds=wait) for wait in seconds]


def test_a_tenant_is_not_tried_before_its_time(engine: Engine) -> None:
    capture.install(engine)
    poison(engine, "attention", BAD)
    for _ in range(4):
        run_refresh(engine, "attention", SETTINGS)

    # Once with the others, twice by itself: now it waits.
    assert aside(engine) == {BAD: SETTINGS.quarantine_after}


def test_an_operator_has_it_tried_at_once(engine: Engine) -> None:
    capture.install(engine)
    poison(engine, "attention", BAD)
    for _ in range(4):
        run_refresh(engine, "attention", SETTINGS)
    heal(engine, "attention")

    refresh_requested(engine, request(engine, "attention"), SETTINGS)

    assert aside(engine) == {}
    assert BAD in versions(engine, "attention")


def test_a_tenant_that_an_operator_names_is_tried_and_let_go(engine: Engine) -> None:
    poison(engine, "cost", BAD)
    run_refresh(engine, "cost", SETTINGS)
    heal(engine, "cost")

    refresh_requested(engine, request(engine, "cost", [BAD]), SETTINGS)

    assert aside(engine) == {}
    assert BAD in versions(engine, "cost")


def test_of_the_tenants_that_an_operator_names_the_others_are_published(engine: Engine) -> None:
    poison(engine, "cost", BAD)
    asked = request(engine, "cost", [GOOD[0], BAD, GOOD[1]])

    with pytest.raises(TenantDataError, match=BAD):
        refresh_requested(engine, asked, SETTINGS)

    assert versions(engine, "cost") == {GOOD[0]: 1, GOOD[1]: 1}
    with engine.connect() as conn:
        assert last_attempt(conn)[0] == "failed"


def test_several_culprits_are_found_together(engine: Engine) -> None:
    poison(engine, "patterns", GOOD[0], GOOD[3], BAD)

    run_refresh(engine, "patterns", SETTINGS)

    assert aside(engine) == {GOOD[0]: 1, GOOD[3]: 1, BAD: 1}
    assert set(versions(engine, "patterns")) == set(GOOD) - {GOOD[0], GOOD[3]}


def test_what_no_tenant_alone_causes_is_an_error_of_the_refresh(engine: Engine) -> None:
    with engine.begin() as conn:
        conn.execute(text("alter table signals.freshness add constraint poison check (fence < 0) not valid"))

    with pytest.raises(IntegrityError):
        run_refresh(engine, "cost", SETTINGS)

    assert aside(engine) == {}


def fault(tenants: Sequence[str]) -> DBAPIError:
    return DBAPIError(",".join(tenants), {}, ValueError())


@pytest.mark.parametrize("bad", [set(), {"3"}, {"0", "9"}, {"4", "5", "6"}, set("0123456789")])
def test_culprits_are_found_by_halves(bad: set[str]) -> None:
    tried: list[Sequence[str]] = []

    def attempt(tenants: Sequence[str]) -> DBAPIError | None:
        tried.append(tenants)
        return fault(tenants) if bad & set(tenants) else None

    assert {found.tenant_id for found in culprits("0123456789", attempt)} == bad
    assert len(tried) <= 2 * 10


def test_the_search_ends_when_everybody_fails() -> None:
    tried: list[int] = []

    def attempt(tenants: Sequence[str]) -> DBAPIError:
        tried.append(len(tenants))
        return fault(tenants)

    found = culprits([str(number) for number in range(10_000)], attempt)

    assert len(found) > MOST_CULPRITS
    assert len(tried) < 1_000


def test_waiting_for_a_recompute_names_the_tenants_that_were_left_out(engine: Engine) -> None:
    poison(engine, "cost", BAD)
    asked = request(engine, "cost")
    refresh_requested(engine, asked, SETTINGS)

    with pytest.raises(ActivityError, match="cost: succeeded, but 1 tenant is quarantined: bad"):
        wait(engine, {asked: "cost"}, timeout_s=5)


def test_waiting_for_a_recompute_that_healed_a_tenant_succeeds(engine: Engine) -> None:
    poison(engine, "cost", BAD)
    run_refresh(engine, "cost", SETTINGS)
    heal(engine, "cost")
    asked = request(engine, "cost")
    refresh_requested(engine, asked, SETTINGS)

    wait(engine, {asked: "cost"}, timeout_s=5)

    with engine.connect() as conn:
        assert last_attempt(conn) == ("succeeded", 0)
