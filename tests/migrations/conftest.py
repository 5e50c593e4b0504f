"""A host at its own revision 094, and sessions of every role."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.pool import NullPool

from migrations.roles import ensure_roles
from snapshots.database import connect

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from tests.postgres import Server

HOST = Path(__file__).parents[1] / "host_094.sql"


@pytest.fixture
def host_database(empty_database: str) -> str:
    """Return the owner's URL of a host's database without our schema."""
    build_host(empty_database)
    return empty_database


def build_host(url: str) -> None:
    """Make an empty database a host's."""
    with session_factory(url).begin() as conn:
        conn.exec_driver_sql(HOST.read_text().replace("%", "%%"))


@pytest.fixture(params=["an empty database", "a host"])
def unmigrated(request: pytest.FixtureRequest, empty_database: str) -> str:
    """Return the owner's URL of a database that was never migrated, a host's among them; the roles exist."""
    if request.param == "a host":
        build_host(empty_database)
    ensure_roles(empty_database)
    return empty_database


@pytest.fixture
def superuser(server: Server) -> Callable[[str], Engine]:
    """Return a factory of engines as the superuser, on the database of that name; each statement commits."""

    def open_engine(database: str) -> Engine:
        url = server.cluster.superuser_url(database)
        return connect(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")

    return open_engine


@pytest.fixture
def open_as(server: Server) -> Callable[[str, str], Engine]:
    """Return a factory of engines on a URL's database, as a login that is a member of one group alone."""
    return lambda group, url: session_factory(server.url_as(group, url))


@pytest.fixture
def owner() -> Callable[[str], Engine]:
    """Return a factory of engines on a URL as it is."""
    return session_factory


def session_factory(url: str) -> Engine:
    """Return an engine that keeps no connection open, so that the database can be dropped."""
    return connect(url, poolclass=NullPool)
