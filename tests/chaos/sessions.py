"""Faults of sessions: time zones from the environment, and an apply worker that fires no trigger."""

from __future__ import annotations

import re
from itertools import product
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from ops.local.startup import clock
from snapshots import settings
from snapshots.body import instant
from tests import replication
from tests.chaos.faults import Unavailable, restarted
from tests.chaos.readers import SNAPSHOTS
from tests.chaos.verdict import disagreement
from tests.chaos.world import TENANTS
from worker.engine.refresh import refresh
from worker.signals.registry import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sqlalchemy import Connection, Engine

    from tests.chaos.faults import Measured, Scene
    from tests.chaos.world import World

_PATIENCE_S: Final = 60.0
#: Zones on both sides of UTC, each of which libpq sends as a session begins; PGTZ is the one that holds.
_ZONES: Final = {"PGTZ": "America/New_York", "PGOPTIONS": "-c TimeZone=Asia/Tokyo"}
#: Instants of the source, which stay, and instants of a snapshot, which only go forward.
_OF_SOURCE: Final = ("started_at", "completed_at", "timestamp")
_OF_SNAPSHOT: Final = ("as_of", "computed_at", "verified_at", "generated_at")
_IN_UTC: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
#: As text, since the driver cannot hold every start that a host may write.
_STARTS: Final = """
select id, to_char(started_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24\\:MI\\:SS.US"Z"') as start
from public.runs where id = any(:runs)
"""

#: With the slower period as long as the others, a tick is never too early.
_SETTINGS: Final = settings.load(uncaptured_period_s=30, attention_rescore_s=30)
_LOSS: Final = (
    "capture is installed, but not relied on: "
    "an apply worker of the extension pglogical writes to this database without firing triggers"
)
#: Edits of rows that were applied before: each signal must notice one.
_EDITS: Final = (
    "update public.runs set estimated_cost_usd = 9, risk_level = 'NORMAL' where id < 'run-3'",
    "update public.aos_trace_steps set retry_count = 0 where trace_id > 'run-4'",
    "delete from public.aos_trace_steps where trace_id like 'run-1%'",
)
#: Equal on provider and subscriber once every row has arrived.
_ROWS: Final = """
select md5(
    (select string_agg(cast(run as text), ';' order by run.run_id) from signals.source_run as run)
    || (select string_agg(cast(step as text), ';' order by trace_id, step_index) from signals.source_step as step)
)
"""


def shift_zones(scene: Scene) -> Measured:
    """Restart a worker and the API with other time zones in their environment; their instants must stay those of UTC.

    Bodies are compared with those of the processes before, and the runs of the queue with the database.
    """
    world, before = scene.world, _instants(scene)
    worker = world.crew.of("worker")[0]
    with restarted(scene, [worker, *world.crew.of("api")], _ZONES) as started_s:
        since = clock(world.engine)
        fresh_s = world.until(
            lambda: worker.has_said(b"state=succeeded") and scene.readers.are_fresh(since), _PATIENCE_S
        )
        is_idle = not worker.has_said(b"state=succeeded")
        wrong = [*_moved(before, _instants(scene), instant(clock(world.engine))), *_wrong_in_queues(scene)]
    return {
        "started_s": started_s,
        "fresh_beside_it_s": _PATIENCE_S if fresh_s is None else fresh_s,
        "did_nothing": int(is_idle),
        "compared": len(before),
        "wrong_instants": len(wrong) + int(not before),
        "said": "; ".join(wrong[:3]),
    }


def _instants(scene: Scene) -> dict[str, str]:
    """Return the instants of a run and of each snapshot per tenant, by place and name."""
    found: dict[str, str] = {}
    for tenant, run in scene.readers.runs.items():
        body = scene.readers.body(tenant, f"runs/{run}")
        found |= {f"{tenant} run{place}": value for place, value in _named(body, _OF_SOURCE)}
    for tenant, path in product(TENANTS, SNAPSHOTS.values()):
        body = scene.readers.body(tenant, path) or {}
        told = {
            **body.get("snapshot", {}),
            **({"generated_at": body["generated_at"]} if "generated_at" in body else {}),
        }
        found |= {f"{tenant} {path}{place}": value for place, value in _named(told, _OF_SNAPSHOT)}
    return found


def _named(value: object, names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield the place and the value of each member of those names, at any depth."""
    members: Mapping[Any, object] = dict(enumerate(value)) if isinstance(value, list) else {}
    for name, member in (value if isinstance(value, dict) else members).items():
        if name in names and isinstance(member, str):
            yield f".{name}", member
        else:
            yield from ((f".{name}{place}", each) for place, each in _named(member, names))


def _moved(before: Mapping[str, str], after: Mapping[str, str], now: str) -> list[str]:
    """Return the instants that another zone has moved; texts of one format sort as the instants do."""
    found = []
    for place, value in after.items():
        was = before.get(place, value)
        may_grow = place.endswith(_OF_SNAPSHOT)
        if not _IN_UTC.fullmatch(value) or not (was <= value <= now if may_grow else was == value):
            found.append(f"{place} is {value}, was {was}")
    return [*found, *(f"{place} is gone" for place in before.keys() - after.keys() if not place.endswith(_OF_SNAPSHOT))]


def _wrong_in_queues(scene: Scene) -> list[str]:
    """Return the queued runs that say another start than the database has."""
    bodies = [scene.readers.body(tenant, SNAPSHOTS["attention"]) or {"queue": []} for tenant in TENANTS]
    told = {item["run_id"]: item["started_at"] for body in bodies for item in body["queue"]}
    with scene.world.engine.connect() as conn:
        rows = conn.execute(text(_STARTS), {"runs": list(told)}).all()
    return [f"{row.id} started at {told[row.id]}, not {row.start}" for row in rows if told[row.id] != row.start]


def apply_logically(scene: Scene) -> Measured:
    """Have pglogical write to another, small installation; its ticks must read everything and say why."""
    if reason := replication.missing():
        raise Unavailable(reason)
    server = replication.LogicalServer("pg15", scene.world.folder)
    try:
        with replication.subscription(server) as made:
            return _apply(scene.world, made)
    finally:
        server.stop()


def _apply(world: World, made: replication.Subscription) -> Measured:
    """Write at the provider, and refresh and compare at the subscriber, twice; ask for the status at the end."""
    applied_s, not_full, wrong = 0.0, 0, []
    for name in SIGNALS:
        refresh(made.worker, name, _SETTINGS)
    for write in (replication.plant, _edit):
        with made.provider.begin() as conn:
            write(conn)
        took_s = world.until(lambda: _rows(made.subscriber) == _rows(made.provider), _PATIENCE_S)
        applied_s = max(applied_s, _PATIENCE_S if took_s is None else took_s)
        for name in SIGNALS:
            done = refresh(made.worker, name, _SETTINGS)
            not_full += int(done is None or done.method != "full")
            wrong += disagreement(made.subscriber, name, done.as_of if done else clock(made.subscriber))
    url = made.subscriber.url.render_as_string(hide_password=False)
    said = world.command("status", current=settings.load(database_url=url)).stdout
    unexplained = [name for name in SIGNALS if f"{name}: {_LOSS}" not in said]
    return {
        "applied_s": applied_s,
        "not_full": not_full,
        "wrongly_published": len(wrong),
        "unexplained": len(unexplained),
        "said": "; ".join([*wrong, *([said] if unexplained else [])]),
    }


def _edit(conn: Connection) -> None:
    for statement in _EDITS:
        conn.execute(text(statement))


def _rows(engine: Engine) -> object:
    return replication.call(engine, _ROWS)
