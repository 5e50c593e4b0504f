from __future__ import annotations

from threading import Barrier, Thread
from typing import TYPE_CHECKING, Final

import pytest
from sqlalchemy import text

from migrations import runner
from migrations.roles import ensure_roles
from ops.owned_tables import metadata
from snapshots import settings
from snapshots.errors import SchemaMismatchError
from snapshots.tables import SCHEMA
from tests.migrations.catalog import describe

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

REVISIONS: Final = (
    "086_runs_o2_schema",
    "094_limit_overrides",
    "095_activity_signal_indexes",
    "096_activity_snapshots",
    "097_activity_source_views",
    "098_incremental_refresh",
    "099_read_layer",
    "100_quarantine",
    "101_extras",
    "102_movement",
    "103_triage",
    "104_webhooks",
    "105_ingested_traces",
    "106_present_snapshot",
    "107_receiver_health",
    "108_session_settings",
    "109_capture_doubt",
    "111_refresh_owners",
    "112_signals",
)


def test_the_chain_is_the_ruled_one(unmigrated: str) -> None:
    found = []
    for revision in REVISIONS:
        runner.upgrade(unmigrated, revision)
        found.append(runner.current(unmigrated))

    assert tuple(found) == REVISIONS
    assert runner.head() == REVISIONS[-1]
    runner.check(unmigrated)


def test_autogenerate_finds_nothing_to_add(unmigrated: str) -> None:
    runner.upgrade(unmigrated)

    runner.autogenerate_check(unmigrated, metadata)


def test_the_tables_are_to_the_letter_what_the_metadata_describes(
    fresh_database: str, empty_database: str, owner: Callable[[str], Engine]
) -> None:
    """Autogenerate compares neither checks nor defaults, collations, storage options or the sequence."""
    with owner(empty_database).begin() as conn:
        conn.execute(text(f"create schema {SCHEMA}"))
        metadata.create_all(conn)
    described = {line for line in describe(empty_database, SCHEMA) if not line.startswith("access")}

    assert described <= describe(fresh_database, SCHEMA)


def test_a_second_upgrade_changes_nothing(unmigrated: str) -> None:
    runner.upgrade(unmigrated)
    before = describe(unmigrated), describe(unmigrated, SCHEMA)

    runner.upgrade(unmigrated)

    assert (describe(unmigrated), describe(unmigrated, SCHEMA)) == before


def test_an_upgrade_takes_nothing_from_a_host(host_database: str) -> None:
    ensure_roles(host_database)
    before = describe(host_database)

    runner.upgrade(host_database)

    added = describe(host_database) - before
    assert before <= describe(host_database)
    assert {line.split()[0] for line in added} == {"index"}


def test_the_host_keeps_its_own_version_table(host_database: str, owner: Callable[[str], Engine]) -> None:
    ensure_roles(host_database)

    runner.upgrade(host_database)

    with owner(host_database).connect() as conn:
        versions = conn.execute(text("select version_num from public.alembic_version")).scalars().all()
    assert versions == ["094_limit_overrides"]


def test_each_downgrade_undoes_its_upgrade_and_no_more(unmigrated: str) -> None:
    states = []
    for revision in REVISIONS:
        runner.upgrade(unmigrated, revision)
        states.append((describe(unmigrated), describe(unmigrated, SCHEMA)))

    for revision, state in reversed(list(zip(REVISIONS[:-1], states[:-1], strict=True))):
        runner.downgrade(unmigrated, revision)

        assert (describe(unmigrated), describe(unmigrated, SCHEMA)) == state, revision
    runner.upgrade(unmigrated)
    assert (describe(unmigrated), describe(unmigrated, SCHEMA)) == states[-1]


def test_a_downgrade_to_base_returns_the_database_exactly_as_it_was(unmigrated: str) -> None:
    before = describe(unmigrated)
    runner.upgrade(unmigrated)

    runner.downgrade(unmigrated, "base")

    assert describe(unmigrated) == before
    assert describe(unmigrated, SCHEMA) == frozenset()
    assert runner.current(unmigrated) is None


