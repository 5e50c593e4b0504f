"""Rights of each role, by its sessions; the owner is no superuser, so security binds it too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from psycopg2.errors import InsufficientPrivilege
from sqlalchemy import insert, select, text, update
from sqlalchemy.exc import ProgrammingError

from snapshots.signals import AUTHENTICATOR_ROLE, INGEST_ROLE, READER_ROLE, TRIAGE_ROLE, WORKER_ROLE
from snapshots.tables import api_key, snapshot
from tests.factories import AS_OF, insert_run, insert_step, insert_trace

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Engine, Executable

    OpenAs = Callable[[str, str], Engine]

_SNAPSHOT: Final = {
    "signal": "cost",
    "version": 1,
    "content": "{}",
    "basis": "b",
    "shape": "s",
    "as_of": AS_OF,
    "computed_at": AS_OF,
    "rule_version": "1",
    "fence": 1,
    "refresh_id": 1,
}
_RESULTS: Final = (
    """
    insert into signals.snapshot_history
    values (:tenant, 'cost', 1, '{}', null, null, :as_of, :as_of, '1', :as_of)
    """,
    """
    insert into signals.pattern_item (tenant_id, pattern_type, rank, run_id)
    values (:tenant, 'retry_loop', 1, 'r')
    """,
    """
    insert into signals.cost_item (
        tenant_id, rank, agent_id, current_avg_cost, total_cost, run_count, baseline_run_count, z_score, is_anomaly
    )
    values (:tenant, 1, 'a', 1, 1, 1, 1, 0, false)
    """,
    """
    insert into signals.attention_item
    values (:tenant, 1, 'r', 0, 0, 0, 0, 0, 0, '{}', null, null, null, false)
    """,
    """
    insert into signals.movement values (:tenant, 'cost', 1, '{}', '{}', '{}', '[]')
    """,
    """
    insert into signals.item_state
    values (:tenant, 'cost', repeat('0', 32), '{}', 1, 1, 1, '{}', :as_of, 1, :as_of, null)
    """,
    """
    insert into signals.signal_change (tenant_id, change_no, signal, fingerprint, key, kind, at, version)
    values (:tenant, 1, 'cost', repeat('0', 32), '{}', 'entered', :as_of, 1)
    """,
    """
    insert into signals.change_counter (tenant_id, last_no) values (:tenant, 1)
    """,
    """
    insert into signals.triage_event (tenant_id, signal, fingerprint, key, action, actor)
    values (:tenant, 'cost', repeat('0', 32), '{}', 'acknowledge', 'x')
    """,
    """
    insert into signals.webhook (tenant_id, url, secret, format, signals, kinds, last_no)
    values (:tenant, 'https://example.com', 's', 'standard', '{}', '{}', 0)
    """,
    """
    insert into signals.api_key (key_id, tenant_id, secret_sha256, capabilities)
    values (:tenant, :tenant, repeat('0', 64), '{}')
    """,
)
_LEDGER_ROW: Final = """
    insert into signals.refresh (signal, mode, requested_by, state) values ('cost', 'tick', 'beat', 'running')
"""
#: A condition that the planner takes for free, and would therefore run first.
_LEAK: Final = """
    create function pg_temp.leak(tenant text) returns boolean language plpgsql cost 0.0000001 as
    $$ begin if tenant <> 'acme' then raise 'seen: %', tenant; end if; return true; end $$
"""
TENANTS: Final = ("acme", "globex")
TENANT_RELATIONS: Final = (
    "snapshot",
    "snapshot_history",
    "pattern_item",
    "cost_item",
    "attention_item",
    "movement",
    "item_state",
    "signal_change",
    "change_counter",
    "triage_event",
    "triage",
    "tenant_run",
    "tenant_run_by_started_at_desc",
    "tenant_run_by_started_at_asc",
    "tenant_run_by_completed_at_desc",
    "tenant_run_by_completed_at_asc",
    "tenant_trace",
    "tenant_step",
)
#: Those of them that are tables.
TENANT_TABLES: Final = TENANT_RELATIONS[:11]


@pytest.fixture
def published(fresh_database: str, owner: Callable[[str], Engine]) -> str:
    """Return the owner's URL of a database where each of two tenants has a run, and a row in every table of results."""
    with owner(fresh_database).begin() as conn:
        for tenant in TENANTS:
            insert_run(conn, tenant_id=tenant)
            insert_step(conn, insert_trace(conn, tenant_id=tenant), 0)
            _publish(conn, tenant)
    return fresh_database


