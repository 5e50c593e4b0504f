"""The live summaries against the specification's SQL and docs/specification-notes.md#status-summary."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from falcon.testing import TestClient
from sqlalchemy import text

from api.app import AppDependencies, create_app
from snapshots.settings import Settings
from tests.api.arrange import NOW, OTHER_TENANT, PREFIX, TENANT, Api, bearer
from tests.factories import insert_run

if TYPE_CHECKING:
    from sqlalchemy import Engine

BY_STATUS = f"{PREFIX}/summary/by-status"
BY_DIMENSION = f"{PREFIX}/runs/by-dimension"

#: The specification's SQL; the comparison adds the tie-break (docs/specification-notes.md#total-order).
STATUS_SQL: Final = """
SELECT
    status,
    COUNT(*) as count
FROM v_runs_o2
WHERE tenant_id = :tenant_id
  AND state = 'COMPLETED'
  AND (:project_id IS NULL OR project_id = :project_id)
  AND (:started_after IS NULL OR started_at >= :started_after)
  AND (:started_before IS NULL OR started_at <= :started_before)
GROUP BY status
ORDER BY count DESC;
"""
NEAR_SQL: Final = """
SELECT COUNT(*) as near_threshold_count
FROM v_runs_o2
WHERE tenant_id = :tenant_id
  AND state = 'COMPLETED'
  AND risk_level IN ('NEAR_THRESHOLD', 'AT_RISK')
  AND (:project_id IS NULL OR project_id = :project_id)
  AND (:started_after IS NULL OR started_at >= :started_after)
  AND (:started_before IS NULL OR started_at <= :started_before);
"""
#: The specification's SQL on `runs` without LIMIT 20; see docs/specification-notes.md#missing-keys-are-unknown.
DIMENSION_SQL: Final = {
    dimension: text(f"""
SELECT
    COALESCE({dimension}, 'unknown') as dimension_key,
    COUNT(*) as count
FROM runs
WHERE tenant_id = :tenant_id
  AND state = :state
  AND (:project_id IS NULL OR project_id = :project_id)
