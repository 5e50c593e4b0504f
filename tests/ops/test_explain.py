"""Verdicts on query plans (docs/specification-notes.md#query-plan-expectations)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest
from sqlalchemy import make_url, text

from benchmarks import indexes
from ops.cli import main
from ops.plans import verdicts
from ops.plans.measuring import explain
from ops.plans.queries import LIVE_REQUESTS, live_statement
from ops.plans.ticking import MARKED
from ops.plans.verdicts import judge_spills
from snapshots import settings
from snapshots.database import connect
from snapshots.signals import READER_ROLE, SIGNALS, WORKER_ROLE
from worker.signals.registry import SIGNALS as RULES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection, Engine

    from ops.plans.plans import Plan
    from tests.postgres import Server

    Ask = Callable[..., tuple[int, list[dict[str, Any]]]]
    Refused = Callable[..., tuple[int, str]]

GIANT: Final = "giant"
SMALL: Final = "small_04"
#: 5000 runs: nine of ten are the giant's, the others belong to ten tenants of the same size.
RUNS: Final = """
insert into runs (id, tenant_id, agent_id, state, status, started_at, last_seen_at, completed_at, risk_level,
    latency_bucket, source, provider_type, estimated_cost_usd, goal)
select 'run-' || n, tenant_id, rpad('agent-' || n % 7, :agent_chars, 'x'),
    case when n % 50 = 3 then 'LIVE' else 'COMPLETED' end, 'succeeded', started_at, started_at,
    case when n % 50 <> 3 then started_at end, case when n % 20 = 0 then 'AT_RISK' else 'NORMAL' end,
    case when n % 30 = 0 then 'STALLED' else 'OK' end, 'agent', 'anthropic', 0.01 * (n % 9), repeat('goal ', 12)
