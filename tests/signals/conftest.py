"""The signals' tests: how many random databases they try, and a host whose runs hold naive times.

Source: docs/specification-notes.md#utc.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from snapshots.settings import Settings, load

if TYPE_CHECKING:
    from sqlalchemy import Connection

_VIEWS = ("public.v_runs_o2", "signals.source_run")
_NAIVE = ("started_at", "completed_at", "created_at")


@pytest.fixture
def defaults() -> Settings:
    """Return the settings of a deployment that sets nothing."""
    return load()


@pytest.fixture
def bare() -> Settings:
    """Return the settings of a deployment without extra fields."""
    return load(extras=False)


@pytest.fixture(params=["aware times", "naive times"])
def host(request: pytest.FixtureRequest, conn: Connection) -> Connection:
    """Return a connection to our own source tables, and to a host's whose `runs` hold UTC without a zone."""
    if request.param == "naive times":
        _make_naive(conn)
    return conn


def _make_naive(conn: Connection) -> None:
    views = {view: conn.execute(text("select pg_get_viewdef(:view)"), {"view": view}).scalar_one() for view in _VIEWS}
    changes = (f"alter column {name} type timestamp using {name} at time zone 'UTC'" for name in _NAIVE)
    conn.execute(text(f"drop view {', '.join(_VIEWS)} cascade"))
    conn.execute(text(f"alter table public.runs {', '.join(changes)}"))
    for view, definition in views.items():
        conn.execute(text(f"create view {view} as {definition}"))
