"""The laws of refreshing, on random histories: a refresh of what changed equals one of everything.

Any split of a history into refreshes, by any number of shards, in batches of any size, gives what one full recompute
gives; a second refresh at the same instant changes nothing. The histories have several sessions that commit out of
order, late steps, moves between tenants, rows dated ahead, lost triggers, truncations, and refreshes that die midway.
"""

from __future__ import annotations

from contextlib import ExitStack
from itertools import cycle
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import event, text

from migrations import capture
from snapshots import settings as settings_module
from tests.factories import AS_OF
from tests.worker import history
from tests.worker.agreement import assert_published_equals_staged
from tests.worker.history import at, runs, step_values, traces, upsert, write
from worker.engine.batch import refresh_batch
from worker.engine.context import RefreshContext, RefreshResult
from worker.engine.probe import unreported
from worker.engine.publish import draw_fence
from worker.engine.reconcile import reconcile
from worker.engine.shards import WHOLE, Shard, shards
from worker.signals.registry import SIGNALS

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from sqlalchemy import Connection, Engine

    from worker.signals.spec import SignalSpec

SETTINGS = settings_module.load()
signals = st.sampled_from(sorted(SIGNALS))
sessions = st.sampled_from([0, 0, 1, 2])


class WorkerEndedError(Exception):
    """The worker ends between two statements."""


