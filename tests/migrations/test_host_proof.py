"""A host at 094 that is written to throughout: joined, every signal as specified, and left as it was."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from threading import Event
from typing import TYPE_CHECKING, Final, Self

from sqlalchemy import text

from migrations import capture, runner
from snapshots import settings
from tests.factories import AS_OF, insert_run, insert_step, insert_trace
from tests.migrations.dumps import dump
from tests.signals.oracle import assert_attention_agrees, assert_cost_agrees, assert_patterns_agree
from tests.worker.agreement import assert_published_equals_staged
from worker.engine.batch import refresh_batch
from worker.engine.context import RefreshContext
from worker.engine.publish import draw_fence
from worker.signals.registry import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from datetime import datetime

    from sqlalchemy import Connection, Engine

    from tests.postgres import Server

SETTINGS: Final = settings.load()
TENANTS: Final = ("acme", "beta", "gamma")
#: Seconds that a writer may wait for anything of ours: a migration takes locks for at most ten.
BOUND_S: Final = 10.0
_HOUR: Final = timedelta(hours=1)
_LEVELS: Final = ("NORMAL", "NEAR_THRESHOLD", "AT_RISK", "VIOLATED")


def write_run(conn: Connection, name: str, number: int) -> None:
    """Begin a run of the last week, and end it in another statement, as a host does."""
    started_at = AS_OF - (number % 160) * _HOUR - _HOUR
    run = insert_run(
        conn,
        id=f"{name}-{number}",
        tenant_id=TENANTS[number % 3],
        agent_id=f"agent-{number % 2}",
        state="LIVE",
        status="running",
        started_at=started_at.replace(tzinfo=None),
        risk_level=_LEVELS[number % 4],
        incident_count=int(number % 5 == 0),
        latency_bucket="SLOW" if number % 3 else "OK",
    )
    if number % 7:
        ended = {"run": run, "cost": 1 + number % 11, "at": (started_at + _HOUR / 2).replace(tzinfo=None)}
        conn.execute(
            text(
                "update runs set state = 'COMPLETED', status = 'succeeded', completed_at = :at,"
                " estimated_cost_usd = :cost where id = :run"
            ),
            ended,
        )


def write_trace(conn: Connection, name: str, number: int) -> None:
    """Write a trace of the last two days with steps that loop, repeat, fail or dawdle."""
    trace = insert_trace(
        conn,
        trace_id=f"{name}-{number}",
        run_id=f"runs-{number % 40}",
        tenant_id=TENANTS[number % 40 % 3],
        started_at=AS_OF - (number % 48) * _HOUR / 2,
    )
    for index in range(1 + number % 6):
        slow, retries = 9000.0 if number % 4 == 0 else 10.0, number % 3
        insert_step(conn, trace, index, skill_id=f"s{index * (number % 2)}", duration_ms=slow, retry_count=retries)


def write_late_step(conn: Connection, name: str, number: int) -> None:
    """Add a step to a trace that is there already."""
    insert_step(conn, f"first-{number % 20}", 100 + number, skill_id=name, retry_count=1)


WRITERS: Final = {"runs": write_run, "traces": write_trace, "late": write_late_step}


class Writers:
    """One writer per table, each committing row by row until it is told to stop; use as a context manager."""

    def __init__(self, engine: Engine, first: int) -> None:
        """Write through connections of `engine`, rows numbered from `first` on."""
        self._engine = engine
        self._first = first
        self._stop = Event()
        self._stack = ExitStack()
        self._running: list[Future[tuple[int, float]]] = []

    def __enter__(self) -> Self:
        """Start them."""
        pool = self._stack.enter_context(ThreadPoolExecutor(len(WRITERS)))
        self._running = [pool.submit(self._write, name, write) for name, write in WRITERS.items()]
        self._stack.callback(self._stop.set)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop them and wait for them."""
        self._stack.close()

    def stop(self) -> list[tuple[int, float]]:
        """Stop them; return how many transactions each committed, and the seconds of its slowest. Raises its error."""
        self._stop.set()
        return [running.result() for running in self._running]

    def _write(self, name: str, write: Callable[[Connection, str, int], None]) -> tuple[int, float]:
        slowest, number = 0.0, self._first
        with self._engine.connect() as conn:
            while not self._stop.is_set():
                begun = time.monotonic()
                write(conn, name, number)
                conn.commit()
                slowest, number = max(slowest, time.monotonic() - begun), number + 1
        return number - self._first, slowest


def refresh_all(engine: Engine, now: datetime) -> set[str]:
    """Refresh every signal as of `now`, and return the methods that were used."""
    methods: set[str] = set()
    for signal in SIGNALS.values():
        with engine.begin() as conn:
            context = RefreshContext(signal, SETTINGS, 1, now, draw_fence(conn)[1])
            methods.add(refresh_batch(conn, context).method)
    return methods


def publish(engine: Engine, now: datetime) -> set[str]:
    """Refresh as `refresh_all` does, and hold what is published against a full recompute."""
    methods = refresh_all(engine, now)
    for signal in SIGNALS.values():
        with engine.connect() as conn:
            assert_published_equals_staged(conn, signal, now)
    return methods


def compared_with_the_spec(engine: Engine, as_of: datetime) -> list[int]:
    """Hold every row of every signal against the specification's literal SQL; return how many there were of each."""
    with engine.connect() as conn:
        conn.execute(text("analyze runs, aos_traces, aos_trace_steps"))
        window = as_of - timedelta(hours=24)
        return [
            assert_patterns_agree(conn, SETTINGS, TENANTS, as_of, window),
            assert_cost_agrees(conn, SETTINGS, TENANTS, as_of),
            assert_attention_agrees(conn, SETTINGS, TENANTS, as_of),
        ]


def test_a_host_is_joined_under_writers_answered_rightly_and_left_exactly_as_it_was(
    host_database: str, server: Server, owner: Callable[[str], Engine]
) -> None:
    engine = owner(host_database)
    with engine.begin() as conn:
        for number in range(60):
            write_run(conn, "first", number)
            write_trace(conn, "first", number)
    before = dump(server, host_database, "--schema-only")

    with Writers(engine, 0) as writers:
        runner.migrate(settings.load(database_url=host_database))
        capture.install(engine)
        joined = writers.stop()
    full = publish(engine, AS_OF)
    counts = compared_with_the_spec(engine, AS_OF)
    with Writers(engine, 10_000_000) as writers:
        for minute in range(3):
            refresh_all(engine, AS_OF + timedelta(seconds=20 * minute))
        written = writers.stop()
    incremental = publish(engine, AS_OF + timedelta(minutes=2))
    again = compared_with_the_spec(engine, AS_OF + timedelta(minutes=2))
    with Writers(engine, 20_000_000) as writers:
        capture.remove(engine)
        runner.downgrade(host_database, "base")
        left = writers.stop()

    slowest = max(seconds for phase in (joined, written, left) for _, seconds in phase)
    assert slowest < BOUND_S
    assert all(transactions > 0 for phase in (joined, left) for transactions, _ in phase)
    assert full == {"full"}
    assert incremental == {"incremental"}
    assert all(count > 10 for count in (*counts[::2], *again[::2]))
    assert counts[1] == again[1] == len(TENANTS) * 2
    assert dump(server, host_database, "--schema-only") == before
