"""Upgrade of an installation of an earlier release: no drift, no lost row, the bodies of a full recompute.

`earlier_release.py` made the dump. What is computed is computed as of the time of the dump.
"""

from __future__ import annotations

import gzip
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Engine, func, select, text

from migrations import runner
from migrations.roles import ensure_roles
from ops import keys, webhooks
from snapshots import settings
from snapshots.database import normalise
from snapshots.signals import SCHEMA_REVISION, SIGNALS
from snapshots.tables import freshness, snapshot
from tests.migrations.dumps import run
from tests.worker.agreement import assert_published_equals_staged
from worker.engine import change_queue
from worker.engine.batch import refresh_batch
from worker.engine.context import RefreshContext
from worker.engine.publish import draw_fence
from worker.engine.reconcile import reconcile
from worker.engine.refresh import refresh
from worker.engine.tables import fact_state
from worker.signals.registry import SIGNALS as SIGNAL_RULES

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from sqlalchemy import Connection

    from tests.postgres import Server

    Open = Callable[[str], Engine]

SETTINGS = settings.load()
DUMPS = sorted((Path(__file__).parent / "files").glob("*.sql.gz"))
#: What people and readers would miss.
_KEPT = ("snapshot", "snapshot_history", "triage", "triage_event", "webhook", "api_key", "refresh", "item_state")


@pytest.fixture(params=DUMPS, ids=lambda path: path.name.partition(".")[0])
def earlier(request: pytest.FixtureRequest, server: Server, empty_database: str, tmp_path: Path) -> str:
    """Return the owner's URL of a database of the earlier release."""
    ensure_roles(normalise(empty_database), dict.fromkeys(("worker", "auth", "reader", "triage", "ingest")))
    script = tmp_path / "earlier.sql"
    script.write_bytes(gzip.decompress(request.param.read_bytes()))
    run(
        server, "psql", "--quiet", "--set", "ON_ERROR_STOP=1", "--output", "/dev/null",
        "--dbname", empty_database, "--file", str(script),
    )  # fmt: skip
    return empty_database


@pytest.fixture
def upgraded(earlier: str, owner: Open) -> Engine:
    """Return an engine on that database after `activity migrate`, in place: its triggers are those of before."""
    runner.migrate(settings.load(database_url=earlier))
    engine = owner(earlier)
    with engine.begin() as conn:
        for signal in SIGNAL_RULES.values():
            # A restored trigger has another number than the one that was dumped, an upgraded one the same.
            same = {"capture": change_queue.fingerprint(conn, signal)}
            conn.execute(fact_state.update().where(fact_state.c.signal == signal.name).values(same))
    return engine


def _rows(engine: Engine, columns: dict[str, str]) -> dict[str, set[str]]:
    """Return the rows of the tables as text."""
    with engine.connect() as conn:
        return {
            name: set(conn.execute(text(f"select cast(row({listed}) as text) from signals.{name}")).scalars())  # noqa: S608  # names are ours
            for name, listed in columns.items()
        }


def _columns(engine: Engine) -> dict[str, str]:
    listed = text(
        "select string_agg(quote_ident(attname), ', ' order by attnum) from pg_attribute"
        " where attrelid = cast(:name as regclass) and attnum > 0 and not attisdropped"
        # Revision 108 empties it, so that each snapshot is published once more.
        " and attname <> 'basis'"
    )
    with engine.connect() as conn:
        return {name: str(conn.execute(listed, {"name": f"signals.{name}"}).scalar_one()) for name in _KEPT}


def _as_of(conn: Connection, signal: str, ahead_s: int) -> datetime:
    """Return an instant shortly after the last refresh of the earlier release."""
    newest = select(func.max(freshness.c.as_of)).where(freshness.c.signal == signal)
    last: datetime = conn.execute(newest).scalar_one()
    return last + timedelta(seconds=ahead_s)


def test_a_migration_loses_no_row(earlier: str, owner: Open) -> None:
    columns = _columns(owner(earlier))
    before = _rows(owner(earlier), columns)

    runner.migrate(settings.load(database_url=earlier))

    assert _rows(owner(earlier), columns) == before
    assert {name for name, rows in before.items() if not rows} == set()
    with owner(earlier).connect() as conn:
        assert conn.execute(text("select version_num from signals.alembic_version")).scalar_one() == SCHEMA_REVISION
        assert len(keys.list_keys(conn)) == len(webhooks.listed(conn)) == 4


@pytest.mark.parametrize("signal", SIGNALS)
def test_the_first_refresh_is_full_and_the_comparison_finds_no_drift(upgraded: Engine, signal: str) -> None:
    rule = SIGNAL_RULES[signal]
    with upgraded.begin() as conn:
        as_of, fence = _as_of(conn, signal, 1), draw_fence(conn)[1]
        first = refresh_batch(conn, RefreshContext(rule, SETTINGS, fence, as_of, fence))
        assert_published_equals_staged(conn, rule, as_of)
    with upgraded.connect().execution_options(isolation_level="REPEATABLE READ") as conn, conn.begin():
        as_of, fence = as_of + timedelta(seconds=1), draw_fence(conn)[1]
        second = reconcile(conn, RefreshContext(rule, SETTINGS, fence, as_of, fence), draw_fence(conn)[1])
        assert_published_equals_staged(conn, rule, as_of)

    assert (first.method, first.drift) == ("full", None)
    assert first.tenants_seen >= 4
    assert (second.method, second.drift) == ("full", 0)


@pytest.mark.parametrize("signal", SIGNALS)
def test_a_comparison_right_after_the_upgrade_reports_no_drift(upgraded: Engine, signal: str) -> None:
    results = [refresh(upgraded, signal, SETTINGS, mode="reconcile") for _ in range(2)]

    assert [result.drift for result in results if result is not None] == [None, 0]


def test_refreshes_after_the_upgrade_keep_history_and_decisions(upgraded: Engine) -> None:
    columns = {name: listed for name, listed in _columns(upgraded).items() if name not in ("snapshot", "item_state")}
    before = _rows(upgraded, columns)

    for signal in SIGNALS:
        refresh(upgraded, signal, SETTINGS)

    after = _rows(upgraded, columns)
    assert all(before[name] <= after[name] for name in ("snapshot_history", "triage_event", "refresh"))
    assert all(before[name] == after[name] for name in ("triage", "webhook", "api_key"))
    with upgraded.connect() as conn:
        assert conn.execute(select(func.count()).select_from(snapshot)).scalar_one() == 3 * 4
