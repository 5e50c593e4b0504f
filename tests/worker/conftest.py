"""Fixtures of the worker's tests: an engine on a database of the test's own, where commits are allowed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis

from snapshots.database import connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine


@pytest.fixture
def engine(fresh_database: str) -> Iterator[Engine]:
    """Yield an engine on a migrated database that is dropped afterwards."""
    engine = connect(fresh_database, name="activity tests")
    yield engine
    engine.dispose()


@pytest.fixture
def broker_url(valkey_url: str) -> Iterator[str]:
    """Yield the URL of an empty broker."""
    with redis.Redis.from_url(valkey_url) as client:
        client.flushall()
        yield valkey_url
        client.flushall()
