"""A comparison with a full recompute, beside refreshes of other signals that count changes of the same tenants."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from sqlalchemy import delete, text, update

from migrations import capture
from snapshots.database import connect
from snapshots.movement import change_counter, item_state
from snapshots.tables import snapshot
from tests.worker.test_refresh import SETTINGS, now, plant
from worker.engine.refresh import refresh as run_refresh

if TYPE_CHECKING:
    from sqlalchemy import Connection

TENANT: Final = "busy"
_IS_WAITING: Final = text(
    "select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')"
)
_PATIENCE_S: Final = 30.0


def test_a_comparison_that_meets_another_refresh_at_a_tenants_counter_begins_again(fresh_database: str) -> None:
    engine = connect(fresh_database)
    with engine.begin() as conn:
        plant(conn, TENANT, now(conn), run_id="run-1")
    capture.install(engine)
    run_refresh(engine, "attention", SETTINGS)
    with engine.begin() as conn:  # what no mark tells of: there is something to repair, and to count
        conn.execute(update(snapshot).where(snapshot.c.signal == "attention").values(basis="another"))
        conn.execute(delete(item_state))

    with ThreadPoolExecutor(1) as thread, engine.connect() as other:
        with other.begin():
            other.execute(update(change_counter).values(last_no=change_counter.c.last_no + 1))
            comparing = thread.submit(run_refresh, engine, "attention", SETTINGS, mode="reconcile")
            _wait_for_the_lock(other)
        result = comparing.result(_PATIENCE_S)

    assert result is not None
    assert (result.method, result.drift) == ("full", 1)
    engine.dispose()


def _wait_for_the_lock(conn: Connection) -> None:
    """Return once somebody waits for what this session holds."""
    deadline = time.monotonic() + _PATIENCE_S
    while not conn.execute(_IS_WAITING).scalar_one():
        assert time.monotonic() < deadline, "nobody waits"
        # Activity is seen as it was when the transaction first asked.
        conn.execute(text("select pg_stat_clear_snapshot()"))
