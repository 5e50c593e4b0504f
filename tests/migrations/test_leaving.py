"""Leaving a host for its own migration, and coming back: whatever it changes, nothing of ours is in its way."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Thread
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from falcon.testing import TestClient
from sqlalchemy import func, make_url, select, text
from sqlalchemy.exc import DBAPIError

from api.app import create_app
from migrations import capture, runner, views
from ops.adoption.leaving import attach, detach
from ops.commands.attach import attach as attach_command
from ops.commands.detach import detach as detach_command
from ops.commands.status import status
from ops.keys import create_key
from snapshots import settings
from snapshots.database import connect
from snapshots.errors import ActivityError, SchemaMismatchError
from snapshots.signals import AUTHENTICATOR_ROLE, READER_ROLE, SIGNALS, SLOTS, WORKER_ROLE
from snapshots.tables import SCHEMA, freshness, snapshot
from snapshots.tables import refresh as ledger_table
from tests.factories import insert_run
from tests.migrations.catalog import describe
from worker.engine import locks
from worker.engine.refresh import refresh
from worker.engine.tables import fact_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine, TextClause

    from tests.postgres import Server

SETTINGS = settings.load()
COLUMNS = [f"{table}.{column}" for table, columns in views.NEEDED.items() for column in columns]


@pytest.fixture(params=["a host", "our own tables"])
def place(request: pytest.FixtureRequest, empty_database: str) -> str:
    """Return the owner's URL of a migrated database: over a host's tables, or over those that we made."""
    if request.param == "a host":
        request.getfixturevalue("host_database")
    runner.migrate(settings.load(database_url=empty_database))
    return empty_database


@pytest.fixture
def captured(fresh_database: str) -> Iterator[Engine]:
    """Yield an engine on a database whose changes are captured and whose signals are published."""
    engine = connect(fresh_database)
    capture.install(engine)
    with engine.begin() as conn:
        insert_run(conn, id="run-1", tenant_id="acme", state="LIVE", risk_level="AT_RISK", started_at=func.now())
    for signal in SIGNALS:
        refresh(engine, signal, SETTINGS)
    yield engine
    engine.dispose()


def everything(url: str) -> tuple[frozenset[str], frozenset[str]]:
    return describe(url), describe(url, SCHEMA)


@pytest.mark.parametrize("is_captured", [True, False])
def test_what_was_detached_is_attached_exactly_as_it_was(
    place: str, owner: Callable[[str], Engine], *, is_captured: bool
) -> None:
    if is_captured:
        capture.install(owner(place))
    before = everything(place)

    detached, again = detach(make_url(place)), detach(make_url(place))
    public, ours = everything(place)
    attached, twice = attach(make_url(place)), attach(make_url(place))

    assert (detached, again) == (True, False)
    assert not [line for line in public if "signals_" in line and "trigger" in line]
    assert not [line for line in ours if line.startswith(("view signals.source", "view signals.tenant"))]
    assert attached is not None
    assert twice is None
    assert everything(place) == before
    runner.check(place)


def test_every_view_over_a_hosts_table_is_known_to_detach(place: str, owner: Callable[[str], Engine]) -> None:
    """A revision that adds one names it in `migrations.views`."""
    direct = text("""
    with recursive reader (oid) as (
        select unnest(array['public.runs', 'public.aos_traces', 'public.aos_trace_steps']::regclass[])::oid
        union
        select pg_rewrite.ev_class
        from reader
        inner join pg_depend on pg_depend.refobjid = reader.oid and pg_depend.refclassid = 'pg_class'::regclass
        inner join pg_rewrite on pg_rewrite.oid = pg_depend.objid and pg_depend.classid = 'pg_rewrite'::regclass
    )
    select relname from pg_class inner join reader on reader.oid = pg_class.oid
    where relnamespace = 'signals'::regnamespace
    """)
    with owner(place).connect() as conn:
        assert set(conn.execute(direct).scalars()) == {view.name for view in views.ALL}


def test_rights_that_somebody_gave_or_took_come_back_as_they_were(place: str, owner: Callable[[str], Engine]) -> None:
    with owner(place).begin() as conn:
        conn.execute(text('do $$ begin create role "An Analyst" nologin; exception when others then null; end $$'))
        conn.execute(text('grant select on signals.source_run to "An Analyst" with grant option'))
        conn.execute(text('grant select (run_id, state) on signals.tenant_run to "An Analyst"'))
        conn.execute(text("grant select on signals.tenant_step to public"))
        conn.execute(text("revoke select on signals.tenant_trace from activity_reader"))
    rights = text("""
    select relname, attname, relowner, relacl::text, attacl::text
    from pg_class inner join pg_attribute on attrelid = pg_class.oid
    where relnamespace = 'signals'::regnamespace and relkind = 'v' order by relname, attname
    """)
    with owner(place).connect() as conn:
        before = conn.execute(rights).all()

    detach(make_url(place))
    attach(make_url(place))

    with owner(place).connect() as conn:
        assert conn.execute(rights).all() == before


def test_a_host_may_drop_any_column_meanwhile_and_is_told_which_is_missed(captured: Engine) -> None:
    for column in COLUMNS:
        with captured.connect() as conn, pytest.raises(DBAPIError, match="cannot drop column"):
            conn.execute(_dropping(column))
    detach(captured.url)

    for column in COLUMNS:
        with captured.connect() as conn:
            conn.execute(text("drop view v_runs_o2"))
            conn.execute(_dropping(column, "cascade"))
            table, name = column.split(".")
            assert views.missing(conn) == [f"column {name} of public.{table}"]


@pytest.mark.parametrize("column", ["runs.risk_level", "aos_traces.run_id", "aos_trace_steps.timestamp"])
def test_attach_without_a_column_names_it_and_changes_nothing(captured: Engine, column: str) -> None:
    url, (table, name) = captured.url.render_as_string(hide_password=False), column.split(".")
    detach(captured.url)
    with captured.begin() as conn:
        conn.execute(text("drop view v_runs_o2"))
        conn.execute(_dropping(column, "cascade"))
    before = everything(url)

    with pytest.raises(SchemaMismatchError, match=rf"the host has no column {name} of public\.{table};"):
        attach(captured.url)

    assert everything(url) == before


def _dropping(column: str, how: str = "restrict") -> TextClause:
    table, name = column.split(".")
    return text(f'alter table {table} drop column "{name}" {how}')


def test_a_host_may_change_types_and_take_indexes_along(captured: Engine) -> None:
    detach(captured.url)
    with captured.begin() as conn:
        conn.execute(text("drop view v_runs_o2"))
        conn.execute(text("alter table runs alter column state type text, drop column estimated_cost_usd"))
        conn.execute(text("alter table runs add column estimated_cost_usd numeric(12, 6)"))
        conn.execute(text("alter table aos_traces drop column archived_at"))
    indexes = text("select indexname from pg_indexes where indexname ~ '(agent_cost|ix_signals)' order by 1")
    with captured.connect() as conn:
        during = set(conn.execute(indexes).scalars())

    attach(captured.url)

    with captured.connect() as conn:
        assert set(conn.execute(indexes).scalars()) - during == {
            "idx_runs_tenant_agent_cost",
            "ix_signals_runs_agent_completed",
            "ix_signals_runs_backwards",
        }
    assert [done.method for signal in SIGNALS if (done := refresh(captured, signal, SETTINGS))] == ["full"] * 3


def test_a_refresh_does_not_wait_for_the_indexes_nor_they_for_it(captured: Engine) -> None:
    """It waits inside a statement, which CREATE INDEX CONCURRENTLY waits for: held meanwhile, neither would end."""
    detach(captured.url)
    with captured.begin() as conn:
        conn.execute(text("drop index idx_runs_tenant_source"))

    with ThreadPoolExecutor(1) as pool, captured.connect() as writer:
        insert_run(writer, id="run-slow")
        attaching = pool.submit(attach, captured.url)
        _wait_for_build(captured)
        with locks.held(captured, "cost", range(SLOTS), wait_s=5) as lock:
            assert lock is not None
        writer.commit()
        assert attaching.result() is not None

    with captured.connect() as conn:
        assert conn.execute(text("select to_regclass('public.idx_runs_tenant_source')")).scalar_one()


def _wait_for_build(engine: Engine) -> None:
    waiting = text(
        "select 1 from pg_stat_activity where wait_event_type = 'Lock' and query ilike 'create index concurrently%'"
        " and datname = current_database()"
    )
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as conn:
        while conn.execute(waiting).first() is None:
            pass


def test_the_refreshes_after_attach_are_full_and_then_incremental_again(captured: Engine) -> None:
    before = [done.method for signal in SIGNALS if (done := refresh(captured, signal, SETTINGS))]
    detach(captured.url)
    with captured.begin() as conn:
        insert_run(conn, id="run-2", tenant_id="beta", state="LIVE", risk_level="VIOLATED", started_at=func.now())
    attach(captured.url)
    with captured.connect() as conn:
        known = conn.execute(select(func.count()).select_from(fact_state)).scalar_one()

    methods = [[done.method for signal in SIGNALS if (done := refresh(captured, signal, SETTINGS))] for _ in range(2)]

    assert (before, known) == (["incremental"] * 3, 0)
    assert methods == [["full"] * 3, ["incremental"] * 3]
    with captured.connect() as conn:
        assert "beta" in conn.execute(select(snapshot.c.tenant_id)).scalars().all()


def test_a_refresh_meanwhile_fails_and_leaves_what_is_published(captured: Engine) -> None:
    published = select(snapshot).order_by(snapshot.c.tenant_id, snapshot.c.signal), select(freshness.c.verified_at)
    with captured.connect() as conn:
        before = [conn.execute(statement).all() for statement in published]
    detach(captured.url)

    for signal in SIGNALS:
        with pytest.raises(SchemaMismatchError, match=r"signals\.source_"):
            refresh(captured, signal, SETTINGS, mode="manual")

    with captured.connect() as conn:
        assert [conn.execute(statement).all() for statement in published] == before
        failed = conn.execute(select(ledger_table).order_by(ledger_table.c.refresh_id.desc()).limit(3)).all()
    assert {(row.state, row.error_class) for row in failed} == {("failed", "SchemaMismatchError")}
    assert all("signals.source_" in row.error for row in failed)


def test_snapshots_are_served_meanwhile_and_nothing_else_is(captured: Engine, server: Server) -> None:
    url = captured.url.render_as_string(hide_password=False)
    with captured.begin() as conn:
        token = create_key(conn, "acme").token
    reader, keys = connect(server.url_as(READER_ROLE, url)), connect(server.url_as(AUTHENTICATOR_ROLE, url))
    headers = {"Authorization": f"Bearer {token}"}
    detach(captured.url)
    client = TestClient(create_app(reader, keys, SETTINGS))

    answers = {
        path: client.simulate_get(path, headers=headers)
        for path in ("/readyz", *(f"/api/v1/activity/{name}" for name in ("runs", "summary/by-status", "runs/run-1")))
    }
    served = client.simulate_get("/api/v1/activity/attention-queue", headers=headers)
    attach(captured.url)
    ready = TestClient(create_app(reader, keys, SETTINGS)).simulate_get("/readyz")
    reader.dispose()
    keys.dispose()

    assert {path: (each.status_code, each.json["error"]) for path, each in answers.items()} == dict.fromkeys(
        answers, (503, "schema_mismatch")
    )
    assert (served.status_code, served.json["queue"][0]["run_id"]) == (200, "run-1")
    assert ready.status_code == 200


def test_the_commands_say_where_we_are(captured: Engine, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    url = captured.url.render_as_string(hide_password=False)
    monkeypatch.setenv("ACTIVITY_DATABASE_URL", url)
    monkeypatch.setenv("ACTIVITY_WORKER_DATABASE_URL", server.url_as(WORKER_ROLE, url))
    run = CliRunner().invoke

    said = [run(command).output for command in (detach_command, detach_command, status, attach_command, attach_command)]

    assert said[0].startswith("detached: nothing of ours")
    assert said[1].startswith("was detached before: ")
    assert "detached since 20" in said[2]
    assert said[3].startswith("attached; changes of runs, aos_traces, aos_trace_steps are captured")
    assert said[4] == "was not detached\n"
    assert "detached" not in run(status).output


def test_migrations_and_workers_wait_for_attach(captured: Engine) -> None:
    detach(captured.url)

    for refused in (runner.check, runner.upgrade):
        with pytest.raises(SchemaMismatchError, match="run `activity attach` first"):
            refused(captured.url)

    attach(captured.url)
    runner.upgrade(captured.url)


def test_what_somebody_else_built_on_our_views_is_named_and_kept(captured: Engine) -> None:
    with captured.begin() as conn:
        conn.execute(text("create view public.report as select * from signals.source_run"))
    before = everything(captured.url.render_as_string(hide_password=False))

    with pytest.raises(ActivityError, match=r"not ours.*view.*report"):
        detach(captured.url)

    assert everything(captured.url.render_as_string(hide_password=False)) == before


def test_a_writer_in_the_way_of_the_triggers_is_not_ended_and_nothing_is_half_done(captured: Engine) -> None:
    """The writer holds the last table and then wants the first, which attach holds: a deadlock, were attach patient."""
    detach(captured.url)
    before = everything(captured.url.render_as_string(hide_password=False))

    with captured.connect() as writer:
        writer.execute(text("insert into aos_traces (trace_id, run_id, tenant_id) values ('t', 'r', 'acme')"))
        failure: list[Exception] = []
        attaching = Thread(target=_catch, args=(failure, captured))
        attaching.start()
        _wait_for_lock(captured)
        insert_run(writer, id="run-3")
        attaching.join()
        writer.commit()

    assert "writers did not let go; nothing was changed" in str(failure[0])
    assert everything(captured.url.render_as_string(hide_password=False)) == before
    assert attach(captured.url, attempts=1) is not None


def _catch(failure: list[Exception], engine: Engine) -> None:
    try:
        attach(engine.url, attempts=1)
    except ActivityError as ex:
        failure.append(ex)


def _wait_for_lock(engine: Engine) -> None:
    held = text(
        "select 1 from pg_locks where relation = 'runs'::regclass and mode = 'ShareRowExclusiveLock' and granted"
    )
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as conn:
        while conn.execute(held).first() is None:
            pass
