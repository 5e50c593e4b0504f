"""Cost of a page: plans of real statements, as the reader role, over many runs of one tenant.

Source: docs/specification-notes.md#utc.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from sqlalchemy import text

from api.http.cursor import Position
from api.http.parameters import Query
from api.queries.reader import Reader
from api.queries.run_detail import RunDetail
from api.queries.runs import RunList
from migrations import runner
from snapshots import settings
from snapshots.database import connect
from snapshots.signals import READER_ROLE
from snapshots.source import TENANT_SETTING
from tests.api.arrange import TENANT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Engine, Select

    from tests.postgres import Server

HOST: Final = Path(__file__).parents[1] / "host_094.sql"
RUNS: Final = 20_000
LIMIT: Final = 50
#: Rows and pages of memory that a page of LIMIT items may cost: some per item, however many runs there are.
MAX_ROWS: Final = 3 * LIMIT
MAX_BLOCKS: Final = 6 * LIMIT

#: In no order, two runs of the tenant per minute, some without a start and others without an end.
_RUNS: Final = text("""
    insert into public.runs (id, tenant_id, agent_id, goal, status, state, started_at, completed_at)
    select
        'run-' || number, case number % 2 when 0 then 'acme' else 'other-' || number % 7 end, 'agent', 'answer',
        'succeeded', 'COMPLETED',
        case when number % 40 > 0 then timestamptz '2026-01-17 12:00Z' - number / 4 * interval '1 minute' end,
        case when number % 30 > 0 then timestamptz '2026-01-17 12:00Z' - number / 4 * interval '1 minute' end
    from generate_series(1, 2 * :runs) as number
    order by md5(cast(number as text))
""")
#: Three traces of nine steps per run: 108,000 steps.
_TRACES: Final = text("""
    insert into public.aos_traces (trace_id, run_id, tenant_id, started_at)
    select 'trace-' || number, 'run-' || number / 3, case number / 3 % 2 when 0 then 'acme' else 'other' end, now()
    from generate_series(1, 12000) as number
""")
_STEPS: Final = text("""
    insert into public.aos_trace_steps (trace_id, step_index, skill_id, duration_ms)
    select 'trace-' || number, step_index, 'search', 5
    from generate_series(1, 12000) as number, generate_series(0, 8) as step_index
""")


@pytest.fixture(scope="module", params=["our tables", "a host's tables"])
def crowded(request: pytest.FixtureRequest, server: Server) -> Iterator[str]:
    """Yield the URL of a database with many runs; a host's timestamps are naive."""
    is_host = request.param == "a host's tables"
    url = server.create_empty_database() if is_host else server.create_migrated_database()
    owner = connect(url)
    if is_host:
        with owner.begin() as conn:
            conn.exec_driver_sql(HOST.read_text().replace("%", "%%"))
        runner.migrate(settings.load(database_url=url))
    with owner.begin() as conn:
        conn.execute(_RUNS, {"runs": RUNS})
        conn.execute(text("analyze public.runs"))
    owner.dispose()
    yield url
    server.drop_database(url)


@pytest.fixture
def crowd(server: Server, crowded: str) -> Iterator[Engine]:
    """Yield an engine of the reader role on that database."""
    engine = connect(server.url_as(READER_ROLE, crowded))
    yield engine
    engine.dispose()


@pytest.fixture
def timelines(server: Server) -> Iterator[Engine]:
    """Yield an engine of the reader role on a database with many steps."""
    url = server.create_migrated_database()
    owner, reader = connect(url), connect(server.url_as(READER_ROLE, url))
    with owner.begin() as conn:
        conn.execute(_RUNS, {"runs": 2000})
        for statement in (_TRACES, _STEPS, text("analyze")):
            conn.execute(statement)
    yield reader
    owner.dispose()
    reader.dispose()
    server.drop_database(url)


def plan_of(reader: Engine, statement: Select[*tuple[Any, ...]]) -> dict[str, Any]:
    """Return the plan of `statement`, executed as TENANT on a server that takes random reads for dear."""
    compiled = statement.compile(dialect=reader.dialect, compile_kwargs={"render_postcompile": True})
    with reader.connect() as conn:
        conn.execute(text("select set_config(:name, :tenant, true)"), {"name": TENANT_SETTING, "tenant": TENANT})
        conn.execute(text("set local random_page_cost = 4"))
        explained = conn.exec_driver_sql(f"explain (analyze, buffers, format json) {compiled}", dict(compiled.params))
        plan: dict[str, Any] = explained.scalar_one()[0]["Plan"]
        return plan


