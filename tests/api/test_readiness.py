"""A role that could get around row-level security keeps the API from being ready (see `api.isolation`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from falcon.testing import TestClient
from sqlalchemy import make_url, text

from api.app import create_app
from snapshots.database import connect
from snapshots.settings import Settings
from snapshots.signals import READER_ROLE
from tests.api.contract import assert_problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from tests.postgres import Server

_ROLE = "suspect"


def readiness(url: str) -> TestClient:
    """Return a client of an application that reads as the role of `url`."""
    engine = connect(url, pool_size=1)
    return TestClient(create_app(engine, engine, Settings()))


def causes(caplog: pytest.LogCaptureFixture) -> str:
    """Return what the log says was the cause."""
    return " ".join(str(getattr(record, "cause", "")) for record in caplog.records)


@pytest.fixture
def superuser(server: Server, api_database: str) -> Iterator[Engine]:
    """Yield a superuser's engine on the database of the tests."""
    url = make_url(server.cluster.superuser_url()).set(database=make_url(api_database).database)
    engine = connect(url, isolation_level="AUTOCOMMIT")
    yield engine
    engine.dispose()


@pytest.fixture
def suspect(superuser: Engine, server: Server, api_database: str) -> Iterator[str]:
    """Yield the URL of a login with the reader role alone, whom a test may give more; dropped afterwards."""
    with superuser.connect() as conn:
        conn.execute(text(f"create role {_ROLE} login password '{server.password}' in role {READER_ROLE}"))
    yield server.cluster.url(_ROLE, server.password, str(make_url(api_database).database))
    with superuser.connect() as conn:
        conn.execute(text(f"select pg_terminate_backend(pid) from pg_stat_activity where usename = '{_ROLE}'"))  # noqa: S608  # a constant
        conn.execute(text(f"drop owned by {_ROLE}"))
        conn.execute(text(f"drop role {_ROLE}"))


def test_the_reader_role_alone_is_ready(suspect: str) -> None:
    assert readiness(suspect).simulate_get("/readyz").status_code == 200


def test_the_owner_is_not(api_database: str, caplog: pytest.LogCaptureFixture) -> None:
    assert_problem(readiness(api_database).simulate_get("/readyz"), 503, "isolation_not_enforced")

    assert "owns signals." in causes(caplog)
    assert "ACTIVITY_READER_DATABASE_URL" in causes(caplog)


@pytest.mark.parametrize(
    ("given", "way"),
    [
        (f"alter role {_ROLE} superuser", "is a superuser"),
        (f"alter role {_ROLE} bypassrls", "has BYPASSRLS"),
        (f"grant activity_worker to {_ROLE}", "may read signals."),
        (f"grant pg_read_all_data to {_ROLE}", "may read public.aos_trace_steps"),
        (f"grant select on public.runs to {_ROLE}", "may read public.runs"),
        (f"grant select (id) on public.aos_traces to {_ROLE}", "may read public.aos_traces"),
        (f"grant select on signals.source_run to {_ROLE}", "may read signals.source_run"),
        (f"grant delete on signals.snapshot to {_ROLE}", "may write signals.snapshot"),
        (f"grant update (content) on signals.snapshot to {_ROLE}", "may write signals.snapshot"),
    ],
)
def test_a_role_with_a_way_around_is_not(
    suspect: str, superuser: Engine, given: str, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    with superuser.connect() as conn:
        conn.execute(text(given))

    assert_problem(readiness(suspect).simulate_get("/readyz"), 503, "isolation_not_enforced")

    assert way in causes(caplog)


@pytest.mark.parametrize("change", ["no force row level security", "disable row level security"])
def test_a_table_whose_security_was_turned_off_is_noticed(
    suspect: str, superuser: Engine, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    with superuser.connect() as conn:
        conn.execute(text(f"alter table signals.snapshot {change}"))
    assert_problem(readiness(suspect).simulate_get("/readyz"), 503, "isolation_not_enforced")
    with superuser.connect() as conn:
        conn.execute(text("alter table signals.snapshot enable row level security"))
        conn.execute(text("alter table signals.snapshot force row level security"))

    assert "may read signals.snapshot" in causes(caplog)
