"""Indexes on source tables: built beside running writers, repaired after an interruption, dropped only when ours."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import pytest
from sqlalchemy import Connection, make_url, text
from sqlalchemy.exc import SQLAlchemyError

from migrations import runner
from migrations.roles import ensure_roles

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

SPEC_INDEXES: Final = {
    "idx_runs_tenant_provider": "(tenant_id, provider_type)",
    "idx_runs_tenant_source": "(tenant_id, source)",
    "idx_aos_trace_steps_skill_retry": "(trace_id, skill_id, retry_count)",
    "idx_aos_trace_steps_duration": "(trace_id, duration_ms)",
    "idx_runs_tenant_agent_cost": "(tenant_id, agent_id, estimated_cost_usd, completed_at)"
    " WHERE (estimated_cost_usd IS NOT NULL)",
}
OURS: Final = {
    "ix_signals_traces_tenant_started": "(tenant_id, started_at)",
    "ix_signals_traces_started": "(started_at)",
    "ix_signals_runs_started": "(started_at)",
    "ix_signals_runs_completed": "(completed_at)",
    "ix_signals_runs_agent_completed": "(tenant_id, agent_id, completed_at)"
    " INCLUDE (started_at, estimated_cost_usd, is_synthetic) WHERE (estimated_cost_usd IS NOT NULL)",
    "ix_signals_runs_backwards": "(tenant_id, agent_id, started_at)"
    " INCLUDE (completed_at, estimated_cost_usd, is_synthetic)"
    " WHERE ((estimated_cost_usd IS NOT NULL) AND (completed_at < started_at))",
    "ix_signals_runs_tenant_started": "(tenant_id, started_at DESC NULLS LAST)",
}
PATIENCE_S: Final = 60.0


@pytest.mark.parametrize(("name", "definition"), {**SPEC_INDEXES, **OURS}.items())
def test_every_index_of_the_contract_and_ours_is_there(conn: Connection, name: str, definition: str) -> None:
    found = conn.execute(text("select indexdef from pg_indexes where indexname = :name"), {"name": name}).scalar_one()

    assert found.endswith(f" USING btree {definition}")


def test_a_build_that_was_interrupted_is_made_good_by_the_next_upgrade(
    host_database: str, owner: Callable[[str], Engine], superuser: Callable[[str], Engine]
) -> None:
    ensure_roles(host_database)
    runner.upgrade(host_database, "094_limit_overrides")
    administrator = superuser(str(make_url(host_database).database))

    with ThreadPoolExecutor(1) as pool, owner(host_database).connect() as writer, administrator.connect() as admin:
        writer.execute(text("insert into runs (id, agent_id, goal, status) values ('r', 'a', 'g', 'running')"))
        upgrade = pool.submit(runner.upgrade, host_database)
        admin.execute(text("select pg_terminate_backend(:pid)"), {"pid": _builder(admin)})
        with pytest.raises(SQLAlchemyError):
            upgrade.result()
        invalid = _invalid(admin)
        writer.commit()

    assert invalid == ["idx_runs_tenant_provider"]
    runner.upgrade(host_database)
    with administrator.connect() as admin:
        assert _invalid(admin) == []
    runner.check(host_database)


def test_a_build_waits_for_a_writer_without_blocking_another(
    host_database: str, owner: Callable[[str], Engine], superuser: Callable[[str], Engine]
) -> None:
    ensure_roles(host_database)
    runner.upgrade(host_database, "094_limit_overrides")
    administrator = superuser(str(make_url(host_database).database))
    insert = text("insert into runs (id, agent_id, goal, status) values (:id, 'a', 'g', 'running')")

    with ThreadPoolExecutor(1) as pool, owner(host_database).connect() as writer, administrator.connect() as admin:
        writer.execute(insert, {"id": "before"})
        upgrade = pool.submit(runner.upgrade, host_database)
        _builder(admin)
        with owner(host_database).begin() as another:
            another.execute(text("set local lock_timeout = '5s'"))
            another.execute(insert, {"id": "meanwhile"})
        writer.commit()
        upgrade.result()

    runner.check(host_database)


def test_an_index_that_the_host_made_survives_the_downgrade(host_database: str, owner: Callable[[str], Engine]) -> None:
    with owner(host_database).begin() as conn:
        conn.execute(text("create index idx_runs_tenant_source on runs (tenant_id, source)"))
    ensure_roles(host_database)
    runner.upgrade(host_database)

    runner.downgrade(host_database, "base")

    with owner(host_database).connect() as conn:
        left = text("select indexname from pg_indexes where indexname = any(:names)")
        assert conn.execute(left, {"names": [*SPEC_INDEXES, *OURS]}).scalars().all() == ["idx_runs_tenant_source"]


def test_an_invalid_index_of_the_host_stays_the_hosts(
    host_database: str, owner: Callable[[str], Engine], superuser: Callable[[str], Engine]
) -> None:
    with owner(host_database).begin() as conn:
        conn.execute(text("create index idx_runs_tenant_source on runs (tenant_id, source)"))
    with superuser(str(make_url(host_database).database)).connect() as admin:
        admin.execute(
            text("update pg_index set indisvalid = false where indexrelid = 'public.idx_runs_tenant_source'::regclass")
        )
        oid = admin.execute(text("select 'public.idx_runs_tenant_source'::regclass::oid")).scalar_one()
    ensure_roles(host_database)

    runner.upgrade(host_database)
    runner.downgrade(host_database, "base")

    with owner(host_database).connect() as conn:
        assert conn.execute(text("select to_regclass('public.idx_runs_tenant_source')::oid")).scalar_one() == oid


def test_only_what_was_created_is_recorded(host_database: str, owner: Callable[[str], Engine]) -> None:
    ensure_roles(host_database)

    runner.upgrade(host_database)

    with owner(host_database).connect() as conn:
        recorded = conn.execute(text("select kind, name from signals.created_object")).all()
    assert {tuple(row) for row in recorded} == {("index", f"public.{name}") for name in (*SPEC_INDEXES, *OURS)}


def _builder(admin: Connection) -> int:
    """Return the process that builds an index and waits for a transaction."""
    waiting = text(
        "select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        " and query like 'create index concurrently%'"
    )
    deadline = time.monotonic() + PATIENCE_S
    while (pid := admin.execute(waiting).scalar()) is None:
        assert time.monotonic() < deadline, "no index is being built"
    return int(pid)


def _invalid(admin: Connection) -> list[str]:
    names = "select indexrelid::regclass::text from pg_index where not indisvalid"
    return list(admin.execute(text(names)).scalars())
