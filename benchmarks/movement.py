"""Cost of movement and triage: ticks and look-ups with them and without, on the same rows.

`python -m benchmarks.movement [--scale s|m|h] [--rounds N] [--json PATH]`
"""

from __future__ import annotations

import argparse
import json
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from api.app import utc_now
from api.queries.published import Snapshots
from api.queries.reader import Reader
from benchmarks import ticks
from benchmarks.scales import SCALES, filled_database
from benchmarks.timing import timed
from migrations import capture
from snapshots import settings
from snapshots.body import DEFAULT_LIMIT
from snapshots.signals import SIGNALS
from worker.engine import publish
from worker.engine.refresh import refresh

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from snapshots.settings import Settings
    from worker.engine.context import RefreshContext

#: One tick in a thousand of the day's runs.
_SHARE: Final = 1000
#: Every fifth item is snoozed.
_SAY: Final = """
insert into signals.triage_event (tenant_id, signal, fingerprint, key, action, until, actor)
select tenant_id, signal, fingerprint, key, 'snooze', clock_timestamp() + interval '20 hours', 'benchmark'
from signals.item_state
where left_at is null and get_byte(decode(left(fingerprint, 2), 'hex'), 0) %% 5 = 0
"""
#: What publication calls, by name.
_NAME: Final = "record_movement"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", choices=SCALES, default="s")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    scale, current = SCALES[options.scale], settings.load()
    with filled_database(scale) as (engine, _):
        capture.install(engine)
        full = {name: timed(partial(refresh, engine, name, current)) for name in SIGNALS}
        ratios = measure(engine, current, runs=scale.runs // scale.days // _SHARE, rounds=options.rounds)
        looked_up = look_ups(engine)
    report = {
        "look_up": looked_up,
        "scale": options.scale,
        "full_with_s": full,
        "rounds": ratios,
        "median": _medians(ratios),
    }
    print(json.dumps({"tick": report["median"], "look_up": looked_up}, indent=2))
    if options.json:
        options.json.write_text(json.dumps(report, indent=2))


def measure(engine: Engine, current: Settings, *, runs: int, rounds: int) -> list[dict[str, float]]:
    """Return per round and signal the seconds of a tick with movement over those of one without."""
    for number in range(2):
        ticks.tick(engine, current, runs=runs, number=number)
    return [_round(engine, current, runs, 2 * number + 4) for number in range(rounds)]


def _round(engine: Engine, current: Settings, runs: int, number: int) -> dict[str, float]:
    with_it = ticks.tick(engine, current, runs=runs, number=number)
    recorded = publish.record_movement
    setattr(publish, _NAME, _unrecorded)
    try:
        without = ticks.tick(engine, current, runs=runs, number=number + 1)
    finally:
        setattr(publish, _NAME, recorded)
    return {name: with_it[name] / without[name] for name in without} | {
        f"{name}_s": seconds for name, seconds in with_it.items()
    }


def look_ups(engine: Engine) -> dict[str, float]:
    """Return the milliseconds of a look-up and its body, with movement and triage, without, and their ratio."""
    with engine.begin() as conn:
        conn.exec_driver_sql(_SAY)
        tenants = conn.execute(text("select distinct tenant_id from signals.snapshot order by 1 limit 100")).scalars()
        wanted = [(tenant, signal) for tenant in tenants for signal in SIGNALS]
    with_them = _look_up_ms(engine, wanted)
    with engine.begin() as conn:
        conn.exec_driver_sql("truncate signals.movement, signals.item_state, signals.triage")
    without = _look_up_ms(engine, wanted)
    return {"with_ms": with_them, "without_ms": without, "ratio": round(with_them / without, 4)}


def _look_up_ms(engine: Engine, wanted: list[tuple[str, str]]) -> float:
    """Return the median of five passes over all that is wanted, none of it remembered."""
    reader = Reader(engine.execution_options(isolation_level="AUTOCOMMIT"), 60_000)

    def once() -> None:
        snapshots = Snapshots(reader, time.monotonic, utc_now)
        for tenant, signal in wanted:
            snapshots.find(tenant, signal, DEFAULT_LIMIT).body()

    once()
    return round(median(timed(once) for _ in range(5)) / len(wanted) * 1000, 4)


def _unrecorded(_conn: Connection, _context: RefreshContext) -> int:
    return 0


def _medians(ratios: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(median(each[name] for each in ratios), 4) for name in ratios[0]}


if __name__ == "__main__":
    main()
