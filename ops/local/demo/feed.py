"""The demo's present: runs that start, take their steps and end while somebody watches, so that signals move.

Source: docs/specification-notes.md#utc.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Final

from sqlalchemy import column, delete, func, select, table
from sqlalchemy.exc import (
    IntegrityError,
    InterfaceError,
    InternalError,
    OperationalError,
    PendingRollbackError,
    ProgrammingError,
)

from ingest.files.load_rows import store
from ops.local.demo.agents import BUSY_TENANTS, TENANTS, find_agent
from ops.local.demo.history import RUN_ID, activity_at, new_run_id, tell_history
from ops.local.demo.runs import Records, Run, add
from ops.local.demo.scenarios import COSTLY, NOTABLE, USUAL
from snapshots.errors import first_line

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from ops.local.demo.agents import Agent

PERIOD_S: Final = 3.0
PRUNE_PERIOD_S: Final = 600.0
#: Runs that started longer ago are outside every signal.
KEPT: Final = timedelta(days=9)
#: After a longer pause the time in between is told as history.
GAP: Final = timedelta(minutes=10)
_NEW_RUN_SHARE: Final = 0.3
_NOTABLE_SHARE: Final = 0.1
#: For so long one agent may spend more than it should.
_EPISODE_S: Final = 600
_EPISODE_SHARE: Final = 0.5
#: In its episode, an agent is chosen by this share of new runs.
_EPISODE_RUNS: Final = 0.35
_LONGEST_BACKOFF_S: Final = 30.0

#: How a connection that is lost shows, wherever in a transaction.
_UNAVAILABLE: Final = (OperationalError, InterfaceError, PendingRollbackError)
#: How a host forbids that rows go: a trigger, a row of its own that names them, a right that is missing.
_FORBIDDEN: Final = (InternalError, IntegrityError, ProgrammingError)

_log = logging.getLogger(__name__)
_run_columns = ("id", "tenant_id", "agent_id", "state", "started_at", "is_synthetic", "synthetic_scenario_id")
_runs = table("runs", *map(column, _run_columns), schema="public")
_traces = table("aos_traces", *map(column, ("trace_id", "tenant_id", "started_at", "is_synthetic")), schema="public")


@dataclass(frozen=True, slots=True)
class Tick:
    """Result of one tick of the demo feed."""

    started: int
    under_way: int
    completed: int


def tick(conn: Connection, as_of: datetime, rng: Random) -> Tick:
    """Take every LIVE run of the demo to `as_of`, and now and then start one; the caller owns the transaction."""
    live = _live_runs(conn, as_of)
    new = [_new_run(as_of, rng)] if rng.random() < _NEW_RUN_SHARE * activity_at(as_of) + 0.1 else []
    records = Records()
    for run in [*live, *new]:
        add(records, run, as_of)
    store(conn, records.by_table())
    completed = sum(row["state"] == "COMPLETED" for row in records.runs)
    return Tick(len(new), len(records.runs) - completed, completed)


def catch_up(conn: Connection, as_of: datetime) -> int:
    """Tell the time since the demo's newest run as history when nobody fed it; return how many runs that are."""
    mine = _runs.c.tenant_id.in_(TENANTS), _runs.c.is_synthetic
    newest = _instant(conn.execute(select(func.max(_runs.c.started_at)).where(*mine)).scalar())
    if newest is None or as_of - newest < GAP:
        return 0
    records = tell_history(as_of, since=newest)
    store(conn, records.by_table())
    return len(records.runs)


def prune(conn: Connection, as_of: datetime) -> int:
    """Remove the demo's runs that no signal reads any more, and their traces; return how many runs."""
    before = as_of - KEPT
    gone = 0
    for source, is_ours in (
        (_traces, _traces.c.trace_id.regexp_match(f"^trace-{RUN_ID}$")),
        (_runs, _runs.c.id.regexp_match(f"^{RUN_ID}$") & _runs.c.synthetic_scenario_id.is_not(None)),
    ):
        stale = is_ours, source.c.tenant_id.in_(TENANTS), source.c.is_synthetic, source.c.started_at < before
        gone = conn.execute(delete(source).where(*stale)).rowcount
    return gone


def run_feed(engine: Engine, *, period_s: float = PERIOD_S) -> None:
    """Tick until interrupted; a database that is away is waited for."""
    rng, backoff_s, pruned_at = Random(), period_s, -PRUNE_PERIOD_S  # noqa: S311  # a story, not a secret
    while True:
        try:
            _feed_once(engine, rng)
            if time.monotonic() - pruned_at >= PRUNE_PERIOD_S:
                pruned_at = time.monotonic()
                prune_if_allowed(engine)
            backoff_s = period_s
        except _UNAVAILABLE as ex:
            if backoff_s == period_s:
                _log.warning("database: %s; trying again until it answers", first_line(ex))
            backoff_s = min(2 * backoff_s, _LONGEST_BACKOFF_S)
        time.sleep(backoff_s)


def _feed_once(engine: Engine, rng: Random) -> None:
    with engine.begin() as conn:
        as_of = _clock(conn)
        told = catch_up(conn, as_of)
        if told:
            _log.info("told %d runs of the time without a feed", told)
        tick(conn, as_of, rng)


def prune_if_allowed(engine: Engine) -> None:
    """Remove them; where a host forbids it, say so, and go on."""
    try:
        with engine.begin() as conn:
            gone = prune(conn, _clock(conn))
    except _FORBIDDEN as ex:
        _log.warning("old demo runs stay: %s", first_line(ex))
    else:
        if gone:
            _log.info("removed %d demo runs older than %d days", gone, KEPT.days)


def _clock(conn: Connection) -> datetime:
    now: datetime = conn.execute(select(func.clock_timestamp())).scalar_one()
    return now


def _live_runs(conn: Connection, as_of: datetime) -> list[Run]:
    wanted = (
        _runs.c.tenant_id.in_(TENANTS),
        _runs.c.is_synthetic,
        _runs.c.state == "LIVE",
        _runs.c.synthetic_scenario_id.is_not(None),
    )
    found = []
    for row in conn.execute(select(_runs).where(*wanted).order_by(_runs.c.id)):
        agent, started_at = find_agent(row.tenant_id, row.agent_id), _instant(row.started_at)
        if agent is not None and started_at is not None and started_at <= as_of:
            found.append(Run(row.id, row.tenant_id, agent, started_at, row.synthetic_scenario_id))
    return found


def _new_run(as_of: datetime, rng: Random) -> Run:
    episode = _episode(as_of)
    if episode is not None and rng.random() < _EPISODE_RUNS:
        tenant, agent = episode
        return Run(new_run_id(rng), tenant, agent, as_of, COSTLY)
    tenant = rng.choice(BUSY_TENANTS)
    agent = rng.choices(TENANTS[tenant], [agent.runs_per_day for agent in TENANTS[tenant]])[0]
    scenario = rng.choice(NOTABLE) if rng.random() < _NOTABLE_SHARE else USUAL
    return Run(new_run_id(rng), tenant, agent, as_of, scenario)


def _episode(as_of: datetime) -> tuple[str, Agent] | None:
    """Return the agent that spends too much at `as_of`, if one does; the same for everybody who asks."""
    rng = Random(f"episode {int(as_of.timestamp()) // _EPISODE_S}")  # noqa: S311  # a story, not a secret
    if rng.random() >= _EPISODE_SHARE:
        return None
    tenant = rng.choice(BUSY_TENANTS)
    return tenant, rng.choice(TENANTS[tenant])


def _instant(value: datetime | None) -> datetime | None:
    """Return a host's naive timestamp as what it holds: UTC."""
    return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value