def test_an_upgrade_follows_a_downgrade_to_base(unmigrated: str) -> None:
    runner.upgrade(unmigrated)
    runner.downgrade(unmigrated, "base")

    runner.upgrade(unmigrated)

    runner.check(unmigrated)


def test_two_migrators_at_once_both_succeed(empty_database: str) -> None:
    start, failures = Barrier(2), []

    def migrate() -> None:
        start.wait()
        try:
            runner.migrate(settings.load(database_url=empty_database))
        except Exception as ex:  # noqa: BLE001  # whatever it is, the test reports it
            failures.append(ex)

    migrators = [Thread(target=migrate) for _ in range(2)]
    for migrator in migrators:
        migrator.start()
    for migrator in migrators:
        migrator.join()

    assert failures == []
    runner.check(empty_database)


def test_a_database_without_our_schema_is_named_with_what_is_needed(empty_database: str) -> None:
    with pytest.raises(SchemaMismatchError, match=rf"none.*{runner.head()}"):
        runner.check(empty_database)


def test_a_database_behind_is_named_with_both_revisions(empty_database: str) -> None:
    ensure_roles(empty_database)
    runner.upgrade(empty_database, REVISIONS[0])

    with pytest.raises(SchemaMismatchError, match=rf"{REVISIONS[0]}.*{runner.head()}"):
        runner.check(empty_database)


def test_a_database_ahead_is_refused_and_left_alone(fresh_database: str, owner: Callable[[str], Engine]) -> None:
    with owner(fresh_database).begin() as conn:
        conn.execute(text("update signals.alembic_version set version_num = '999_later'"))
    before = describe(fresh_database, SCHEMA)

    with pytest.raises(SchemaMismatchError, match=rf"999_later.*{runner.head()}"):
        runner.check(fresh_database)
    with pytest.raises(SchemaMismatchError, match="999_later"):
        runner.upgrade(fresh_database)

    assert describe(fresh_database, SCHEMA) == before


def test_a_host_without_archives_or_synthetic_runs_is_read_whole(
    host_database: str, owner: Callable[[str], Engine]
) -> None:
    with owner(host_database).begin() as conn:
        for table in ("aos_traces", "aos_trace_steps"):
            conn.execute(text(f"alter table public.{table} drop column archived_at, drop column is_synthetic"))
        conn.execute(text("insert into aos_traces (trace_id, run_id, tenant_id) values ('t', 'r', 'acme')"))
    ensure_roles(host_database)

    runner.upgrade(host_database)

    with owner(host_database).connect() as conn:
        rows = conn.execute(text("select trace_id, is_synthetic from signals.source_trace")).all()
    assert [tuple(row) for row in rows] == [("t", False)]


def test_archived_traces_and_steps_are_outside_the_views(fresh_database: str, owner: Callable[[str], Engine]) -> None:
    with owner(fresh_database).begin() as conn:
        for trace, archived_at in (("kept", None), ("archived", "2026-01-17T12:00:00Z")):
            named = {"trace": trace, "archived_at": archived_at}
            conn.execute(
                text(
                    "insert into public.aos_traces (trace_id, run_id, tenant_id, archived_at)"
                    " values (:trace, 'r', 'acme', cast(:archived_at as timestamptz))"
                ),
                named,
            )
            conn.execute(
                text(
                    "insert into public.aos_trace_steps (trace_id, step_index, archived_at)"
                    " values (:trace, 0, cast(:archived_at as timestamptz))"
                ),
                named,
            )
        traces = conn.execute(text("select trace_id from signals.source_trace")).scalars().all()
        steps = conn.execute(text("select trace_id from signals.source_step")).scalars().all()

    assert (traces, steps) == (["kept"], ["kept"])