GROUP BY COALESCE({dimension}, 'unknown')
ORDER BY count DESC
""")  # noqa: S608  # the three names above, not input
    for dimension in ("provider_type", "source", "agent_id")
}


def insert_random_runs(engine: Engine, seed: int, size: int = 150) -> None:
    """Insert runs of two tenants with NULLs, ties, unusual statuses and a literal 'unknown' beside NULL."""
    chance = random.Random(seed)  # noqa: S311  # rows for a test
    with engine.begin() as conn:
        for number in range(size):
            insert_run(
                conn,
                id=f"random-{seed}-{number}",
                tenant_id=chance.choice((TENANT, TENANT, OTHER_TENANT)),
                state=chance.choice(("LIVE", "COMPLETED", "COMPLETED")),
                status=chance.choice(("succeeded", "succeeded", "failed", "aborted", "retry", "halted", "running")),
                risk_level=chance.choice(("NORMAL", "NEAR_THRESHOLD", "AT_RISK", "VIOLATED")),
                project_id=chance.choice((None, "p1", "p2")),
                provider_type=chance.choice(("openai", "anthropic", "internal", "unknown")),
                source=chance.choice(("agent", "human", "sdk")),
                agent_id=chance.choice(("unknown", *(f"agent-{index}" for index in range(25)))),
                started_at=chance.choice((None, NOW - timedelta(hours=chance.randrange(48)))),
            )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("project", [None, "p1", "absent"])
@pytest.mark.parametrize(("after_h", "before_h"), [(None, None), (24, None), (None, 24), (36, 12), (12, 36)])
def test_by_status_counts_as_the_spec_s_sql_does(
    api: Api, seed: int, project: str | None, after_h: int | None, before_h: int | None
) -> None:
    insert_random_runs(api.owner, seed)
    binds: dict[str, Any] = {
        "project_id": project,
        "started_after": None if after_h is None else NOW - timedelta(hours=after_h),
        "started_before": None if before_h is None else NOW - timedelta(hours=before_h),
    }
    with api.owner.connect() as conn:
        counts = {row.status: row.count_ for row in conn.execute(_named(STATUS_SQL), {"tenant_id": TENANT, **binds})}
        near = conn.execute(text(NEAR_SQL), {"tenant_id": TENANT, **binds}).scalar_one()

    given = {name: value if isinstance(value, str) else value.isoformat() for name, value in binds.items() if value}
    body = api.get(BY_STATUS, params=given).json

    assert {status: count for status, count in body["summary"].items() if count} == counts
    assert (body["near_threshold_count"], body["total"]) == (near, sum(counts.values()))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("dimension", sorted(DIMENSION_SQL))
@pytest.mark.parametrize("state", ["LIVE", "COMPLETED"])
@pytest.mark.parametrize("project", [None, "p1"])
def test_by_dimension_counts_as_the_spec_s_sql_does(
    api: Api, seed: int, dimension: str, state: str, project: str | None
) -> None:
    insert_random_runs(api.owner, seed, size=300)
    binds = {"tenant_id": TENANT, "state": state, "project_id": project}
    with api.owner.connect() as conn:
        counted = [(row[0], row[1]) for row in conn.execute(DIMENSION_SQL[dimension], binds)]
    expected = sorted(counted, key=lambda bucket: (-bucket[1], bucket[0]))

    given = {"dim": dimension, "state": state} | ({"project_id": project} if project else {})
    body = api.get(BY_DIMENSION, params=given).json

    assert [(bucket["key"], bucket["count"]) for bucket in body["buckets"]] == expected[:20]
    assert body["total_runs"] == sum(count for _, count in expected)
    assert body["other_runs"] == sum(count for _, count in expected[20:])


def test_a_tenant_without_runs_has_a_summary_of_zeros(api: Api) -> None:
    assert api.get(BY_STATUS).json == {
        "tenant_id": TENANT,
        "window": {"started_after": None, "started_before": None},
        "summary": {"aborted": 0, "failed": 0, "retry": 0, "succeeded": 0},
        "near_threshold_count": 0,
        "total": 0,
    }


def test_a_summary_goes_by_count_then_key_and_counts_null_as_unknown(api: Api) -> None:
    with api.owner.begin() as conn:
        for status in ("failed", "failed", "halted", None, "unknown"):
            insert_run(conn, tenant_id=TENANT, status=status)

    summary = api.get(BY_STATUS).json["summary"]

    assert list(summary.items()) == [
        ("failed", 2),
        ("unknown", 2),
        ("halted", 1),
        ("aborted", 0),
        ("retry", 0),
        ("succeeded", 0),
    ]


def test_violated_runs_are_past_the_threshold_and_not_near_it(api: Api) -> None:
    with api.owner.begin() as conn:
        for level in ("NORMAL", "NEAR_THRESHOLD", "AT_RISK", "VIOLATED"):
            insert_run(conn, tenant_id=TENANT, risk_level=level)

    assert api.get(BY_STATUS).json["near_threshold_count"] == 2


def test_both_bounds_are_inclusive_and_echoed_in_utc(api: Api) -> None:
    with api.owner.begin() as conn:
        insert_run(conn, tenant_id=TENANT, started_at=NOW)

    bound = "2026-01-17T14:00:00+02:00"
    body = api.get(BY_STATUS, params={"started_after": bound, "started_before": bound}).json

    assert body["total"] == 1
    assert set(body["window"].values()) == {"2026-01-17T12:00:00.000000Z"}


def test_null_and_a_literal_unknown_are_one_bucket(api: Api) -> None:
    with api.owner.begin() as conn:
        insert_run(conn, tenant_id=TENANT, agent_id=None)
        insert_run(conn, tenant_id=TENANT, agent_id="unknown")

    body = api.get(f"{BY_DIMENSION}?dim=agent_id&state=COMPLETED").json

    assert body["buckets"] == [{"key": "unknown", "count": 2}]


def test_runs_beyond_the_twenty_buckets_are_counted_as_others(api: Api) -> None:
    with api.owner.begin() as conn:
        for number in range(23):
            insert_run(conn, tenant_id=TENANT, state="LIVE", agent_id=f"agent-{number:02}")

    body = api.get(f"{BY_DIMENSION}?dim=agent_id").json

    assert [bucket["key"] for bucket in body["buckets"]] == [f"agent-{number:02}" for number in range(20)]
    assert (body["state"], body["total_runs"], body["other_runs"]) == ("LIVE", 23, 3)


@pytest.mark.parametrize(("excluded", "total"), [(False, 2), (True, 1)])
def test_synthetic_runs_count_unless_the_deployment_excludes_them(
    api: Api, reader: Engine, authenticator: Engine, *, excluded: bool, total: int
) -> None:
    with api.owner.begin() as conn:
        for is_synthetic in (True, False):
            insert_run(conn, tenant_id=TENANT, is_synthetic=is_synthetic)
    client = TestClient(
        create_app(reader, authenticator, Settings(exclude_synthetic=excluded), AppDependencies(api.moment.clock)),
        headers=bearer(api.add_key()),
    )

    assert client.simulate_get(BY_STATUS).json["total"] == total
    assert client.simulate_get(f"{BY_DIMENSION}?dim=source&state=COMPLETED").json["total_runs"] == total


@pytest.mark.parametrize("path", [BY_STATUS, f"{BY_DIMENSION}?dim=source", f"{PREFIX}/runs"])
def test_a_live_answer_takes_one_statement_and_may_not_be_kept(api: Api, statements: list[str], path: str) -> None:
    api.get(path)
    statements.clear()

    result = api.get(path)

    assert len(statements) == 1
    assert result.headers["cache-control"] == "no-store"
    assert result.headers["content-type"] == "application/json"
    assert result.headers["vary"] == "Authorization, Cookie"


def _named(sql: str) -> Any:  # noqa: ANN401  # a text clause
    """Return the literal text with its `count` column under a name that a Row does not already have."""
    return text(f"select status, count as count_ from ({sql.strip().rstrip(';')}) literal")  # noqa: S608  # fixed SQL