def _publish(conn: Connection, tenant: str) -> None:
    conn.execute(insert(snapshot).values(tenant_id=tenant, **_SNAPSHOT))
    for statement in _RESULTS:
        conn.execute(text(statement), {"tenant": tenant, "as_of": AS_OF})


def _tenants(conn: Connection, relation: str) -> list[str]:
    return list(conn.execute(text(f"select tenant_id from signals.{relation} order by 1")).scalars())  # noqa: S608  # ours


def _is_denied(engine: Engine, statement: Executable | str) -> bool:
    with engine.connect() as conn:
        try:
            conn.execute(text(statement) if isinstance(statement, str) else statement)
        except ProgrammingError as ex:
            return isinstance(ex.orig, InsufficientPrivilege)
        return False


@pytest.mark.parametrize("relation", TENANT_RELATIONS)
def test_a_reader_sees_the_tenant_that_it_names(published: str, open_as: OpenAs, relation: str) -> None:
    with open_as(READER_ROLE, published).connect() as conn:
        conn.execute(text("select set_config('activity.tenant_id', 'acme', true)"))

        assert _tenants(conn, relation) == ["acme"]


@pytest.mark.parametrize("relation", TENANT_RELATIONS)
@pytest.mark.parametrize("setting", [None, "", "initech"])
def test_a_reader_sees_nothing_of_a_tenant_that_is_unset_empty_or_unknown(
    published: str, open_as: OpenAs, relation: str, setting: str | None
) -> None:
    with open_as(READER_ROLE, published).connect() as conn:
        if setting is not None:
            conn.execute(text("select set_config('activity.tenant_id', :tenant, true)"), {"tenant": setting})

        assert _tenants(conn, relation) == []


def test_a_readers_tenant_ends_with_its_transaction(published: str, open_as: OpenAs) -> None:
    with open_as(READER_ROLE, published).connect() as conn:
        conn.execute(text("select set_config('activity.tenant_id', 'acme', true)"))
        conn.commit()

        assert _tenants(conn, "snapshot") == []


def test_a_condition_that_leaks_is_not_run_on_other_tenants_rows(published: str, open_as: OpenAs) -> None:
    """The barrier holds: a cheap condition of the reader's own would otherwise meet every tenant's rows first."""
    with open_as(READER_ROLE, published).connect() as conn:
        conn.exec_driver_sql(_LEAK.replace("%", "%%"))
        # An index on the tenant would keep the other rows away whatever the view says.
        conn.execute(text("set local enable_indexscan = off"))
        conn.execute(text("set local enable_bitmapscan = off"))
        conn.execute(text("select set_config('activity.tenant_id', 'acme', true)"))

        assert len(conn.execute(text("select 1 from signals.tenant_run where pg_temp.leak(tenant_id)")).all()) == 1


@pytest.mark.parametrize(
    "relation",
    [
        "public.runs",
        "public.v_runs_o2",
        "public.aos_traces",
        "public.aos_trace_steps",
        "signals.source_run",
        "signals.source_trace",
        "signals.source_step",
        "signals.api_key",
        "signals.refresh",
        "signals.created_object",
        "signals.webhook",
        "signals.dead_letter",
        "signals.snapshot_history_default",
    ],
)
def test_a_reader_has_no_way_around_its_tenant(published: str, open_as: OpenAs, relation: str) -> None:
    assert _is_denied(open_as(READER_ROLE, published), f"select 1 from {relation}")  # noqa: S608  # our names


def test_a_reader_writes_nothing(published: str, open_as: OpenAs) -> None:
    reader = open_as(READER_ROLE, published)

    assert _is_denied(reader, update(snapshot).values(version=2))
    assert _is_denied(reader, "delete from signals.snapshot_history")
    assert _is_denied(reader, "select signals.ensure_history_partition('2026-01-17')")


@pytest.mark.parametrize("group", [WORKER_ROLE, READER_ROLE])
def test_worker_and_reader_may_ask_for_the_revision(published: str, open_as: OpenAs, group: str) -> None:
    with open_as(group, published).connect() as conn:
        assert conn.execute(text("select count(*) from signals.alembic_version")).scalar_one() == 1


