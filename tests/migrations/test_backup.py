"""Backups: a database that was dumped and restored works, and trusts no fact whose changes nobody marked."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, insert, make_url, select, text

from migrations import capture, runner
from ops.keys import create_key, list_keys
from snapshots import settings
from snapshots.movement import item_state
from snapshots.signals import READER_ROLE, SIGNALS, WORKER_ROLE
from snapshots.source import TENANT_SETTING
from snapshots.tables import SCHEMA, snapshot
from snapshots.triage import triage, triage_event
from tests.factories import insert_run
from tests.migrations.catalog import describe
from tests.migrations.conftest import build_host
from tests.migrations.dumps import restore, run
from tests.ops.documents import ROOT, documented, words_of
from worker.engine.refresh import refresh
from worker.engine.tables import fact_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy import Connection, Engine

    from tests.postgres import Server

    Open = Callable[[str], Engine]

SETTINGS = settings.load()
OPERATIONS = [ROOT / "docs" / "operations" / name for name in ("upgrade.md", "recover.md")]
#: The owner's rows are all that its policies show; without the option pg_dump refuses tables that force policies.
AS_OWNER = ("--format", "custom", "--enable-row-security")


@pytest.fixture
def in_service(host_database: str, owner: Open) -> str:
    """Return the URL of a host's database with two tenants' signals, whose changes are captured."""
    runner.migrate(settings.load(database_url=host_database))
    capture.install(owner(host_database))
    with owner(host_database).begin() as conn:
        for tenant in ("acme", "globex"):
            _plant(conn, tenant, f"{tenant}-1")
            create_key(conn, tenant)
    assert _methods(owner(host_database)) == ["full"] * 3
    assert _methods(owner(host_database)) == ["incremental"] * 3
    with owner(host_database).begin() as conn:
        _snooze(conn, "acme", "acme-1")
    return host_database


@pytest.fixture
def elsewhere(server: Server) -> Iterator[str]:
    """Yield the URL of another database of the cluster."""
    url = server.create_empty_database()
    yield url
    server.drop_database(url)


def _plant(conn: Connection, tenant: str, run_id: str) -> None:
    started = {"state": "LIVE", "started_at": func.now(), "risk_level": "AT_RISK"}
    insert_run(conn, id=run_id, tenant_id=tenant, estimated_cost_usd=1, **started)


def _snooze(conn: Connection, tenant: str, run_id: str) -> None:
    """Say of a run in the queue that it was seen, and then that it can wait: two events make one state."""
    known = select(item_state).where(item_state.c.tenant_id == tenant, item_state.c.key["run_id"].astext == run_id)
    item = conn.execute(known).one()
    said = {name: getattr(item, name) for name in ("tenant_id", "signal", "fingerprint", "key")} | {"actor": "anna"}
    until = func.now() + timedelta(hours=1)
    for action in ({"action": "acknowledge"}, {"action": "snooze", "until": until, "comment": "after lunch"}):
        conn.execute(insert(triage_event).values(**said, **action))


def _said(engine: Engine) -> list[list[object]]:
    """Return what was said of items: every event, and the state that they make."""
    with engine.connect() as conn:
        return [[*conn.execute(select(table).order_by(table.c.event_no))] for table in (triage_event, triage)]


def _methods(engine: Engine) -> list[str | None]:
    return [done.method for signal in SIGNALS if (done := refresh(engine, signal, SETTINGS, mode="manual"))]


def test_a_whole_database_is_restored_and_reads_every_row_once(
    server: Server, in_service: str, elsewhere: str, owner: Open, tmp_path: Path
) -> None:
    run(server, "pg_dump", "--dbname", in_service, *AS_OWNER, "--file", str(tmp_path / "all"))
    restore(server, elsewhere, tmp_path / "all")
    restored = owner(elsewhere)
    with restored.begin() as conn:
        kept = conn.execute(select(func.count()).select_from(fact_state)).scalar_one()
        _plant(conn, "acme", "acme-2")

    methods = [_methods(restored) for _ in range(2)]

    assert kept == 3 * 64
    assert methods == [["full"] * 3, ["incremental"] * 3]
    runner.check(elsewhere)
    assert describe(elsewhere, SCHEMA) == describe(in_service, SCHEMA)
    assert [len(rows) for rows in _said(restored)] == [2, 1]
    assert _said(restored) == _said(owner(in_service))
    with restored.connect() as conn:
        assert len(list_keys(conn)) == 2
        queue = conn.execute(select(snapshot.c.content).where(snapshot.c.tenant_id == "acme")).scalars().all()
    assert any("acme-2" in content for content in queue)


def as_documented(server: Server, folder: Path, program: str, databases: dict[str, str], *, named: str = "") -> None:
    """Run the command of docs/operations that begins with `program`, on these databases and in this folder."""
    lines = [
        line for page in OPERATIONS for line in documented(page) if line.startswith(f"{program} ") and named in line
    ]
    [line] = lines if named else lines[:1]
    words = [databases.get(word, word) for word in words_of(line)[1:]]
    run(server, program, *(str(folder / word) if word.endswith((".dump", ".sql")) else word for word in words))


def test_a_whole_database_is_restored_as_documented(
    server: Server, in_service: str, elsewhere: str, owner: Open, tmp_path: Path
) -> None:
    databases = {"DATABASE": in_service, "NEW_DATABASE": elsewhere}
    as_documented(server, tmp_path, "pg_dump", databases, named="all.dump")
    as_documented(server, tmp_path, "pg_restore", databases, named="all.dump")

    assert describe(elsewhere, SCHEMA) == describe(in_service, SCHEMA)
    assert _said(owner(elsewhere)) == _said(owner(in_service))


def test_what_people_said_survives_a_downgrade_as_documented(
    server: Server, in_service: str, owner: Open, tmp_path: Path
) -> None:
    before = _said(owner(in_service))
    as_documented(server, tmp_path, "pg_dump", {"DATABASE": in_service}, named="triage.sql")
    runner.downgrade(make_url(in_service), "102_movement")
    runner.migrate(settings.load(database_url=in_service))
    assert _said(owner(in_service)) == [[], []]

    as_documented(server, tmp_path, "psql", {"DATABASE": in_service}, named="triage.sql")

    assert _said(owner(in_service)) == before
    with owner(in_service).begin() as conn:
        _snooze(conn, "acme", "acme-1")  # numbers go on after those that came back


def test_tenants_and_roles_are_kept_apart_in_what_was_restored(
    server: Server, in_service: str, elsewhere: str, open_as: Callable[[str, str], Engine], tmp_path: Path
) -> None:
    run(server, "pg_dump", "--dbname", in_service, *AS_OWNER, "--file", str(tmp_path / "all"))
    restore(server, elsewhere, tmp_path / "all")
    seen = text("select distinct tenant_id from signals.snapshot union select tenant_id from signals.tenant_run")

    with open_as(READER_ROLE, elsewhere).connect() as conn:
        conn.execute(select(func.set_config(TENANT_SETTING, "acme", True)))  # noqa: FBT003  # set_config's own third position
        assert conn.execute(seen).scalars().all() == ["acme"]
    assert _methods(open_as(WORKER_ROLE, elsewhere)) == ["full"] * 3


def test_our_schema_alone_is_restored_beside_a_hosts_own_backup(
    server: Server, in_service: str, elsewhere: str, owner: Open, tmp_path: Path
) -> None:
    """The triggers are part of the host's tables, and not of our schema: until they are installed all is read."""
    run(server, "pg_dump", "--dbname", in_service, *AS_OWNER, "--schema", SCHEMA, "--file", str(tmp_path / "ours"))
    build_host(elsewhere)
    restore(server, elsewhere, tmp_path / "ours")
    restored = owner(elsewhere)
    with restored.begin() as conn:
        _plant(conn, "initech", "initech-1")

    before = _methods(restored)
    capture.install(restored)
    after = [_methods(restored) for _ in range(2)]

    assert (before, after) == (["full"] * 3, [["full"] * 3, ["incremental"] * 3])
    assert _said(restored) == _said(owner(in_service))
    assert describe(elsewhere, SCHEMA) == describe(in_service, SCHEMA)
    with restored.connect() as conn:
        assert "initech" in conn.execute(select(snapshot.c.tenant_id)).scalars().all()


