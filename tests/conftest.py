"""Fixtures for every part: real PostgreSQL and Valkey, private to the session."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

# A developer's settings must not reach a test, and modules may read them when imported.
for _name in [name for name in os.environ if name.startswith(("ACTIVITY_", "PG"))]:  # noqa: TID251  # emptied here
    del os.environ[_name]  # noqa: TID251  # emptied here

from ops.local.embedded.valkey import ValkeyServer  # noqa: E402  # after the environment is clean
from tests.postgres import BINARIES, Server  # noqa: E402  # after the environment is clean

#: Each example undoes what it did, so that sharing a fixture is no fault.
_SHARED = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))
settings.register_profile("small", _SHARED, max_examples=30, derandomize=True)
settings.register_profile("full", _SHARED, max_examples=200)
settings.register_profile("laws", _SHARED, max_examples=500)
if settings.get_current_profile_name() == "default":
    settings.load_profile("small")

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection

#: The folders whose tests run on every supported server.
_ON_EVERY_SERVER = {"migrations", "signals", "worker"}
_DEFAULT_SERVER = "pg18"
#: Files that a process is busy with for half a minute or more.
_LONG_FILES = (
    "chaos/test_chaos.py",
    "worker/test_laws.py",
    "browser/*.py",
    "served/*.py",
    "ops/test_deployment_runs.py",
)
_MEMORY = Path("/dev/shm")  # noqa: S108  # a folder with a random name is made in it, for its owner alone
_ROOMY_BYTES = 4 * 2**30


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that sizes the suites against served processes."""
    parser.addoption("--full-size", action="store_true", help="run the suites of tests/served at full size")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of these folders on each supported server."""
    if "server" in metafunc.fixturenames:
        everywhere = not _ON_EVERY_SERVER.isdisjoint(metafunc.definition.path.parts)
        metafunc.parametrize(
            "server", list(BINARIES) if everywhere else [_DEFAULT_SERVER], indirect=True, scope="session"
        )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files of few long tests: left for the end, one process would wait for the other's."""
    items.sort(key=lambda item: not any(item.path.match(pattern) for pattern in _LONG_FILES))


def _in_memory() -> Path | None:
    """Return a file system in memory with room, or None: a database is made there in a tenth of the time."""
    is_roomy = _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free >= _ROOMY_BYTES
    return _MEMORY if is_roomy else None


@pytest.fixture(scope="session")
def private_folder() -> Iterator[Path]:
    """Return a folder with a short path, for servers; removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="activity-tests-", dir=_in_memory()))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def servers(private_folder: Path) -> Iterator[dict[str, Server]]:
    """Return the servers by name; each starts when it is first used, and keeps running until the end."""
    known = {name: Server(name, private_folder) for name in BINARIES}
    yield known
    for server in known.values():
        server.stop()


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest, servers: dict[str, Server]) -> Server:
    """Return the server that the test runs on."""
    name: str = request.param
    if not BINARIES[name].is_dir():
        pytest.skip(f"{BINARIES[name]} is absent: no server of that version on this machine")
    return servers[name]


@pytest.fixture(scope="session")
def database_url(server: Server) -> str:
    """Return the owner's URL of a migrated database; tests leave it as they found it."""
    return server.shared_url


@pytest.fixture
def conn(server: Server) -> Iterator[Connection]:
    """Return a connection as the owner, in a transaction that is rolled back."""
    with server.shared_engine.connect() as connection, connection.begin() as transaction:
        yield connection
        transaction.rollback()


@pytest.fixture
def new_database(server: Server) -> Iterator[Callable[[], str]]:
    """Return a factory of migrated databases, as URLs of the owner; dropped afterwards."""
    made: list[str] = []

    def make() -> str:
        made.append(server.create_migrated_database())
        return made[-1]

    yield make
    for url in made:
        server.drop_database(url)


@pytest.fixture
def fresh_database(new_database: Callable[[], str]) -> str:
    """Return the owner's URL of a migrated database that is the test's own; committed data is allowed."""
    return new_database()


@pytest.fixture
def empty_database(server: Server) -> Iterator[str]:
    """Return the owner's URL of a database without our schema, for migrations."""
    url = server.create_empty_database()
    yield url
    server.drop_database(url)


@pytest.fixture(scope="session")
def valkey_server(private_folder: Path) -> Iterator[ValkeyServer]:
    """Return a running Valkey, private to the session."""
    valkey = ValkeyServer(private_folder / "valkey")
    valkey.start()
    yield valkey
    valkey.stop()


@pytest.fixture(scope="session")
def valkey_url(valkey_server: ValkeyServer) -> str:
    """Return the URL of a real Valkey that tests share."""
    return valkey_server.url
