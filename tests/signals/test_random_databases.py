"""The signals against the specification's queries on random databases, each in a savepoint of its own."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from tests.factories import AS_OF
from tests.signals.generated import RUNS, TENANTS, TRACE, insert_runs, insert_traces
from tests.signals.oracle import (
    assert_attention_agrees,
    assert_cost_agrees,
    assert_patterns_agree,
    staged,
)
from worker.engine.stage import stage_content
from worker.signals.registry import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from snapshots.settings import Settings

_DAY = timedelta(days=1)


def _in_savepoint(conn: Connection, check: Callable[[], None]) -> None:
    savepoint = conn.begin_nested()
    try:
        check()
    finally:
        savepoint.rollback()


def _contents(conn: Connection) -> list[Any]:
    return list(conn.execute(select(stage_content).order_by(stage_content.c.tenant_id)))


def test_patterns_find_what_the_spec_finds(host: Connection, defaults: Settings) -> None:
    @given(st.lists(TRACE, max_size=8))
    def compare(traces: list[dict[str, Any]]) -> None:
        def check() -> None:
            insert_traces(host, [dict(trace) for trace in traces])
            assert_patterns_agree(host, defaults, TENANTS, AS_OF, AS_OF - _DAY)

        _in_savepoint(host, check)

    compare()


def test_cost_finds_what_the_spec_finds(host: Connection, defaults: Settings) -> None:
    @given(RUNS)
    def compare(runs: list[dict[str, Any]]) -> None:
        def check() -> None:
            insert_runs(host, runs)
            assert_cost_agrees(host, defaults, TENANTS, AS_OF)

        _in_savepoint(host, check)

    compare()


def test_attention_finds_what_the_spec_finds(host: Connection, defaults: Settings) -> None:
    @given(RUNS)
    def compare(runs: list[dict[str, Any]]) -> None:
        def check() -> None:
            insert_runs(host, runs)
            assert_attention_agrees(host, defaults, TENANTS, AS_OF)

        _in_savepoint(host, check)

    compare()


def test_the_same_instant_gives_the_same_content(host: Connection, defaults: Settings) -> None:
    @given(RUNS, st.lists(TRACE, max_size=4))
    def compare(runs: list[dict[str, Any]], traces: list[dict[str, Any]]) -> None:
        def check() -> None:
            insert_runs(host, runs)
            insert_traces(host, [dict(trace) for trace in traces])
            for signal in SIGNALS:
                staged(host, signal, defaults, AS_OF)
                first = _contents(host)
                staged(host, signal, defaults, AS_OF)
                assert _contents(host) == first
                assert {row.tenant_id for row in first} <= {"", *TENANTS}

        _in_savepoint(host, check)

    compare()