def test_our_schema_is_put_back_where_it_was_lost(server: Server, in_service: str, owner: Open, tmp_path: Path) -> None:
    run(server, "pg_dump", "--dbname", in_service, *AS_OWNER, "--schema", SCHEMA, "--file", str(tmp_path / "ours"))
    before = describe(in_service), describe(in_service, SCHEMA)
    with owner(in_service).begin() as conn:
        conn.execute(text("drop schema signals cascade"))
        _plant(conn, "acme", "acme-2")

    restore(server, in_service, tmp_path / "ours")
    capture.install(owner(in_service))

    assert (describe(in_service), describe(in_service, SCHEMA)) == before
    assert [_methods(owner(in_service)) for _ in range(2)] == [["full"] * 3, ["incremental"] * 3]


def test_the_rows_alone_are_restored_without_the_triggers_that_made_them(
    server: Server, in_service: str, elsewhere: str, owner: Open, tmp_path: Path
) -> None:
    """As a superuser: a trigger that fired beside the rows of the dump would write each item's state a second time."""
    run(server, "pg_dump", "--dbname", in_service, *AS_OWNER, "--schema", SCHEMA, "--file", str(tmp_path / "ours"))
    build_host(elsewhere)
    restore(server, elsewhere, tmp_path / "ours", "--schema-only")

    as_superuser = server.cluster.superuser_url(str(make_url(elsewhere).database))
    restore(server, as_superuser, tmp_path / "ours", "--data-only", "--disable-triggers")

    assert [len(rows) for rows in _said(owner(elsewhere))] == [2, 1]
    assert _said(owner(elsewhere)) == _said(owner(in_service))
