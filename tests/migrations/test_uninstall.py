"""Leaving a host for good: its database is, to the letter of a dump, what it was before we came."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from sqlalchemy import make_url, text

from migrations import capture, runner
from ops.adoption import uninstalling
from ops.adoption.leaving import detach
from ops.commands.uninstall import uninstall
from ops.keys import create_key
from snapshots import settings
from snapshots.errors import ActivityError
from snapshots.signals import SIGNALS
from snapshots.tables import SCHEMA
from tests.factories import insert_run
from tests.migrations.catalog import describe
from tests.migrations.dumps import dump
from tests.postgres import Server
from worker.engine.refresh import refresh

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy import Engine


SETTINGS = settings.load()


def live_with(url: str, engine: Engine) -> None:
    """Do to a database what we do in service."""
    runner.migrate(settings.load(database_url=url))
    capture.install(engine)
    with engine.begin() as conn:
        insert_run(conn, id="run-1", tenant_id="acme", agent_id="a", status="failed", estimated_cost_usd=1)
        create_key(conn, "acme")
    for signal in SIGNALS:
        refresh(engine, signal, SETTINGS)


@pytest.mark.parametrize("is_detached", [False, True])
def test_a_host_is_left_exactly_as_it_was(
    server: Server, host_database: str, owner: Callable[[str], Engine], *, is_detached: bool
) -> None:
    before = dump(server, host_database, "--schema-only", "--create")
    live_with(host_database, owner(host_database))
    during = dump(server, host_database, "--schema-only", "--create")
    if is_detached:
        detach(make_url(host_database))

    uninstalling.uninstall(make_url(host_database))

    assert during != before
    assert dump(server, host_database, "--schema-only", "--create") == before
    with owner(host_database).connect() as conn:
        assert conn.execute(text("select id from runs")).scalars().all() == ["run-1"]
    assert uninstalling.plan(make_url(host_database), with_roles=False) == []


def test_what_we_made_ourselves_goes_with_its_rows(
    server: Server, empty_database: str, owner: Callable[[str], Engine]
) -> None:
    before = dump(server, empty_database, "--schema-only", "--create")
    live_with(empty_database, owner(empty_database))

    lines = uninstalling.plan(make_url(empty_database), with_roles=True)
    uninstalling.uninstall(make_url(empty_database))

    assert "table public.runs, 1 rows" in lines
    assert "triggers on public.aos_traces" in lines
    assert "role activity_worker, unless something depends on it" in lines
    assert dump(server, empty_database, "--schema-only", "--create") == before


def test_a_host_that_was_changed_while_detached_is_left_too(host_database: str, owner: Callable[[str], Engine]) -> None:
    live_with(host_database, owner(host_database))
    detach(make_url(host_database))
    with owner(host_database).begin() as conn:
        conn.execute(text("drop view v_runs_o2; alter table runs drop column estimated_cost_usd"))

    uninstalling.uninstall(make_url(host_database))

    assert describe(host_database, SCHEMA) == frozenset()
    assert not [line for line in describe(host_database) if "ix_signals" in line]


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("create view public.report as select * from signals.snapshot", "report"),
        ("create view public.report as select * from signals.source_run", "report"),
        ("create table signals.notes (note text)", "notes"),
        ("create table public.audit (key_id text references signals.api_key)", "audit"),
        ("create function signals.mine() returns int language sql as 'select 1'", "mine"),
        ("create sequence signals.numbers", "numbers"),
        ("create view public.slots as select signals.slot_of('acme') as slot", "slots"),
    ],
)
def test_what_is_not_ours_is_named_and_nothing_is_touched(
    host_database: str, owner: Callable[[str], Engine], statement: str, named: str
) -> None:
    runner.migrate(settings.load(database_url=host_database))
    with owner(host_database).begin() as conn:
        conn.execute(text(statement))
    before = describe(host_database), describe(host_database, SCHEMA)

    with pytest.raises(ActivityError, match=rf"not ours.*{named}"):
        uninstalling.plan(make_url(host_database), with_roles=False)

    assert (describe(host_database), describe(host_database, SCHEMA)) == before


@pytest.mark.parametrize("is_captured", [False, True])
def test_nothing_of_ours_is_taken_for_somebody_elses(
    host_database: str, owner: Callable[[str], Engine], *, is_captured: bool
) -> None:
    runner.migrate(settings.load(database_url=host_database))
    if is_captured:
        capture.install(owner(host_database))

    assert uninstalling.plan(make_url(host_database), with_roles=False)


def test_a_long_transaction_is_waited_for_and_holds_up_nobody(
    host_database: str, owner: Callable[[str], Engine]
) -> None:
    live_with(host_database, owner(host_database))
    capture.remove(owner(host_database))

    with ThreadPoolExecutor(1) as pool, owner(host_database).connect() as slow, owner(host_database).connect() as quick:
        insert_run(slow, id="run-slow")
        leaving = pool.submit(uninstalling.uninstall, make_url(host_database))
        _wait_until_it_waits(owner(host_database))
        quick.execute(text("set lock_timeout = '1s'"))
        insert_run(quick, id="run-quick")
        quick.commit()
        assert not leaving.done()
        slow.commit()
        leaving.result()

    assert describe(host_database, SCHEMA) == frozenset()


def _wait_until_it_waits(engine: Engine) -> None:
    waiting = text(
        "select 1 from pg_stat_activity where wait_event_type = 'Lock' and query ilike 'drop index concurrently%'"
        " and datname = current_database()"
    )
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as conn:
        while conn.execute(waiting).first() is None:
            pass


def test_the_command_shows_what_would_go_and_asks(
    host_database: str, owner: Callable[[str], Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTIVITY_DATABASE_URL", host_database)
    live_with(host_database, owner(host_database))
    run = CliRunner().invoke

    shown, refused = run(uninstall, ["--dry-run"]), run(uninstall)
    between = describe(host_database, SCHEMA)
    done, again = run(uninstall, ["--yes"]), run(uninstall, ["--yes"])

    assert "index public.ix_signals_runs_started\n" in shown.output
    assert "table public" not in shown.output
    assert "repeat with --yes" in str(refused.exception)
    assert between
    assert done.output.endswith("removed\n")
    assert again.output == "nothing of ours is in this database\n"
    assert describe(host_database, SCHEMA) == frozenset()


def test_a_role_that_something_depends_on_stays_and_the_reason_is_told(
    fresh_database: str, host_database: str, superuser: Callable[[str], Engine]
) -> None:
    """The cluster has other databases of ours, and logins that are members."""
    login = f"login_{secrets.token_hex(4)}"
    with superuser("postgres").connect() as conn:
        conn.execute(text(f"create role {login} login in role activity_reader"))

    lines = uninstalling.drop_roles(make_url(host_database))

    with superuser("postgres").connect() as conn:
        conn.execute(text(f"drop role {login}"))
    assert len(lines) == 5
    assert all(": stays, " in line for line in lines), lines
    assert any(f"members: {login}" in line or login in line for line in lines)
    assert describe(fresh_database, SCHEMA)


def test_roles_that_nothing_depends_on_are_dropped(private_folder: Path, server: Server) -> None:
    alone = Server(server.name, private_folder / "alone")
    try:
        url = make_url(alone.create_empty_database())
        runner.migrate(settings.load(database_url=url.render_as_string(hide_password=False)))
        uninstalling.uninstall(url)

        lines = uninstalling.drop_roles(url)

        assert lines == [
            f"role activity_{name}: dropped" for name in ("authenticator", "ingest", "reader", "triage", "worker")
        ]
        assert uninstalling.drop_roles(url) == []
    finally:
        alone.stop()
