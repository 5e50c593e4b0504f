"""Change capture on a database that a pglogical subscription writes to: its apply worker fires no statement trigger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from sqlalchemy import select

from snapshots import settings
from snapshots.tables import snapshot
from tests.replication import LogicalServer, Subscription, call, missing, plant, subscription, until
from worker.engine import capture_trust
from worker.engine.refresh import refresh
from worker.signals.registry import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: With the slower period as long as the others, a test need not wait.
SETTINGS: Final = settings.load(uncaptured_period_s=30, attention_rescore_s=30)

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))


@pytest.fixture(scope="module")
def logical_server(private_folder: Path) -> Iterator[LogicalServer]:
    """Yield a running server with pglogical."""
    server = LogicalServer("pg15", private_folder)
    yield server
    server.stop()


@pytest.fixture
def replicated(logical_server: LogicalServer) -> Iterator[Subscription]:
    """Yield a provider and its subscriber, both captured."""
    with subscription(logical_server) as made:
        yield made


def test_rows_that_pglogical_applies_are_published_and_the_reason_is_said(replicated: Subscription) -> None:
    worker = replicated.worker
    for _ in range(2):
        for name in SIGNALS:
            refresh(worker, name, SETTINGS)
    with replicated.provider.begin() as conn:
        plant(conn)
    until(lambda: call(worker, "select count(*) from signals.source_step") == 300)

    methods = {name: done.method for name in SIGNALS if (done := refresh(worker, name, SETTINGS))}

    assert methods == dict.fromkeys(SIGNALS, "full")
    with worker.connect() as conn:
        assert set(conn.execute(select(snapshot.c.signal).where(snapshot.c.tenant_id == "acme")).scalars()) == {
            *SIGNALS
        }
        for signal in SIGNALS.values():
            trust = capture_trust.read(conn, signal)
            assert (trust.is_captured, trust.is_lost) == (False, True)
            assert trust.losses == [
                "an apply worker of the extension pglogical writes to this database without firing triggers"
            ]


def test_the_provider_of_a_subscription_is_captured(replicated: Subscription) -> None:
    with replicated.provider.connect() as conn:
        assert all(capture_trust.read(conn, signal).is_captured for signal in SIGNALS.values())