def test_a_worker_reads_the_source_and_writes_the_results_of_every_tenant(published: str, open_as: OpenAs) -> None:
    with open_as(WORKER_ROLE, published).begin() as conn:
        runs = _tenants(conn, "source_run")
        conn.execute(text("create temporary table stage (tenant_id text) on commit drop"))
        conn.execute(text("select nextval('signals.fence')"))
        conn.execute(text("select signals.ensure_history_partition('2026-01-18')"))
        conn.execute(text(_LEDGER_ROW))
        conn.execute(insert(snapshot).values(tenant_id="initech", **_SNAPSHOT))
        changed = conn.execute(update(snapshot).values(version=2)).rowcount

    assert runs == list(TENANTS)
    assert changed == 3


@pytest.mark.parametrize("relation", ["public.runs", "signals.api_key", "signals.tenant_run"])
def test_a_worker_has_no_rights_on_host_tables_and_keys(published: str, open_as: OpenAs, relation: str) -> None:
    assert _is_denied(open_as(WORKER_ROLE, published), f"select 1 from {relation}")  # noqa: S608  # our names


def test_a_worker_sees_how_many_spans_wait_and_not_whose(published: str, open_as: OpenAs) -> None:
    with open_as(INGEST_ROLE, published).begin() as conn:
        conn.execute(
            text(
                "insert into signals.ingested_trace (trace_id, tenant_id, spans, pending, pending_since,"
                " first_arrived_at, last_arrived_at) values ('t', 'acme', 3, 2, :as_of, :as_of, :as_of)"
            ),
            {"as_of": AS_OF},
        )
    worker = open_as(WORKER_ROLE, published)

    with worker.connect() as conn:
        assert conn.execute(text("select sum(pending) from signals.ingested_trace")).scalar_one() == 2
    for column in ("tenant_id", "trace_id", "problem"):
        assert _is_denied(worker, f"select {column} from signals.ingested_trace")  # noqa: S608  # a test's own
    assert _is_denied(worker, "update signals.ingested_trace set pending = 0")
    assert _is_denied(worker, "select 1 from signals.ingested_span")


def test_an_authenticator_reads_every_key_and_nothing_else(published: str, open_as: OpenAs) -> None:
    authenticator = open_as(AUTHENTICATOR_ROLE, published)

    with authenticator.connect() as conn:
        assert _tenants(conn, "api_key") == list(TENANTS)
    assert _is_denied(authenticator, select(snapshot))
    assert _is_denied(authenticator, "select 1 from signals.tenant_run")
    assert _is_denied(authenticator, update(api_key).values(label="mine"))


@pytest.mark.parametrize("relation", [*TENANT_TABLES, "api_key"])
def test_security_is_forced_and_the_owner_still_changes_every_tenants_rows(
    published: str, owner: Callable[[str], Engine], relation: str
) -> None:
    with owner(published).begin() as conn:
        is_superuser = conn.execute(text("select rolsuper from pg_roles where rolname = current_user")).scalar_one()
        forced = "select relrowsecurity and relforcerowsecurity from pg_class where oid = to_regclass(:name)"
        is_forced = conn.execute(text(forced), {"name": f"signals.{relation}"}).scalar_one()
        changed = conn.execute(text(f"update signals.{relation} set tenant_id = tenant_id || '-moved'")).rowcount  # noqa: S608  # ours

        assert (is_superuser, is_forced, changed) == (False, True, 2)


def test_the_public_may_not_run_the_functions_that_own_partitions(conn: Connection) -> None:
    grantees = conn.execute(
        text(
            "select distinct grantee::text from information_schema.routine_privileges"
            " where routine_schema = 'signals' and routine_name like '%history%' and grantee <> current_user"
        )
    ).scalars()

    assert list(grantees) == [WORKER_ROLE]


def test_the_functions_that_run_as_their_owner_pin_their_search_path(conn: Connection) -> None:
    found = conn.execute(
        text("select prosecdef, proconfig from pg_proc where pronamespace = 'signals'::regnamespace and prosecdef")
    ).all()

    assert len(found) == 3
    assert all("search_path=pg_catalog, pg_temp" in row.proconfig for row in found)


def test_the_look_up_of_snapshots_is_the_readers_alone(owner: Callable[[str], Engine], fresh_database: str) -> None:
    name = "signals.present_snapshot(text, text, integer, timestamptz, timestamptz)"
    may = text("select has_function_privilege(:role, :name, 'execute')")
    roles = READER_ROLE, WORKER_ROLE, AUTHENTICATOR_ROLE, TRIAGE_ROLE, INGEST_ROLE
    with owner(fresh_database).connect() as conn:
        allowed = [role for role in roles if conn.execute(may, {"role": role, "name": name}).scalar_one()]

    assert allowed == [READER_ROLE]
