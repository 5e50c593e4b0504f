"""Fixtures of telemetry: a database of its own, and the receiver without a process, as the roles that it runs as."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from falcon.testing import TestClient

from migrations import ingest
from ops.keys import create_key
from ops.receiving.app import create_app
from ops.receiving.assembler import Assembler
from ops.receiving.metrics import Metrics
from ops.telemetry.prices import Prices
from snapshots import settings
from snapshots.database import connect
from snapshots.signals import AUTHENTICATOR_ROLE, INGEST_CAPABILITY, INGEST_ROLE
from tests.telemetry.receiver import Receiver
from tests.telemetry.spans import TENANT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

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
    current = settings.load(ingest_max_body_mb=1, ingest_quiet_s=30, ingest_max_wait_s=900)
    metrics = Metrics()
    with engine.begin() as conn:
        made = {tenant: create_key(conn, tenant, capabilities=[INGEST_CAPABILITY]) for tenant in (TENANT, "globex")}
        reading = create_key(conn, TENANT).token
    client = TestClient(create_app(own, keys, current, metrics))
    yield Receiver(
        client,
        Assembler(own, current, Prices(), metrics),
        engine,
        {tenant: key.token for tenant, key in made.items()},
        reading,
    )
    own.dispose()
    keys.dispose()
