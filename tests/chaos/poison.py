"""Faults of data and messages: doubled and late messages, strange rows, a tenant whose data breaks."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, select, text

from ops.local.startup import clock
from snapshots.items import ITEMS
from snapshots.signals import SIGNALS
from snapshots.tables import quarantine, refresh, snapshot
from tests.chaos.world import POISONED, STRANGE, TENANTS
from worker.engine import ledger, locks
from worker.engine.batch import refresh_batch
from worker.engine.context import RefreshContext, RefreshRequest
from worker.engine.publish import draw_fence
from worker.engine.shards import WHOLE, shards
from worker.schedule import RECOMPUTE, REFRESH
from worker.signals.registry import SIGNALS as RULES

if TYPE_CHECKING:
    from subprocess import CompletedProcess

    from sqlalchemy import Connection

    from tests.chaos.faults import Measured, Scene

_PATIENCE_S: Final = 60.0
_LONGEST_NAME: Final = 128
_MEGABYTE: Final = 1_000_000
#: Of what `load_strange_files` writes: a run, its trace and one step.
_GOOD_LINES: Final = 3
#: The exit code of `activity load` that stored what it could.
_LINES_WERE_BAD: Final = 1
#: Of what a command says, its end.
_LINES_KEPT: Final = 12
_STEPS: Final = {False: 100_000, True: 1_000_000}

_RUNS: Final = text("""
insert into public.runs (
    id, tenant_id, agent_id, goal, state, started_at, completed_at, last_seen_at, risk_level, duration_ms,
    estimated_cost_usd
)
select
    'strange-' || :label || '-' || n, :tenant, 'agent', 'goal', 'COMPLETED',
    clock_timestamp() + make_interval(hours => case when n = 5 then 72 else -1 end),
    clock_timestamp(), clock_timestamp(), 'VIOLATED',
    cast((array['NaN', 'Infinity', '-Infinity', '-1', '1e300'])[n] as double precision),
    cast((array['NaN', 'Infinity', '-Infinity', '-5', '1e30'])[n] as numeric)
from generate_series(1, 5) as n
""")
_TRACES: Final = text("""
insert into public.aos_traces (trace_id, run_id, tenant_id, started_at)
select 'strange-' || :label || '-' || n, 'strange-' || :label || '-' || n, :tenant, clock_timestamp()
from generate_series(1, 5) as n
""")
_STEPS_OF_TRACES: Final = text("""
insert into public.aos_trace_steps (trace_id, step_index, skill_id, skill_name, duration_ms, retry_count, cost_cents)
select
    'strange-' || :label || '-' || n, m, repeat(chr(64 + n), :length), repeat('é', :length),
    cast((array['NaN', 'Infinity', '-Infinity', '-1', '9000'])[1 + m % 5] as double precision),
    (array[-3, 2147483647, 2147483647, 0, 5])[1 + m % 5],
    cast((array['NaN', 'Infinity', '-Infinity', '-1', '1e300'])[n] as double precision)
from generate_series(1, 5) as n
cross join generate_series(0, 9) as m
""")
_LOADED: Final = text("""
select
    (select count(*) from public.runs where id = :label)
    + (select count(*) from public.aos_traces where trace_id = :label)
    + (select count(*) from public.aos_trace_steps where trace_id = :label)
