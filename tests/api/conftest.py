"""Fixtures of the API's tests: the application over a database of the session, emptied before each test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from falcon.testing import TestClient
from sqlalchemy import event

from api.app import AppDependencies, create_app
from snapshots.database import connect
from snapshots.settings import Settings
from snapshots.signals import AUTHENTICATOR_ROLE, READER_ROLE, TRIAGE_ROLE
from tests.api.arrange import Api, Moment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from tests.postgres import Server


@pytest.fixture(scope="session")
def api_database(server: Server) -> Iterator[str]:
    """Yield the owner's URL of a migrated database that the tests of this folder share."""
    url = server.create_migrated_database()
    yield url
    server.drop_database(url)


@pytest.fixture(scope="session")
def owner(api_database: str) -> Iterator[Engine]:
    """Yield an engine of the owner."""
    engine = connect(api_database, name="activity tests")
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def reader(server: Server, api_database: str) -> Iterator[Engine]:
    """Yield an engine of a login that has the reader role alone."""
    engine = connect(server.url_as(READER_ROLE, api_database), hide_parameters=True)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def authenticator(server: Server, api_database: str) -> Iterator[Engine]:
    """Yield an engine of a login that has the authenticator role alone."""
    engine = connect(server.url_as(AUTHENTICATOR_ROLE, api_database), hide_parameters=True)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def triager(server: Server, api_database: str) -> Iterator[Engine]:
    """Yield an engine of a login that has the triage role alone."""
    engine = connect(server.url_as(TRIAGE_ROLE, api_database), hide_parameters=True, isolation_level="AUTOCOMMIT")
    yield engine
    engine.dispose()


@pytest.fixture
def api(owner: Engine, reader: Engine, authenticator: Engine, triager: Engine) -> Api:
    """Return the application over an empty database, with a clock that stands still."""
    moment = Moment()
    around = AppDependencies(clock=moment.clock, timer=moment.timer, triage=triager)
    app = create_app(reader, authenticator, Settings(), around)
    arranged = Api(TestClient(app), owner, moment, around.aside)
    arranged.clear()
    return arranged


@pytest.fixture
def statements(reader: Engine, authenticator: Engine) -> Iterator[list[str]]:
    """Yield the statements that the application sends, as they come."""
    seen: list[str] = []

    def record(_conn: Any, _cursor: Any, statement: str, *_rest: Any) -> None:  # noqa: ANN401  # SQLAlchemy's arguments
        seen.append(statement)

    for engine in (reader, authenticator):
        event.listen(engine, "after_cursor_execute", record)
    yield seen
    for engine in (reader, authenticator):
        event.remove(engine, "after_cursor_execute", record)
