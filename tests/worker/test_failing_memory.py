"""Memory of failing refreshes: nothing of a failure stays in the process that had it."""

from __future__ import annotations

import gc
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from snapshots.errors import ActivityError
from tests.worker.test_refresh import SETTINGS, now, plant
from worker.engine import ledger
from worker.engine.context import RefreshRequest
from worker.engine.refresh import refresh as run_refresh
from worker.engine.refresh import refresh_requested

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

_BREAKS = {
    "the server": "alter table signals.cost_item rename to cost_item_gone",
    "one tenant's data": "alter table signals.cost_item add constraint poison check (tenant_id <> 'bad') not valid",
    "all tenants' data": "alter table signals.cost_item add constraint poison check (false) not valid",
}


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Leave cyclic garbage where it is."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def _errors() -> int:
    return sum(issubclass(type(each), DBAPIError | ActivityError) for each in gc.get_objects())


def _fail(engine: Engine, tenants: list[str] | None) -> None:
    """Refresh once, as a tick or as an operator's request."""
    with suppress(DBAPIError, ActivityError):
        if tenants is None:
            run_refresh(engine, "cost", SETTINGS)
            return
        with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as conn:
            asked = ledger.request(conn, RefreshRequest("cost", mode="manual", requested_by="test", tenants=tenants))
        refresh_requested(engine, asked, SETTINGS)


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("tenants", [None, ["bad"]])
@pytest.mark.parametrize("broken", _BREAKS)
def test_failed_refreshes_keep_no_error_alive(engine: Engine, broken: str, tenants: list[str] | None) -> None:
    with engine.begin() as conn:
        for tenant in ("bad", "good"):
            plant(conn, tenant, now(conn), run_id=f"{tenant}-1")
        conn.execute(text(_BREAKS[broken]))
    before = _errors()

    for _ in range(3):
        _fail(engine, tenants)

    assert _errors() == before
