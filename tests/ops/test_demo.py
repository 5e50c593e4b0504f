"""The demo's past: the same each time, believable, and with something in it for every signal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from ops.local.demo.agents import BUSY_TENANTS, DEMO_TENANT, TENANTS
from ops.local.demo.history import DAYS, activity_at, tell_history
from ops.local.demo.loading import load_demo
from ops.local.demo.runs import latency_bucket, risk_level
from snapshots import database, settings
from worker.engine.compute import preview

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from tests.postgres import Server

AS_OF = datetime(2026, 1, 17, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def demo(server: Server) -> Iterator[Connection]:
    """Return a connection to a database with the demo of AS_OF."""
    url = server.create_migrated_database()
    engine = database.connect(url)
    load_demo(engine, AS_OF)
    with engine.connect() as conn:
        yield conn
    engine.dispose()
    server.drop_database(url)


def rows(conn: Connection, query: str, **binds: object) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in conn.execute(text(query), binds)]


def content(conn: Connection, signal: str, tenant: str) -> str:
    return preview(conn, signal, tenant, settings.Settings(), AS_OF).decode()


def test_the_same_instant_and_seed_tell_the_same_story() -> None:
    assert tell_history(AS_OF) == tell_history(AS_OF)


def test_another_seed_tells_another_story() -> None:
    assert tell_history(AS_OF, seed=1).runs != tell_history(AS_OF).runs


def test_since_leaves_out_what_came_before() -> None:
    since = AS_OF - timedelta(hours=6)

    told = tell_history(AS_OF, since=since).runs

    assert told == [run for run in tell_history(AS_OF).runs if _instant(run["started_at"]) > since]


def test_loading_the_demo_again_changes_nothing(demo: Connection) -> None:
    before = rows(demo, "select id, xmin::text from runs order by id")

    report = load_demo(demo.engine, AS_OF)

    assert rows(demo, "select id, xmin::text from runs order by id") == before
    assert report.runs == len(before)


def test_the_demo_is_of_a_believable_size_and_all_of_it_synthetic(demo: Connection) -> None:
    assert rows(demo, "select count(*) between 1500 and 3500, bool_and(is_synthetic) from runs") == [(True, True)]
    assert rows(demo, "select bool_and(is_synthetic) from aos_traces") == [(True,)]
    assert rows(demo, "select bool_and(is_synthetic) from aos_trace_steps") == [(True,)]


def test_the_demo_covers_its_days_and_no_future(demo: Connection) -> None:
    first, last = rows(demo, "select min(started_at), max(coalesce(completed_at, last_seen_at)) from runs")[0]

    assert AS_OF - timedelta(days=DAYS) <= first < AS_OF - timedelta(days=DAYS - 1)
    assert last <= AS_OF


def test_days_are_busier_than_nights(demo: Connection) -> None:
    by_day = "select count(*) from runs where extract(hour from started_at) between 11 and 16"
    by_night = "select count(*) from runs where extract(hour from started_at) between 0 and 5"

    assert rows(demo, by_day)[0][0] > 1.5 * rows(demo, by_night)[0][0]
    assert activity_at(AS_OF.replace(hour=14)) > activity_at(AS_OF.replace(hour=2)) > 0


@pytest.mark.parametrize("tenant", BUSY_TENANTS)
def test_a_busy_tenant_has_runs_in_every_state_and_status(demo: Connection, tenant: str) -> None:
    found = rows(demo, "select distinct state, status from runs where tenant_id = :tenant", tenant=tenant)

    ended = {("COMPLETED", status) for status in ("succeeded", "failed", "aborted", "retry")}
    assert set(found) == {("LIVE", "running"), *ended}


@pytest.mark.parametrize("tenant", BUSY_TENANTS)
def test_a_busy_tenant_has_each_pattern_at_a_believable_rarity(demo: Connection, tenant: str) -> None:
    body = content(demo, "patterns", tenant)

    for pattern in ("retry_loop", "step_oscillation", "tool_call_loop", "timeout_cascade"):
        assert f'"pattern_type":"{pattern}"' in body
    flagged = """
        select count(distinct t.run_id) from aos_traces t join aos_trace_steps s using (trace_id)
        where t.tenant_id = :tenant and t.started_at > cast(:since as timestamptz)
            and (s.retry_count > 2 or s.duration_ms > 5000)
    """
    assert 2 <= rows(demo, flagged, tenant=tenant, since=AS_OF - timedelta(days=1))[0][0] <= 12


def test_usual_runs_show_no_pattern(demo: Connection) -> None:
    usual = """
        with usual as (
            select t.trace_id, count(*) as uses, sum(s.retry_count) as retries, max(s.duration_ms) as slowest
            from runs r join aos_traces t on t.run_id = r.id join aos_trace_steps s using (trace_id)
            where r.synthetic_scenario_id = 'usual' group by t.trace_id, s.skill_id
        )
        select max(uses), max(slowest) < 5000, (select max(total) from (
            select sum(retries) as total from usual group by trace_id) as run) from usual
    """
    uses, is_fast, retries = rows(demo, usual)[0]

    assert uses <= 2
    assert is_fast
    assert retries <= 2


@pytest.mark.parametrize("tenant", BUSY_TENANTS)
def test_a_busy_tenant_has_a_clear_anomaly_and_one_by_its_p95_alone(demo: Connection, tenant: str) -> None:
    z_scores = """
        with costs as (
            select agent_id, estimated_cost_usd as cost, started_at >= :today as is_current,
                completed_at >= :week and completed_at < :today as is_baseline
            from runs where tenant_id = :tenant and estimated_cost_usd is not null
        ),
        judged as (
            select agent_id, avg(cost) filter (where is_current) as current,
                (avg(cost) filter (where is_current) - avg(cost) filter (where is_baseline))
                / stddev(cost) filter (where is_baseline) as z,
                percentile_cont(0.95) within group (order by cost) filter (where is_baseline) as p95
            from costs group by agent_id
        )
        select count(*) filter (where z > 2), count(*) filter (where z <= 2 and current > p95), count(*) from judged
    """
    binds = {"tenant": tenant, "today": AS_OF - timedelta(days=1), "week": AS_OF - timedelta(days=7)}

    assert rows(demo, z_scores, **binds) == [(1, 1, len(TENANTS[tenant]))]
    assert '"total_anomalies":2' in content(demo, "cost", tenant)


@pytest.mark.parametrize("tenant", BUSY_TENANTS)
def test_a_busy_tenant_has_runs_at_every_level_of_risk(demo: Connection, tenant: str) -> None:
    levels = """
        select distinct risk_level from runs
        where tenant_id = :tenant and (completed_at is null or completed_at > cast(:since as timestamptz))
    """
    found = rows(demo, levels, tenant=tenant, since=AS_OF - timedelta(days=1))

    assert {level for (level,) in found} == {"NORMAL", "NEAR_THRESHOLD", "AT_RISK", "VIOLATED"}
    assert '"queue":[{' in content(demo, "attention", tenant)


@pytest.mark.parametrize("tenant", BUSY_TENANTS)
def test_a_busy_tenant_has_a_stalled_run_and_others_that_go_on(demo: Connection, tenant: str) -> None:
    live = "select latency_bucket, count(*) from runs where tenant_id = :tenant and state = 'LIVE' group by 1"
    found = dict(rows(demo, live, tenant=tenant))

    assert found["STALLED"] == 1
    assert found["OK"] >= 4


def test_little_happens_in_the_sandbox(demo: Connection) -> None:
    assert rows(demo, "select count(*) < 50 from runs where tenant_id = 'umbra-sandbox'") == [(True,)]
    assert '"patterns":[]' in content(demo, "patterns", "umbra-sandbox")


def test_the_printed_key_opens_a_busy_tenant() -> None:
    assert DEMO_TENANT in BUSY_TENANTS


def test_steps_add_up_to_the_cost_of_their_run(demo: Connection) -> None:
    differing = """
        select count(*) from runs r join aos_traces t on t.run_id = r.id join (
            select trace_id, sum(cost_cents) as cents from aos_trace_steps group by 1
        ) as s using (trace_id)
        where r.synthetic_scenario_id = 'usual' and r.state = 'COMPLETED'
            and abs(s.cents / 100 - r.estimated_cost_usd) > 0.0002
    """
    assert rows(demo, differing) == [(0,)]


@pytest.mark.parametrize(
    ("elapsed_ms", "silence_s", "bucket"),
    [
        (60_000, None, "OK"),
        (60_001, None, "SLOW"),
        (300_000, None, "SLOW"),
        (300_001, None, "STALLED"),
        (1, 119, "OK"),
        (1, 120, "STALLED"),
    ],
)
def test_latency_follows_the_expected_time_and_the_heartbeat(
    elapsed_ms: float, silence_s: float | None, bucket: str
) -> None:
    silence = None if silence_s is None else timedelta(seconds=silence_s)

    assert latency_bucket(elapsed_ms, 60_000, silence) == bucket


@pytest.mark.parametrize(
    ("facts", "level"),
    [
        ({}, "NORMAL"),
        ({"latency_bucket": "SLOW"}, "NEAR_THRESHOLD"),
        ({"evidence_health": "DEGRADED"}, "NEAR_THRESHOLD"),
        ({"evidence_health": "MISSING"}, "NORMAL"),
        ({"latency_bucket": "STALLED"}, "AT_RISK"),
        ({"integrity_status": "DEGRADED"}, "AT_RISK"),
        ({"incident_count": 1}, "AT_RISK"),
        ({"integrity_status": "FAILED"}, "VIOLATED"),
        ({"policy_violation": True, "incident_count": 1}, "VIOLATED"),
    ],
)
def test_risk_follows_the_ruled_derivation(facts: dict[str, object], level: str) -> None:
    usual: dict[str, object] = {
        "latency_bucket": "OK",
        "evidence_health": "FLOWING",
        "integrity_status": "VERIFIED",
        "incident_count": 0,
        "policy_violation": False,
    }

    assert risk_level(usual | facts) == level


def _instant(value: object) -> datetime:
    assert isinstance(value, datetime)
    return value
