"""The read deadline and the circuit breaker, against a database that stops answering."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from falcon.testing import TestClient
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from api.app import AppDependencies, create_app
from api.http.circuit_breaker import RETRY_S, CircuitBreaker
from api.queries.reader import GRACE_S, LOOK_UP_TIMEOUT_MS, Reader
from snapshots.database import connect
from snapshots.errors import DatabaseUnavailableError
from snapshots.settings import Settings
from snapshots.signals import READER_ROLE
from tests.api.arrange import PREFIX, SNAPSHOT_PATHS, TENANT, Api, Moment, bearer
from tests.api.contract import assert_problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from falcon.testing import Result
    from sqlalchemy import Engine

    from tests.postgres import Server

PATTERNS = SNAPSHOT_PATHS["patterns"]
#: A look-up waits for so long, seconds.
PATIENCE_S = LOOK_UP_TIMEOUT_MS / 1000 + GRACE_S
_NAME = "activity watch test"


@pytest.fixture
def lonely(server: Server, api_database: str) -> Iterator[Engine]:
    """Yield an engine of the reader role with one connection, which the test may freeze."""
    # As `api.wsgi` makes it: nothing is sent to a connection but the read itself.
    engine = connect(
        server.url_as(READER_ROLE, api_database),
        name=_NAME,
        pool_size=1,
        pool_pre_ping=False,
        isolation_level="AUTOCOMMIT",
        skip_autocommit_rollback=True,
    )
    yield engine
    engine.dispose()


@pytest.fixture
def watched(owner: Engine, lonely: Engine, authenticator: Engine) -> tuple[Api, CircuitBreaker]:
    """Return an application over `lonely`, and what watches over it; the test tells it when to look."""
    moment = Moment()
    watch = CircuitBreaker(moment.timer)
    around = AppDependencies(clock=moment.clock, timer=moment.timer, reader_watch=watch)
    api = Api(TestClient(create_app(lonely, authenticator, Settings(), around)), owner, moment)
    api.clear()
    api.verify("patterns")
    return api, watch


@contextmanager
def frozen(owner: Engine) -> Iterator[None]:
    """Stop the server's side of the lonely connection meanwhile, as a hung disk would."""
    backend = text("select pid from pg_stat_activity where application_name = :name")
    with owner.connect() as conn:
        pid = int(conn.execute(backend, {"name": _NAME}).scalar_one())
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def wait_in_vain(asking: threading.Thread, watch: CircuitBreaker, moment: Moment) -> None:
    """Let the time of what `asking` asks for pass once it waits, and have it given up."""
    asking.start()
    for _ in range(1000):
        if watch.waiting:
            break
        asking.join(0.01)
    moment.pass_by(PATIENCE_S)
    watch.cut_silent()
    asking.join(10)


def ask_frozen(api: Api, watch: CircuitBreaker, path: str, token: str) -> Result:
    """Ask for what takes a query, let its time pass once it waits, and return the answer."""
    results: list[Result] = []
    asking = threading.Thread(target=lambda: results.append(api.client.simulate_get(path, headers=bearer(token))))
    wait_in_vain(asking, watch, api.moment)
    return results[0]


def test_a_look_up_is_given_up_and_the_next_ones_are_refused_at_once(
    watched: tuple[Api, CircuitBreaker], statements: list[str]
) -> None:
    api, watch = watched
    token = api.add_key()
    assert api.client.simulate_get(PATTERNS, headers=bearer(token)).status_code == 200
    api.moment.pass_by(1)
    with frozen(api.owner):
        assert_problem(ask_frozen(api, watch, PATTERNS, token), 503, "database_unavailable")
        statements.clear()

        refused = [api.client.simulate_get(path, headers=bearer(token)) for path in (PATTERNS, f"{PREFIX}/runs")]

        assert [result.status_code for result in refused] == [503, 503]
        assert not [each for each in statements if "signals.snapshot" in each]
        api.moment.pass_by(RETRY_S)
        assert api.client.simulate_get(PATTERNS, headers=bearer(token)).status_code == 200
        assert api.client.simulate_get(f"{PREFIX}/runs", headers=bearer(token)).status_code == 200


def test_what_is_in_memory_is_repeated_while_the_database_is_silent(watched: tuple[Api, CircuitBreaker]) -> None:
    api, watch = watched
    token = api.add_key()
    assert api.client.simulate_get("/readyz").status_code == 200
    with frozen(api.owner):
        assert ask_frozen(api, watch, f"{PREFIX}/freshness", token).status_code == 503
        api.moment.pass_by(RETRY_S)
    api.client.simulate_get(PATTERNS, headers=bearer(token))
    watch.note_failure(-PATIENCE_S)

    assert api.client.simulate_get(PATTERNS, headers=bearer(token)).status_code == 200
    assert api.client.simulate_get(f"{PREFIX}/freshness", headers=bearer(token)).status_code == 503


def test_nothing_is_cut_before_its_time(watched: tuple[Api, CircuitBreaker]) -> None:
    api, watch = watched
    token = api.add_key()

    api.moment.pass_by(PATIENCE_S)
    watch.cut_silent()

    assert api.client.simulate_get(PATTERNS, headers=bearer(token)).status_code == 200
    assert not watch.waiting


@pytest.fixture
def writer(lonely: Engine, watched: tuple[Api, CircuitBreaker]) -> Reader:
    """Return what writes through the lonely connection, once it is open."""
    made = Reader(lonely, LOOK_UP_TIMEOUT_MS, watched[1])
    made.write(text("select 1"), {}, tenant_id=TENANT)
    return made


def test_a_write_that_is_given_up_has_the_next_ones_refused_at_once(
    watched: tuple[Api, CircuitBreaker], writer: Reader
) -> None:
    api, watch = watched
    failures: list[Exception] = []

    def write() -> None:
        try:
            writer.write(text("select 1"), {}, tenant_id=TENANT)
        except DBAPIError as ex:
            failures.append(ex)

    with frozen(api.owner):
        wait_in_vain(threading.Thread(target=write), watch, api.moment)

        assert len(failures) == 1
        with pytest.raises(DatabaseUnavailableError):
            watch.admit()


def test_a_write_that_the_server_refuses_says_that_it_is_back(
    watched: tuple[Api, CircuitBreaker], writer: Reader
) -> None:
    api, watch = watched
    watch.note_failure(-PATIENCE_S)
    api.moment.pass_by(RETRY_S)

    with pytest.raises(DBAPIError):
        writer.write(text("select 1 / 0"), {}, tenant_id=TENANT)

    watch.admit()
