"""A campaign: faults at seeded moments against a running installation, and what became of it."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from snapshots.signals import SIGNALS
from tests.chaos import faults, hardware, locking, poison, sessions
from tests.chaos.faults import Fault, Scene, Unavailable
from tests.chaos.readers import Readers
from tests.chaos.verdict import judge, unacknowledged
from tests.chaos.world import World
from tests.chaos.writers import Writers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

#: A lost refresher is replaced within a period and this, seconds; the suite waits no longer for any fault.
GRACE_S: Final = 60.0
#: A beat that is lost is replaced within so long, seconds.
FAILOVER_S: Final = 15.0

#: Numbers that faults measure and that must be 0.
_NEVER: Final = (
    "done_twice",
    "replaced_by_the_older",
    "did_nothing",
    "wrongly_loaded",
    "wrongly_ended",
    "starved",
    "let_in",
    "stranded",
    "wrong_instants",
    "not_full",
    "wrongly_published",
    "unexplained",
)

CHILD: Final = Fault("SIGKILL of a worker's child", faults.kill_child, kills=1)
WORKER: Final = Fault("SIGKILL of a worker", faults.kill_worker, kills=1)
BEAT: Final = Fault("SIGKILL of the active beat", faults.kill_beat, kills=1)
API: Final = Fault("SIGKILL of the API", faults.kill_api, kills=1)
MANY: Final = Fault("SIGKILL of workers and beats, ten in a row", faults.kill_many, kills=10)
OTHERS: Final = (
    Fault("Valkey: FLUSHALL", faults.flush_broker),
    Fault("Valkey: SIGKILL and start", faults.restart_broker),
    Fault("Valkey: SIGSTOP", faults.freeze_broker),
    Fault("Valkey: no memory left", faults.fill_broker),
    Fault("PostgreSQL: restart", faults.restart_database),
    Fault("PostgreSQL: SIGKILL and recovery", faults.kill_database),
    Fault("PostgreSQL: every session ended", faults.end_sessions),
    Fault("PostgreSQL: runs locked", faults.hold_lock),
    Fault("messages doubled, late, without an end", poison.double_messages),
    Fault("an older refresh that ends after a newer one", poison.end_late),
    Fault("rows that no host should write", poison.insert_strange_rows),
    Fault("a trace of very many steps", poison.insert_long_trace),
    Fault("files that no host should load", poison.load_strange_files),
    Fault("a worker's clock an hour ahead", partial(hardware.shift_clock, 1)),
    Fault("a worker's clock an hour behind", partial(hardware.shift_clock, -1)),
    Fault("PostgreSQL: disk full", hardware.fill_disk),
    *(Fault(f"a tenant that breaks a constraint: {name}", partial(poison.break_tenant, name)) for name in SIGNALS),
    Fault("PostgreSQL: aos_traces locked, and patterns asked for", locking.hold_traces),
    Fault("PgBouncer in transaction mode", locking.pool_transactions),
    Fault("PGTZ and PGOPTIONS of another time zone", sessions.shift_zones),
    Fault("rows that pglogical applies", sessions.apply_logically),
)
FULL: Final = (*[CHILD] * 14, *[WORKER] * 6, *[BEAT] * 6, *[API] * 6, *[MANY] * 2, *OTHERS)
SHORT: Final = (CHILD, WORKER, BEAT, API, OTHERS[6], OTHERS[8], OTHERS[9], OTHERS[10], OTHERS[-1])


@dataclass(frozen=True, slots=True)
class Row:
    """Outcome of one fault; seconds."""

    name: str
    kills: int
    seen: dict[str, int]
    fresh_s: float | None
    oldest_s: float
    slowest_s: float
    was_stale: bool
    measured: dict[str, float | int | str]


@dataclass
class Report:
    """Outcome of a campaign; `violations` is empty when nothing was wrong."""

    seed: int
    rows: list[Row] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    counts: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return what is printed as JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Plan:
    """Faults in an order of `seed`; none begins after `limit_s` seconds. `is_full` asks for the full sizes."""

    faults: Sequence[Fault]
    seed: int
    limit_s: float
    is_full: bool


def run(folder: Path, plan: Plan, say: Callable[[str], None]) -> Report:
    """Run the faults against an installation in `folder`, and judge what readers saw and what is left."""
    chance, world, begun = random.Random(plan.seed), World(folder), time.monotonic()  # noqa: S311  # no secret
    report = Report(plan.seed)
    try:
        world.start()
        say(f"{time.monotonic() - begun:5.0f} s  everything runs")
        with world.engine.begin() as conn:
            poison.plant(conn, "brittle")
        writers = Writers(world.settings, plan.seed)
        readers = Readers(world.settings.api_port, world.keys, _runs(world))
        with writers, readers:
            scene = Scene(world, readers, chance, plan.is_full)
            for fault in chance.sample(list(plan.faults), len(plan.faults)):
                if time.monotonic() - begun > plan.limit_s:
                    report.violations.append(f"no time was left for: {fault.name}")
                    continue
                try:
                    report.rows.append(_endure(scene, fault))
                except Unavailable as ex:
                    report.skipped[fault.name] = str(ex)
                    continue
                say(f"{time.monotonic() - begun:5.0f} s  {as_line(report.rows[-1])}")
        report.violations += [*_late(report.rows, world), *writers.errors, *readers.notes.violations]
        report.violations += judge(world, readers.notes)
        report.counts = {**_counts(world), "answers": dict(readers.notes.totals), "writers": dict(writers.counts)}
        report.counts["kills"] = sum(row.kills for row in report.rows)
    finally:
        world.stop()
    return report


def _endure(scene: Scene, fault: Fault) -> Row:
    """Strike, and wait until every answer is fresh again."""
    scene.pause()
    notes = scene.readers.notes
    notes.begin()
    measured = fault.strike(scene)
    over = datetime.now(UTC)
    fresh_s = scene.world.until(lambda: scene.readers.are_fresh(over), _longest_period_s(scene.world) + GRACE_S)
    phase = notes.phase
    return Row(
        fault.name,
        fault.kills,
        dict(phase.outcomes),
        fresh_s,
        phase.oldest_s,
        phase.slowest_s,
        phase.is_stale_seen,
        {name: round(value, 2) if isinstance(value, float) else value for name, value in measured.items()},
    )


def _longest_period_s(world: World) -> int:
    return max(world.settings.period_s(signal) for signal in SIGNALS)


def _late(rows: Sequence[Row], world: World) -> list[str]:
    """Return the faults after which something took longer than it may."""
    limit_s = _longest_period_s(world) + GRACE_S
    found = [f"{row.name}: not fresh within {limit_s:.0f} s" for row in rows if row.fresh_s is None]
    for row in rows:
        if float(row.measured.get("failover_s", 0)) > FAILOVER_S:
            found.append(f"{row.name}: another beat after {row.measured['failover_s']} s")
        said = f"; {row.measured['said']}" if "said" in row.measured else ""
        found += [f"{row.name}: {name} {row.measured[name]}{said}" for name in _NEVER if row.measured.get(name)]
    return found


def _runs(world: World) -> dict[str, str]:
    """Return a run of each tenant that nobody deletes."""
    wanted = text("select tenant_id, min(id) as run_id from public.runs where tenant_id = any(:tenants) group by 1")
    with world.engine.connect() as conn:
        return {row.tenant_id: row.run_id for row in conn.execute(wanted, {"tenants": list(world.keys)})}


def _counts(world: World) -> dict[str, Any]:
    """Return how many refreshes ended how, and the messages that lost workers held."""
    told = text("select coalesce(error_class, state), count(*) from signals.refresh group by 1")
    reconciles = text("select count(drift) from signals.refresh")
    with world.engine.connect() as conn:
        ended = {str(name): int(number) for name, number in conn.execute(told)}
        compared = int(conn.execute(reconciles).scalar_one())
    return {"refreshes": ended, "reconciles": compared, "unacknowledged": unacknowledged(world)}


def as_line(row: Row) -> str:
    """Return what became of a fault in one line."""
    fresh = "not fresh" if row.fresh_s is None else f"fresh after {row.fresh_s:.1f} s"
    told = ", ".join(f"{name} {value}" for name, value in row.measured.items() if not isinstance(value, str))
    seen = ", ".join(f"{name} x{number}" for name, number in Counter(row.seen).most_common())
    return f"{row.name}: {fresh}; oldest {row.oldest_s:.1f} s, slowest {row.slowest_s:.1f} s; {seen}; {told}"
