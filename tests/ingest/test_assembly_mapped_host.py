"""Span assembly into a host whose tables and columns have names and types of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from ingest.exports.load_spans import SpanLoadOptions, load_spans
from migrations import runner
from migrations.roles import ensure_roles
from snapshots.database import connect
from tests.ingest.spans import TENANT, TRACE, agent, request, tool, write
from tests.mapped import DDL, MAPPING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine

#: The host's end of a run is a timestamp without a zone, its duration an integer.
RUN = (
    'select "$$; drop table x; --" as id, "org:name" as tenant, "{{new_row.id}}" as agent, phase::text,'
    ' to_char("to", \'HH24:MI:SS\') as ended, took from "Plat.form"."agent ""Executions"""'
)
STEPS = 'select span, nr, tool from "Plat.form"."steps;\n\n" order by nr'


@pytest.fixture
def mapped(empty_database: str) -> Iterator[Engine]:
    engine = connect(empty_database)
    with engine.begin() as conn:
        conn.exec_driver_sql(DDL.replace("%", "%%"))
    ensure_roles(empty_database)
    runner.upgrade(empty_database, mapping=MAPPING)
    yield engine
    engine.dispose()


def rows(engine: Engine, statement: str) -> list[tuple[object, ...]]:
    with engine.connect() as conn:
        return [tuple(row) for row in conn.execute(text(statement.replace(":", "\\:").replace("\\:\\:", "::")))]


def test_traces_are_written_and_appended_through_the_mapping(mapped: Engine, tmp_path: Path) -> None:
    first = write(tmp_path / "first.jsonl", request(agent(), tool(2, "search")))
    late = write(tmp_path / "late.jsonl", request(tool(3, "fetch", 10)))

    for path in (first, late, first):
        assert load_spans(mapped, path, SpanLoadOptions(TENANT)).skipped == 0

    assert rows(mapped, RUN) == [(TRACE, TENANT, "planner", "COMPLETED", "11:00:10", 10_000)]
    assert rows(mapped, STEPS) == [(TRACE, 0, "search"), (TRACE, 1, "fetch")]