""")
_LONG_TRACE: Final = text("""
insert into public.aos_trace_steps (trace_id, step_index, skill_id, duration_ms, retry_count)
-- Half of them are of fifty skills, the others of a hundred thousand that come again.
select :trace, n, 'skill_' || case when n % 2 = 0 then n % 50 else n % 100000 end, n % 7000, n % 2
from generate_series(1, cast(:steps as integer)) as n
""")


def insert_strange_rows(scene: Scene) -> Measured:
    """Write values that are not finite, negative retries, the longest names, extremes, and a run in the future."""
    binds = {"label": str(scene.chance.getrandbits(32)), "tenant": STRANGE}
    with scene.world.engine.begin() as conn:
        conn.execute(_RUNS, binds)
        conn.execute(_TRACES, binds)
        conn.execute(_STEPS_OF_TRACES, {**binds, "length": _LONGEST_NAME})
    return {}


def insert_long_trace(scene: Scene) -> Measured:
    """Write one trace with more steps than any host has, and take it away once it is published."""
    world, trace, steps = scene.world, f"long-{scene.chance.getrandbits(32)}", _STEPS[scene.is_full]
    with world.engine.begin() as conn:
        _open_trace(conn, trace)
        begun = time.monotonic()
        conn.execute(_LONG_TRACE, {"trace": trace, "steps": steps})
    taken = {"steps": steps, "insert_s": round(time.monotonic() - begun, 1)}
    since = clock(world.engine)
    published_s = world.until(lambda: scene.readers.are_fresh(since), _PATIENCE_S)
    with world.engine.begin() as conn:
        conn.execute(text("delete from public.aos_traces where trace_id = :trace"), {"trace": trace})
    return {**taken, "published_s": _PATIENCE_S if published_s is None else published_s}


def _open_trace(conn: Connection, trace: str) -> None:
    values = {"trace": trace, "tenant": STRANGE}
    conn.execute(
        text(
            "insert into public.aos_traces (trace_id, run_id, tenant_id, started_at)"
            " values (:trace, :trace, :tenant, clock_timestamp())"
        ),
        values,
    )


def double_messages(scene: Scene) -> Measured:
    """Ring twice at once for everything, once without an end to the message, and repeat a request that is over."""
    world, app = scene.world, scene.world.app
    for name in SIGNALS:
        for shard in shards(world.settings.shards):
            for _ in range(2):
                app.send_task(REFRESH, args=[name, shard.number, shard.count])
    with world.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as books:
        asked = ledger.request(books, RefreshRequest("cost", mode="manual", requested_by="chaos"))
    for _ in range(2):
        app.send_task(RECOMPUTE, args=[asked])
    world.until(lambda: _finished(scene, asked) is not None, _PATIENCE_S)
    finished = _finished(scene, asked)
    app.send_task(RECOMPUTE, args=[asked])
    scene.pause(4)
    return {"done_twice": int(_finished(scene, asked) != finished)}


def end_late(scene: Scene) -> Measured:
    """Have a refresh of an older instant end after newer ones, in every signal: it must replace nothing of theirs.

    It is of tenants by name: one that consumed marks would have drawn its instant with the lock already held.
    """
    world = scene.world
    with world.engine.connect() as conn:
        with conn.begin():
            older_as_of, older_fence = draw_fence(conn)
        world.until(lambda: scene.readers.are_fresh(older_as_of), _PATIENCE_S)
        before = _fences(conn)
        for name in SIGNALS:
            with locks.held(world.engine, name, WHOLE.slots, wait_s=_PATIENCE_S), conn.begin():
                older = RefreshContext(RULES[name], world.settings, 0, older_as_of, older_fence, tenants=TENANTS)
                refresh_batch(conn, older)
        after = _fences(conn)
    newer = {key: fence for key, fence in before.items() if fence > older_fence and key[0] in TENANTS}
    return {"newer": len(newer), "replaced_by_the_older": sum(after[key] < fence for key, fence in newer.items())}


def _fences(conn: Connection) -> dict[tuple[str, str], int]:
    with conn.begin():
        rows = conn.execute(select(snapshot.c.tenant_id, snapshot.c.signal, snapshot.c.fence))
        return {(row.tenant_id, row.signal): row.fence for row in rows}


def load_strange_files(scene: Scene) -> Measured:
    """Load lines that are no UTF-8, names of a megabyte, numbers that are not finite, among good ones."""
    world, label = scene.world, str(scene.chance.getrandbits(32))
    folder = world.folder / f"load-{label}"
    folder.mkdir()
    run = f'{{"run_id": "load-{label}", "tenant_id": "{STRANGE}", "state": "COMPLETED"'.encode()
    (folder / "runs.jsonl").write_bytes(b'%b}\n%b, "goal": "\xff\xfe"}\n%b\n' % (run, run, run))
    trace = f'"trace_id": "load-{label}"'
    (folder / "aos_traces.jsonl").write_text(f'{{{trace}, "run_id": "load-{label}", "tenant_id": "{STRANGE}"}}\n')
    steps = ('"skill_id": "good"', f'"skill_id": "{"n" * _MEGABYTE}"', '"skill_id": "bad", "retry_count": 1e99')
    lines = (f'{{{trace}, "step_index": {number}, {step}}}\n' for number, step in enumerate(steps))
    (folder / "aos_trace_steps.jsonl").write_text("".join(lines))
    done = world.command("load", str(folder))
    with world.engine.connect() as conn:
        found = conn.execute(_LOADED, {"label": f"load-{label}"}).scalar_one()
    return {"wrongly_loaded": found - _GOOD_LINES, **_ended(done, _LINES_WERE_BAD)}


def _ended(done: CompletedProcess[str], expected: int) -> Measured:
    """Return whether a command ended with another exit code, and the end of what it said."""
    said = " / ".join((done.stderr + done.stdout).splitlines()[-_LINES_KEPT:])
    return {"wrongly_ended": int(done.returncode != expected), "said": f"exit code {done.returncode}, {said}"}


def _finished(scene: Scene, refresh_id: int) -> object:
    with scene.world.engine.connect() as conn:
        return conn.execute(select(refresh.c.finished_at).where(refresh.c.refresh_id == refresh_id)).scalar_one()


def break_tenant(signal: str, scene: Scene) -> Measured:
    """Have what is published for one tenant break a constraint; others must stay fresh; then heal and ask again."""
    world, name = scene.world, ITEMS[signal].fullname
    with world.engine.begin() as conn:
        listed = f"check (tenant_id <> '{POISONED}') not valid"
        conn.execute(text(f"alter table {name} add constraint poison {listed}"))
        plant(conn, f"poisoned-{scene.chance.getrandbits(32)}")
    aside_s = world.until(lambda: _is_aside(scene, signal), _PATIENCE_S)
    since = clock(world.engine)
    others_s = world.until(lambda: scene.readers.are_fresh(since, without=POISONED), _PATIENCE_S)
    world.wait(5)
    with world.engine.begin() as conn:
        conn.execute(text(f"alter table {name} drop constraint poison"))
    done = world.command("recompute", "--signal", signal, "--tenant", POISONED, "--wait")
    return {
        "set_aside_s": _PATIENCE_S if aside_s is None else aside_s,
        "others_fresh_s": _PATIENCE_S if others_s is None else others_s,
        **_ended(done, 0),
    }


def plant(conn: Connection, label: str) -> None:
    """Give the tenant that breaks a run that every signal finds."""
    binds = {"label": label, "tenant": POISONED}
    conn.execute(
        text(
            "insert into public.runs (id, tenant_id, agent_id, goal, state, started_at, completed_at, risk_level,"
            " estimated_cost_usd) values (:label, :tenant, 'agent', 'goal', 'COMPLETED',"
            " clock_timestamp() - interval '1 minute', clock_timestamp(), 'VIOLATED', 1000)"
        ),
        binds,
    )
    conn.execute(
        text(
            "insert into public.aos_traces (trace_id, run_id, tenant_id, started_at)"
            " values (:label, :label, :tenant, clock_timestamp())"
        ),
        binds,
    )
    conn.execute(
        text(
            "insert into public.aos_trace_steps (trace_id, step_index, skill_id, retry_count, duration_ms)"
            " select :label, n, 'skill', 1000, 900000 from generate_series(1, 9) as n"
        ),
        binds,
    )


def _is_aside(scene: Scene, signal: str) -> bool:
    mine = quarantine.c.signal == signal, quarantine.c.tenant_id == POISONED
    with scene.world.engine.connect() as conn:
        return conn.execute(select(func.count()).select_from(quarantine).where(*mine)).scalar_one() > 0