from (
    select n, now() - n % 2000 * interval '5 min' as started_at,
        case when n % 10 > 0 then 'giant' else 'small_' || lpad((n / 10 % 10)::text, 2, '0') end as tenant_id
    from generate_series(1, 5000) as n
) as numbered
"""
TRACES: Final = """
insert into aos_traces (trace_id, run_id, tenant_id, started_at)
select 'trace-' || id, id, tenant_id, started_at from runs
"""
STEPS: Final = """
insert into aos_trace_steps (trace_id, step_index, skill_id, duration_ms, retry_count)
select trace_id, n, 'skill-' || n % 2, 6000, n % 3 from aos_traces cross join generate_series(0, 5) as n
"""
#: What a tick reads of the source for changed keys, by signal.
CHANGED: Final = {
    "patterns": "patterns/facts, changed",
    "cost": "cost/agents, changed",
    "attention": "attention/facts, changed",
}
#: The indexes of a table that no constraint stands on.
INDEXES_OF: Final = text("""
select indexrelid::regclass::text from pg_index left join pg_constraint on conindid = indexrelid
where indrelid = cast(:table as regclass) and conindid is null
""")


def fill(url: str, *, agent_chars: int = 7) -> None:
    """Write the rows above, and have the planner know them."""
    engine = connect(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as conn:
        conn.execute(text(RUNS), {"agent_chars": agent_chars})
        conn.execute(text(TRACES))
        conn.execute(text(STEPS))
        conn.execute(text("vacuum analyze runs, aos_traces, aos_trace_steps"))
    engine.dispose()


def execute(url: str, *statements: str) -> list[Any]:
    """Run the statements and return the last one's first column."""
    engine = connect(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as conn:
        results = [conn.execute(text(statement)) for statement in statements]
        found = list(results[-1].scalars()) if results and results[-1].returns_rows else []
    engine.dispose()
    return found


@pytest.fixture(scope="module")
def filled(server: Server) -> Iterator[str]:
    """Yield the owner's URL of a database with the rows above; tests leave it as they found it."""
    url = server.create_migrated_database()
    fill(url)
    yield url
    server.drop_database(url)


@pytest.fixture
def engine(filled: str) -> Iterator[Engine]:
    """Yield an engine on that database."""
    engine = connect(filled)
    yield engine
    engine.dispose()


@pytest.fixture
def own(fresh_database: str) -> str:
    """Return the owner's URL of a database with the rows above that the test may spoil."""
    fill(fresh_database)
    return fresh_database


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Return a function that runs the command on a database and returns its exit code and findings.

    What is judged is the plan alone: how long a plan takes is the machine's affair, and has tests of its own.
    """
    monkeypatch.setattr(verdicts, "BUDGET_MS", float("inf"))

    def run(url: str, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
        monkeypatch.setenv("ACTIVITY_DATABASE_URL", url)
        with pytest.raises(SystemExit) as ended:
            main(["explain", "--json", *arguments])
        return int(ended.value.code or 0), json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Refused:
    """Return a function that runs the command without success and returns its exit code and last line of errors."""

    def run(url: str, *arguments: str) -> tuple[int, str]:
        monkeypatch.setenv("ACTIVITY_DATABASE_URL", url)
        with pytest.raises(SystemExit) as ended:
            main(["explain", *arguments])
        shown = capsys.readouterr()
        assert shown.out == ""
        return int(ended.value.code or 0), shown.err.splitlines()[-1]

    return run


def failed(findings: list[dict[str, Any]]) -> dict[tuple[str, str | None], str]:
    """Return the reasons of what failed, by query and tenant."""
    return {(each["query"], each["tenant"]): each["reason"] for each in findings if each["verdict"] == "fail"}


def test_every_step_and_live_query_passes_for_the_largest_and_the_middle_tenant(ask: Ask, filled: str) -> None:
    code, findings = ask(filled)

    steps = {step.query for name in SIGNALS for step in RULES[name].steps}
    assert failed(findings) == {}
    assert code == 0
    assert {(each["query"], each["tenant"]) for each in findings} == {
        *((query, tenant) for query in steps for tenant in (GIANT, SMALL, None)),
        *((query, tenant) for query in CHANGED.values() for tenant in (GIANT, SMALL)),
        *((rules.changes.window_edges, None) for rules in RULES.values()),
        *((query, tenant) for query in LIVE_REQUESTS for tenant in (GIANT, SMALL)),
    }


def test_the_roles_of_the_product_suffice(
    ask: Ask, server: Server, filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTIVITY_WORKER_DATABASE_URL", server.url_as(WORKER_ROLE, filled))
    monkeypatch.setenv("ACTIVITY_READER_DATABASE_URL", server.url_as(READER_ROLE, filled))

    code, findings = ask("postgresql://nobody@127.0.0.1:1/nowhere")

    assert (code, failed(findings)) == (0, {})


def test_a_plan_that_takes_longer_than_its_rows_may_fails(
    ask: Ask, filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verdicts, "BUDGET_MS", 0.0)

    code, findings = ask(filled, "--signal", "cost", "--tenant", SMALL)

    of_tenant = {each["query"] for each in findings if each["tenant"] == SMALL}
    reasons = {query: reason for (query, tenant), reason in failed(findings).items() if tenant == SMALL}
    assert code == 1
    assert reasons.keys() == of_tenant
    assert all(" rows have 0 ms" in reason for reason in reasons.values())


def test_a_table_that_is_mostly_the_tenants_may_be_read_whole(ask: Ask, filled: str) -> None:
    _, findings = ask(filled)

    reasons = {(each["query"], each["tenant"]): each["reason"] for each in findings}
    assert reasons["summary/by-status", GIANT] == (
        "Seq Scan of runs, of which the tenant has 90 %: an index saves no page"
    )
    assert reasons["summary/by-status", SMALL] == "by index: runs"
    assert reasons["patterns/facts", SMALL] == "by index: aos_trace_steps, aos_traces"


def test_the_rows_are_those_of_the_tenant_and_carry_on_to_what_reads_the_stage(ask: Ask, filled: str) -> None:
    _, findings = ask(filled, "--tenant", SMALL)

    rows = {(each["query"], each["tenant"]): each["rows"] for each in findings}
    assert rows["runs", SMALL] == execute(filled, "select count(*) from runs where tenant_id = 'small_04'")[0]
    assert rows["cost/content", SMALL] == rows["cost/agents", SMALL] > 0
    assert rows["cost/agents", None] > rows["cost/agents", SMALL]


@pytest.mark.parametrize(
    ("table", "queries"),
    [
        ("runs", {"cost/agents", "attention/facts", "summary/by-status", "runs"}),
        ("aos_traces", {"patterns/facts"}),
        ("aos_trace_steps", {"patterns/facts"}),
    ],
)
def test_a_source_table_without_its_indexes_fails(
    ask: Ask, own: str, table: str, queries: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Every trace of the window reads all steps when they have no index: few traces will do.
    monkeypatch.setenv("ACTIVITY_PATTERN_WINDOW_HOURS", "6")
    engine = connect(own)
    with engine.begin() as conn:
        for name in conn.execute(INDEXES_OF, {"table": table}).scalars().all():
            conn.execute(text(f"drop index {name}"))
    engine.dispose()

    code, findings = ask(own)

    reasons = {query: reason for (query, tenant), reason in failed(findings).items() if tenant == SMALL}
    ticks = {query: reasons.pop(query) for query in CHANGED.values() if query in reasons}
    assert code == 1
    assert queries <= reasons.keys()
    assert all(reason.startswith(f"Seq Scan of {table}, of which the tenant has 1 %") for reason in reasons.values())
    assert all(reason.startswith(f"Seq Scan of {table}, of which what changed has 0 %") for reason in ticks.values())
    assert {query for query, tenant in failed(findings) if tenant is None} <= {
        each.changes.window_edges for each in RULES.values()
    }


def test_a_tick_reads_what_changed_and_no_more(ask: Ask, filled: str) -> None:
    _, findings = ask(filled, "--tenant", GIANT)

    rows = {(each["query"], each["tenant"]): each["rows"] for each in findings}
    reasons = {(each["query"], each["tenant"]): each["reason"] for each in findings}
    assert rows["attention/facts, changed", GIANT] <= MARKED
    # Of each of the newest traces: itself, and its steps.
    assert MARKED < rows["patterns/facts, changed", GIANT] < rows["patterns/facts", GIANT] / 2
    assert reasons["patterns/facts, changed", GIANT] == "by index: aos_trace_steps, aos_traces"
    assert reasons["cost/agents, changed", GIANT] == "by index: runs"


def test_a_tick_that_reads_a_table_whole_fails_for_the_largest_tenant_too(ask: Ask, own: str) -> None:
    names = execute(own, INDEXES_OF.text.replace(":table", "'runs'"))
    execute(own, "alter table runs drop constraint runs_pkey cascade", *(f"drop index {name}" for name in names))

    code, findings = ask(own, "--signal", "attention", "--tenant", GIANT)

    assert code == 1
    assert failed(findings)["attention/facts, changed", GIANT].startswith(
        "Seq Scan of runs, of which what changed has 0 %"
    )


def test_a_page_of_runs_that_is_sorted_on_disk_fails(ask: Ask, fresh_database: str) -> None:
    fill(fresh_database, agent_chars=1700)
    database = make_url(fresh_database).database
    execute(fresh_database, f"alter database {database} set work_mem = '64kB'")

    code, findings = ask(fresh_database, "--tenant", GIANT)

    assert code == 1
    assert "kB on disk" in failed(findings)["runs", GIANT]
    assert not [query for query, _ in failed(findings) if query.startswith("cost")], "a refresh has its own work_mem"


def test_the_plans_of_a_refresh_have_the_memory_of_a_refresh(
    ask: Ask, own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of 4 MB, which is the least, a baseline of this many costs does not fit.
    execute(
        own,
        "insert into runs (id, tenant_id, agent_id, state, started_at, completed_at, estimated_cost_usd)"
        " select 'more-' || n, 'giant', 'agent-' || n % 3000, 'COMPLETED', now() - interval '3 days',"
        " now() - interval '3 days', 0.5 from generate_series(1, 15000) as n",
        "vacuum analyze runs",
    )

    assert ("cost/agents", None) not in failed(ask(own, "--signal", "cost")[1])
    monkeypatch.setenv("ACTIVITY_REFRESH_WORK_MEM_MB", "4")
    code, findings = ask(own, "--signal", "cost")

    assert code == 1
    assert "on disk" in failed(findings)["cost/agents", None]


def test_named_signals_are_explained_without_the_live_queries(ask: Ask, filled: str) -> None:
    _, findings = ask(filled, "--signal", "cost", "--signal", "attention", "--signal", "cost")

    steps = {name: [step.query for step in RULES[name].steps] for name in ("cost", "attention")}
    of_tenant = [query for name, queries in steps.items() for query in (*queries, CHANGED[name])]
    of_all = [query for name, queries in steps.items() for query in (*queries, RULES[name].changes.window_edges)]
    assert [each["query"] for each in findings] == [*of_tenant, *of_tenant, *of_all]


def test_the_table_says_what_the_json_says(
    ask: Ask, filled: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, findings = ask(filled, "--signal", "attention")
    monkeypatch.setenv("ACTIVITY_DATABASE_URL", filled)

    with pytest.raises(SystemExit):
        main(["explain", "--signal", "attention"])

    heading, *lines = capsys.readouterr().out.splitlines()
    assert heading.split() == ["query", "tenant", "rows", "ms", "buffers", "verdict", "reason"]
    assert len(lines) == len(findings)
    for line, finding in zip(lines, findings, strict=True):
        assert line.startswith(finding["query"])
        assert line.endswith(f"{finding['verdict']}     {finding['reason']}")
        assert (finding["tenant"] or "(all)") in line


def test_nothing_is_left_behind(ask: Ask, filled: str) -> None:
    relations = "select relname from pg_class"
    published = "select signal from signals.snapshot union all select signal from signals.refresh"
    before = sorted(execute(filled, relations))

    ask(filled)

    assert sorted(execute(filled, relations)) == before
    assert execute(filled, published) == []


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["--signal", "moods"], 2, "signal: 'moods' does not exist; expected one of patterns, cost, attention"),
        (["--tenant", "nobody"], 1, "--tenant: 'nobody' has no runs and no traces; expected a tenant that has some"),
        (["--tenant", ""], 1, "--tenant: '' has no runs and no traces; expected a tenant that has some"),
    ],
)
def test_a_wrong_call_is_answered_in_one_line(
    refused: Refused, filled: str, arguments: list[str], code: int, expected: str
) -> None:
    assert refused(filled, *arguments) == (code, f"activity: {expected}")


def test_a_database_without_rows_has_no_plan_to_judge(refused: Refused, database_url: str) -> None:
    expected = "activity: runs, aos_traces: no rows of any tenant; there is no plan to judge"

    assert refused(database_url) == (1, expected)
    assert refused(database_url, "--tenant", "nobody") == (1, expected)


def test_a_live_statement_reads_the_view_of_the_tenant_named() -> None:
    for request in LIVE_REQUESTS:
        assert "FROM signals.tenant_run" in str(live_statement(request, SMALL, settings.load()))


def test_a_real_sort_on_disk_is_found(engine: Engine) -> None:
    def plan_of(conn: Connection, work_mem: str) -> Plan:
        conn.execute(text(f"set local work_mem = '{work_mem}'"))
        return explain(conn, text('select run_id, source from signals.source_run order by run_id collate "C"'), {})

    with engine.connect() as conn:
        assert judge_spills(plan_of(conn, "16MB")).passes
        assert judge_spills(plan_of(conn, "64kB")).reason.startswith("external merge of ")


def test_the_benchmark_measures_every_index_and_leaves_all_of_them(
    server: Server, own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As above: without an index each trace of the window reads all steps.
    monkeypatch.setenv("ACTIVITY_PATTERN_WINDOW_HOURS", "1")
    engine = connect(make_url(server.cluster.superuser_url()).set(database=make_url(own).database))
    present = text(
        "select indexname from pg_indexes where schemaname = 'public' and tablename in ('runs', 'aos_traces',"
        " 'aos_trace_steps') order by 1"
    )
    with engine.connect() as conn:
        before = conn.execute(present).scalars().all()

    measured = indexes.measure(engine, indexes.Effort(rows=20, rounds=1))

    with engine.connect() as conn:
        assert conn.execute(present).scalars().all() == before
    assert {each.names[0] for each in measured if len(each.names) == 1} == {
        name for name in before if not name.endswith(("_pkey", "_key"))
    }
    used = {each.names[0]: each.used_by for each in measured if len(each.names) == 1}
    # Each begins with the trace; which one the planner takes depends on the rows.
    by_trace = ("idx_aos_trace_steps_composite", "idx_aos_trace_steps_skill_retry")
    assert any(used[name] == ("patterns/facts",) for name in by_trace)
    assert all(each.insert_ratio > 0 for each in measured)
    engine.dispose()