class Histories(RuleBasedStateMachine):
    """Random writes and refreshes on one database; `engine` is set by the test."""

    engine: Engine

    def __init__(self) -> None:
        """Open the sessions of three writers: the first commits each write, the others when they are told."""
        super().__init__()
        self.stack = ExitStack()
        self.now: datetime = AS_OF
        self.steps = 0
        self.pace = 1
        self.turns = cycle(SIGNALS.values())
        self.writers = [self.stack.enter_context(self.engine.connect()) for _ in range(3)]

    @initialize(
        pace=st.integers(1, 3),
        first_runs=st.lists(history.first_run, min_size=4, max_size=6),
        first_traces=st.lists(history.first_trace, min_size=2, max_size=2),
    )
    def begin(
        self,
        pace: int,
        first_runs: list[dict[str, Any]],
        first_traces: list[tuple[dict[str, Any], list[dict[str, Any]]]],
    ) -> None:
        """Start from a captured database with some rows, compared every `pace` steps."""
        self.pace = pace
        with self.engine.begin() as conn:
            conn.exec_driver_sql(_EMPTY)
        self.write_runs(0, [(f"run-{number}", values) for number, values in enumerate(first_runs)])
        for number, (values, steps) in enumerate(first_traces):
            self.write_trace(0, f"trace-{number}", values, steps)
        for signal in SIGNALS.values():
            self._refresh(signal)

    def teardown(self) -> None:
        """Commit what is open, compare once more, and close the sessions."""
        try:
            for writer in self.writers:
                writer.commit()
            for signal in SIGNALS.values():
                self.look_closely(signal)
        finally:
            self.stack.close()

    # ---- the host's writers

    def _write(self, session: int, statement: str, **binds: object) -> None:
        write(self._opened(session), statement, **binds)
        self._settle(session)

    def _opened(self, session: int) -> Connection:
        writer = self.writers[session]
        if not writer.in_transaction():
            writer.exec_driver_sql("set lock_timeout = '15ms'")
        return writer

    def _settle(self, session: int) -> None:
        if session == 0:
            self.writers[0].commit()

    @rule(session=sessions, written=st.lists(st.tuples(runs, history.run_values), min_size=1, max_size=4))
    def write_runs(self, session: int, written: list[tuple[str, dict[str, Any]]]) -> None:
        """Insert or change runs."""
        for run_id, values in written:
            upsert(self._opened(session), "runs", {"id": run_id}, {"goal": "", **at(self.now, values)})
        self._settle(session)

    @rule(session=sessions, seen=history.beats)
    def heartbeat(self, session: int, seen: timedelta) -> None:
        """Touch all live runs."""
        self._write(session, "update runs set last_seen_at = :seen where state = 'LIVE'", seen=self.now + seen)

    @rule(session=sessions, run_id=runs)
    def delete_run(self, session: int, run_id: str) -> None:
        """Delete a run."""
        self._write(session, "delete from runs where id = :run_id", run_id=run_id)

    @rule(session=sessions, trace_id=traces, values=history.trace_values, steps=st.lists(step_values, max_size=5))
    def write_trace(self, session: int, trace_id: str, values: dict[str, Any], steps: list[dict[str, Any]]) -> None:
        """Insert or change a trace, and add steps to it."""
        defaults = {"tenant_id": "acme", "run_id": "run-0", "started_at": self.now}
        exists = "select 1 from aos_traces where trace_id = :trace_id"
        known = self._opened(session).execute(text(exists), {"trace_id": trace_id}).first()
        row = at(self.now, values) if known else {**defaults, **at(self.now, values)}
        if known:
            changes = ", ".join(f"{name} = :{name}" for name in row) or "status = 'touched'"
            change = f"update aos_traces set {changes} where trace_id = :trace_id"  # noqa: S608  # names are ours
            self._write(session, change, trace_id=trace_id, **row)
        else:
            upsert(self.writers[session], "aos_traces", {"trace_id": trace_id}, row)
        self._add_steps(session, trace_id, steps)

    @rule(session=sessions, trace_id=traces, steps=st.lists(step_values, min_size=1, max_size=5))
    def late_steps(self, session: int, trace_id: str, steps: list[dict[str, Any]]) -> None:
        """Add steps to a trace that has been there for a while."""
        self._add_steps(session, trace_id, steps)

    def _add_steps(self, session: int, trace_id: str, steps: list[dict[str, Any]]) -> None:
        add = (
            "insert into aos_trace_steps (trace_id, step_index, skill_id, retry_count, duration_ms, archived_at)"
            " select cast(:trace_id as varchar), coalesce(max(step_index) + 1, 0), :skill_id,"
            " cast(:retry_count as integer), cast(:duration_ms as double precision), cast(:archived_at as timestamptz)"
            " from aos_trace_steps where trace_id = :trace_id"
        )
        for step in steps:
            write(self._opened(session), add, trace_id=trace_id, **at(self.now, step))
        self._settle(session)

    @rule(session=sessions, trace_id=traces, keep=st.integers(0, 3))
    def delete_steps(self, session: int, trace_id: str, keep: int) -> None:
        """Delete the later steps of a trace, and change what is left."""
        self._write(
            session, "delete from aos_trace_steps where trace_id = :id and step_index > :n", id=trace_id, n=keep
        )
        self._write(session, "update aos_trace_steps set retry_count = :n where trace_id = :id", id=trace_id, n=keep)

    @rule(session=sessions, trace_id=traces)
    def delete_trace(self, session: int, trace_id: str) -> None:
        """Delete a trace and its steps."""
        self._write(session, "delete from aos_traces where trace_id = :trace_id", trace_id=trace_id)

    @rule(session=st.integers(1, 2), is_kept=st.booleans())
    def end_transaction(self, session: int, is_kept: bool) -> None:  # noqa: FBT001  # hypothesis passes it by name
        """Commit or roll back a session, in whatever order they began."""
        self.writers[session].commit() if is_kept else self.writers[session].rollback()

    # ---- what passes the triggers by

    @rule(how=st.sampled_from(["truncate", "disable", "remove"]), luck=st.integers(0, 3), trace_id=traces, run_id=runs)
    def pass_the_triggers_by(self, how: str, luck: int, trace_id: str, run_id: str) -> None:
        """Lose a change, now and then: what follows is a full recompute, which hides other faults."""
        if luck == 0:
            {"truncate": self._truncate, "disable": self._disable, "remove": self._remove}[how](trace_id, run_id)

    def _truncate(self, trace_id: str, run_id: str) -> None:
        """Empty a table; it fails while another session writes."""
        self._write(0, "truncate aos_trace_steps" if trace_id == "trace-0" else "truncate aos_traces, aos_trace_steps")
        if run_id == "run-0":
            self._write(0, "truncate runs")

    def _disable(self, _: str, run_id: str) -> None:
        """Write while the triggers are disabled, and enable them again."""
        enabled = "".join(
            f" alter table runs enable always trigger signals_runs_{kind};" for kind in ("insert", "update", "delete")
        )
        delete = f"delete from runs where id = '{run_id}';"  # noqa: S608  # one of three names
        self._write(0, f"do $$ begin alter table runs disable trigger user; {delete} {enabled} end $$")

    def _remove(self, trace_id: str, _: str) -> None:
        """Write while there are no triggers."""
        for writer in self.writers:
            writer.commit()
        capture.remove(self.engine)
        self._write(0, "delete from aos_trace_steps where trace_id = :trace_id", trace_id=trace_id)
        capture.install(self.engine)

    # ---- refreshes

    @rule(stride=history.strides)
    def let_time_pass(self, stride: timedelta) -> None:
        """Move the clock on."""
        self.now += stride

    @rule(signal=signals, count=st.sampled_from([1, 2, 4]), number=st.integers(0, 3))
    def refresh_a_shard(self, signal: str, count: int, number: int) -> None:
        """Refresh one shard, under any number of shards."""
        self._refresh(SIGNALS[signal], shards(count)[number % count], limit=1_000)

    @rule(signal=signals, limit=st.integers(1, 3), after=st.sampled_from([None, "(0,2)"]))
    def refresh_a_batch(self, signal: str, limit: int, after: str | None) -> None:
        """Refresh from a few marks only, from some place of the queue on."""
        self._refresh(SIGNALS[signal], after=after, limit=limit)

    @rule(signal=signals, tenant=st.sampled_from(history.TENANTS))
    def refresh_a_tenant(self, signal: str, tenant: str) -> None:
        """Refresh one tenant, as an operator asks for it."""
        self._refresh(SIGNALS[signal], tenants=[tenant])

    @rule(signal=signals, statements=st.integers(1, 30))
    def crash(self, signal: str, statements: int) -> None:
        """Let a refresh die after some statements."""
        left = statements

        def count(*_: object) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise WorkerEndedError

        event.listen(self.engine, "before_cursor_execute", count)
        try:
            self._refresh(SIGNALS[signal])
        except WorkerEndedError:
            pass
        finally:
            event.remove(self.engine, "before_cursor_execute", count)

    @invariant()
    def looked_at_now_and_then(self) -> None:
        """Every few steps, refresh one signal to the end and compare it."""
        self.steps += 1
        if self.steps % self.pace == 0:
            self.look(next(self.turns))

    def look(self, signal: SignalSpec) -> None:
        """Refresh to the end, in one shard or two, and compare with a full recompute."""
        for shard in shards(2 if self.steps % 3 else 1):
            self._refresh(signal, shard)
        with self.engine.connect() as conn, conn.begin() as transaction:
            assert_published_equals_staged(conn, signal, self.now)
            for shard in shards(2):
                # A sample never finds fault with a refresh that left no change event.
                assert unreported(conn, RefreshContext(signal, SETTINGS, 1, self.now, self.steps, shard)) == 0
            transaction.rollback()

    def _refresh(
        self,
        signal: SignalSpec,
        shard: Shard = WHOLE,
        *,
        tenants: list[str] | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> RefreshResult:
        with self.engine.begin() as conn:
            context = RefreshContext(signal, SETTINGS, 1, self.now, draw_fence(conn)[1], shard, tenants)
            return refresh_batch(conn, context, after=after, limit=limit)

    def look_closely(self, signal: SignalSpec) -> None:
        """Compare; then a second refresh must change nothing, and a reconcile must find nothing to repair."""
        self.look(signal)
        for shard in shards(2):
            again = self._refresh(signal, shard)
            assert (again.method, again.rows_changed, again.marks) == ("incremental", 0, 0)
        with self.engine.connect().execution_options(isolation_level="REPEATABLE READ") as conn, conn.begin():
            context = RefreshContext(signal, SETTINGS, 1, self.now, draw_fence(conn)[1])
            assert reconcile(conn, context, draw_fence(conn)[1]).drift == 0


_EMPTY = """
delete from aos_traces; delete from runs;
delete from signals.snapshot; delete from signals.snapshot_history; delete from signals.freshness;
delete from signals.pattern_item; delete from signals.cost_item; delete from signals.attention_item;
delete from signals.dirty_trace; delete from signals.dirty_run; delete from signals.dirty_agent;
delete from signals.fact_state; delete from signals.trace_fact; delete from signals.run_pattern;
delete from signals.agent_cost; delete from signals.attention_fact; delete from signals.capture_doubt
"""


@pytest.fixture
def captured(engine: Engine) -> Engine:
    """Return an engine on a database whose changes are captured."""
    capture.install(engine)
    return engine


def test_refreshes_of_what_changed_equal_one_of_everything(captured: Engine) -> None:
    machine = type("CapturedHistories", (Histories,), {"engine": captured})
    # A history takes seconds; `make test-laws` asks for hundreds.
    is_small = settings.get_current_profile_name() == "small"
    histories = settings(stateful_step_count=30, max_examples=12 if is_small else settings().max_examples)
    run_state_machine_as_test(machine, settings=histories)
