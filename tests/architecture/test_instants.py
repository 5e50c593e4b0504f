"""No text of ours prints an instant in the zone of a session or of the machine."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.architecture.instants import faults_of_python, faults_of_sql, texts_of

ROOT: Final = Path(__file__).parents[2]
PARTS: Final = ("api", "migrations", "ops", "snapshots", "worker")

#: Places that may, by file and by what the place begins with, and why.
ALLOWED: Final = {
    # A date has no zone.
    ("migrations/sql/096_functions.sql", "to_char(day, "),
    # Replaced by revision 108.
    ("migrations/sql/106_present_snapshot.sql", ""),
    # A cursor's key, of a naive or an aware column: the zone is pinned for the transaction (api.queries.reader).
    ("api/queries/run_detail.py", "cast(page.c.started_at, Text)"),
    # Parsed as UTC (api.http.parameters).
    ("api/queries/runs.py", "value.isoformat()"),
    # Arguments of the operator's, repeated as they were given.
    ("ops/commands/backtest.py", "last.isoformat()"),
    ("ops/commands/compute.py", "as_of.isoformat()"),
    ("ops/recomputing.py", "as_of.isoformat()"),
    ("worker/backtest.py", "end.isoformat()"),
    # Texts already.
    ("ops/commands/explain_item.py", "{"),
    ("ops/commands/keys.py", "{until}"),
    # Values of a file, each with the offset that it came with; a date has none.
    ("ingest/files/values.py", ""),
}


def is_allowed(path: Path, fault: str) -> bool:
    return any(path.relative_to(ROOT) == Path(file) and fault.startswith(start) for file, start in ALLOWED)


def sql_files() -> list[Path]:
    return sorted(path for part in PARTS for path in (ROOT / part).rglob("*.sql") if "node_modules" not in path.parts)


def modules() -> list[Path]:
    return sorted(path for part in PARTS for path in (ROOT / part).rglob("*.py") if "node_modules" not in path.parts)


def test_sql_files_name_the_zone_where_they_print_an_instant() -> None:
    found = {
        (str(path), fault)
        for path in sql_files()
        for fault in faults_of_sql(path.read_text())
        if not is_allowed(path, fault)
    }

    assert len(sql_files()) > 30
    assert found == set()


def test_sql_in_modules_names_the_zone_where_it_prints_an_instant() -> None:
    found = {
        (str(path), fault)
        for path in modules()
        for text in texts_of(path)
        for fault in faults_of_sql(text)
        if not is_allowed(path, fault)
    }

    assert found == set()


def test_modules_print_instants_in_utc() -> None:
    found = {
        (str(path), fault)
        for path in modules()
        for fault in faults_of_python(path.read_text())
        if not is_allowed(path, fault)
    }

    assert found == set()


@pytest.mark.parametrize(
    "sql",
    [
        "select to_char(started_at, 'YYYY')",
        "select to_char(cast(:as_of as timestamptz), 'HH24')",
        "select to_char(started_at at time zone 'Europe/Paris', 'HH24')",
        "select started_at::text from runs",
        "select cast(run.completed_at as text)",
        "select cast(run.completed_at as date)",
        "select to_json(run.last_seen_at)",
        "select json_build_object('at', triage.at)",
        "select row_to_json(item) from (select run_id, started_at) as item",
        "select cast(row_to_json(item) as text) from (select case when is_live then started_at end) as item",
        "select date_trunc('day', started_at)",
        "select date_trunc('day', started_at, 'Asia/Tokyo')",
        "select extract(hour from started_at)",
        "select '{\"as_of\":\"' || snapshot.as_of || '\"}'",
        "select md5(concat_ws(':', tenant_id, as_of))",
    ],
)
def test_the_check_finds_what_depends_on_the_sessions_zone(sql: str) -> None:
    assert faults_of_sql(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "select to_char(started_at at time zone 'UTC', 'YYYY')",
        "select extract(epoch from as_of - started_at)",
        "select json_build_object('at', to_char(triage.at at time zone 'UTC', 'YYYY'))",
        "select row_to_json(item) from (select to_char(started_at at time zone 'UTC', 'Y') as started_at) as item",
        "select cast(:as_of as timestamptz)",
        "select date_trunc('minute', clock_timestamp(), 'UTC')",
        "select format('where started_at < %L', bound)",
    ],
)
def test_the_check_lets_pass_what_names_the_zone(sql: str) -> None:
    assert faults_of_sql(sql) == []


@pytest.mark.parametrize(
    ("source", "is_fault"),
    [
        ("result.as_of.isoformat()", True),
        ("found.date()", True),
        ("f'{each.retry_at:%Y-%m-%dT%H:%M:%SZ}'", True),
        ("f'since {row.started_at}'", True),
        ("str(row.as_of)", True),
        ("cast(page.c.started_at, Text)", True),
        ("func.to_char(page.c.started_at, 'YYYY')", True),
        ("in_utc(result.as_of).isoformat()", False),
        ("moment.astimezone(UTC).date()", False),
        ("f'{in_utc(each.retry_at):%H}'", False),
        ("str(row.tenant_id)", False),
        ("f'{share:.0%}'", False),
    ],
)
def test_the_check_of_modules_tells_local_from_utc(source: str, *, is_fault: bool) -> None:
    assert bool(faults_of_python(source)) is is_fault
