"""Fixtures of telemetry: a database of its own, and the receiver without a process, as the roles that it runs as."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from migrations import ingest
from snapshots.database import connect
from snapshots.signals import AUTHENTICATOR_ROLE, INGEST_ROLE
from tests.ingest.receiver import receiver_over

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from tests.ingest.receiver import Receiver
    from tests.postgres import Server


@pytest.fixture
def engine(fresh_database: str) -> Iterator[Engine]:
    """Yield an engine of the owner, on a database whose source the ingest role may write."""
    engine = connect(fresh_database)
    with engine.begin() as conn:
        ingest.open_source(conn)
    yield engine
    engine.dispose()


@pytest.fixture
def receiver(server: Server, fresh_database: str, engine: Engine) -> Iterator[Receiver]:
    """Yield a receiver without a process; rounds are made by hand."""
    own = connect(server.url_as(INGEST_ROLE, fresh_database))
    keys = connect(server.url_as(AUTHENTICATOR_ROLE, fresh_database))
    yield receiver_over(own, keys, engine)
    own.dispose()
    keys.dispose()