def scans(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the nodes that read a table."""
    if "Relation Name" in plan:
        yield plan
    for child in plan.get("Plans", ()):
        yield from scans(child)


def rows_read(plan: dict[str, Any]) -> float:
    """Return how many rows the scans looked at, those that a filter dropped included."""
    return math.fsum(
        (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"] for node in scans(plan)
    )


def blocks_read(plan: dict[str, Any]) -> int:
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def page(sort: str, order: str, position: Position | None = None, **filters: str) -> RunList:
    query = Query({"sort": sort, "order": order, "limit": str(LIMIT), **filters}, {"sort", "order", "limit", *filters})
    first = RunList.of(query, TENANT)
    return RunList(TENANT, first.filters, sort, first.descending, LIMIT, position)


@pytest.mark.parametrize("sort", ["started_at", "completed_at"])
@pytest.mark.parametrize("order", ["desc", "asc"])
@pytest.mark.parametrize("key", [None, "2026-01-16 12:00:00", "2026-01-14 00:00:00", "2026-01-12 00:00:00"])
def test_a_page_reads_no_more_than_it_shows_however_deep(crowd: Engine, sort: str, order: str, key: str | None) -> None:
    position = None if key is None else Position(key, "run-5")

    plan = plan_of(crowd, page(sort, order, position).statement())

    assert rows_read(plan) <= MAX_ROWS
    assert blocks_read(plan) <= MAX_BLOCKS
    assert plan["Actual Rows"] == LIMIT + 1


def test_a_bound_is_where_the_scan_starts(crowd: Engine) -> None:
    plan = plan_of(crowd, page("started_at", "desc", started_before="2026-01-14T00:00:00Z").statement())

    assert rows_read(plan) <= MAX_ROWS
    assert blocks_read(plan) <= MAX_BLOCKS


def pages(reader: Reader, sort: str, order: str) -> Iterator[Sequence[str]]:
    """Yield the runs of each page, as a client walks them."""
    cursor: dict[str, str] = {}
    while True:
        query = Query({"sort": sort, "order": order, "limit": "200", **cursor}, {"sort", "order", "limit", "cursor"})
        runs = RunList.of(query, TENANT)
        body: dict[str, Any] = runs.body(reader.rows(runs.statement(), tenant_id=TENANT))
        yield [item["run_id"] for item in body["items"]]
        if not body["has_more"]:
            return
        cursor = {"cursor": body["next_cursor"]}


@pytest.mark.parametrize(("sort", "order"), [("started_at", "desc"), ("completed_at", "asc")])
def test_many_pages_are_the_whole_list(crowd: Engine, crowded: str, sort: str, order: str) -> None:
    whole = f"select id from public.runs where tenant_id = 'acme' order by {sort} {order} nulls last, id collate \"C\""  # noqa: S608  # from above
    owner = connect(crowded)
    with owner.connect() as conn:
        expected = list(conn.execute(text(whole)).scalars())
    owner.dispose()

    found = [run_id for shown in pages(Reader(crowd, 5000), sort, order) for run_id in shown]

    assert len(expected) == RUNS
    assert found == expected


def test_a_run_is_shown_without_reading_the_steps_of_others(timelines: Engine) -> None:
    detail = RunDetail.of(Query({}, ()), "run-1000", TENANT, ["activity.patterns"], 5000)

    run, traces, steps = (
        plan_of(timelines, statement)
        for statement in (detail.run_statement(), detail.traces_statement(), detail.steps_statement())
    )

    assert (traces["Actual Rows"], steps["Actual Rows"]) == (3, 27)
    for plan, most in ((run, 10), (traces, 40), (steps, 40)):
        assert rows_read(plan) <= most
        assert blocks_read(plan) <= 3 * most
        assert not [node for node in scans(plan) if node["Node Type"] == "Seq Scan" and node["Actual Rows"] > 3]
