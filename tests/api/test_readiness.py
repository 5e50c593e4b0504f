"""Readiness of the API, including roles that could bypass row-level security."""

from __future__ import annotations

from threading import Event, Thread
from traceback import walk_tb
from typing import TYPE_CHECKING

import psycopg2
import pytest
from falcon.testing import TestClient
from sqlalchemy import NullPool, make_url, text
from sqlalchemy.event import listen

from api.app import AppDependencies, create_app
from snapshots.database import connect
from snapshots.settings import Settings
from snapshots.signals import READER_ROLE
from tests.api.arrange import Moment
from tests.api.contract import assert_problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from falcon.testing import Result
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


class Door:
    """Proxy in front of the database: counts connections, and delays or refuses them."""

    def __init__(self, url: str) -> None:
        """Make an engine that connects anew for each read."""
        self.engine = connect(url, poolclass=NullPool)
        self.asked = 0
        self.is_shut = False
        self.is_asked = Event()
        self.is_free = Event()
        self.is_free.set()
        listen(self.engine, "do_connect", self._let_in)

    def _let_in(self, *_: object) -> None:
        self.asked += 1
        self.is_asked.set()
        assert self.is_free.wait(30)
        if self.is_shut:
            raise psycopg2.OperationalError("planted")


@pytest.fixture
def door(suspect: str) -> Door:
    """Return the way to a database that is ready."""
    return Door(suspect)


@pytest.fixture
def moment() -> Moment:
    """Return a clock that stands still."""
    return Moment()


@pytest.fixture
def client(door: Door, moment: Moment) -> TestClient:
    """Return a client of an application behind `door`."""
    return TestClient(create_app(door.engine, door.engine, Settings(), AppDependencies(timer=moment.timer)))


def test_the_database_is_asked_once_a_second_while_it_fails_too(door: Door, moment: Moment, client: TestClient) -> None:
    door.is_shut = True

    for _ in range(10):
        assert_problem(client.simulate_get("/readyz"), 503, "database_unavailable")
    assert door.asked == 1
    moment.pass_by(1)
    assert_problem(client.simulate_get("/readyz"), 503, "database_unavailable")
    assert door.asked == 2


def test_a_database_that_is_back_is_ready_within_a_second(door: Door, moment: Moment, client: TestClient) -> None:
    door.is_shut = True
    assert client.simulate_get("/readyz").status_code == 503
    door.is_shut = False

    moment.pass_by(1)

    assert client.simulate_get("/readyz").status_code == 200


def test_many_who_ask_at_once_take_one_connection_and_wait_a_moment(door: Door, client: TestClient) -> None:
    door.is_free.clear()
    first: list[int] = []
    others: list[Result] = []
    asking = Thread(target=lambda: first.append(client.simulate_get("/readyz").status_code))
    asking.start()
    assert door.is_asked.wait(30)
    waiting = [Thread(target=lambda: others.append(client.simulate_get("/readyz"))) for _ in range(3)]
    for thread in waiting:
        thread.start()
    for thread in waiting:
        thread.join(30)
    asked = door.asked
    door.is_free.set()
    asking.join(30)

    assert (asked, first, len(others)) == (1, [200], 3)
    for result in others:
        assert_problem(result, 503, "overloaded")


def test_a_failure_that_is_told_again_grows_no_traceback(door: Door, client: TestClient) -> None:
    door.is_shut = True
    seen: list[int] = []
    for _ in range(3):
        client.simulate_get("/readyz")
        readyz = client.app._application._router.find("/readyz")[0]  # type: ignore[attr-defined]  # noqa: SLF001  # what lies in memory
        seen.append(len(list(walk_tb(readyz._seen.get("signals").__traceback__))))  # noqa: SLF001  # as above

    assert len(set(seen)) == 1
