"""Fixtures of the tests of operations: a database, a broker and a read layer that no process serves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
import redis

from snapshots import settings
from snapshots.database import connect
from snapshots.signals import AUTHENTICATOR_ROLE, INGEST_ROLE, READER_ROLE, WORKER_ROLE
from tests.ops.system import System

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.postgres import Server

_ROLES: Final = (WORKER_ROLE, READER_ROLE, AUTHENTICATOR_ROLE, INGEST_ROLE)


@pytest.fixture
def system(server: Server, fresh_database: str, valkey_url: str) -> Iterator[System]:
    """Yield an empty system; nothing of it is left."""
    owner = connect(fresh_database)
    roles = worker, reader, authenticator, ingest = [connect(server.url_as(role, fresh_database)) for role in _ROLES]
    with redis.Redis.from_url(valkey_url) as client:
        client.flushall()
        yield System(owner, worker, reader, authenticator, ingest, client, settings.load(broker_url=valkey_url))
        client.config_set("maxmemory", 0)
        client.config_set("maxmemory-policy", "noeviction")
        client.flushall()
    for each in (owner, *roles):
        each.dispose()
