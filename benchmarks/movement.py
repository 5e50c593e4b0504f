"""What recording movement costs: ticks with it and without it, in turn, on the same rows.

`python -m benchmarks.movement [--scale s|m|h] [--rounds N] [--json PATH]`
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

from benchmarks import ticks
from benchmarks.scales import SCALES, filled_database
from benchmarks.timing import timed
from migrations import capture
from snapshots import settings
from snapshots.signals import SIGNALS
from worker import movement, publish
from worker.refresh import refresh

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from snapshots.settings import Settings
    from worker.publication import Publication

#: One tick in a thousand of the day's runs.
_SHARE: Final = 1000
#: What publication calls, by name.
_NAME: Final = "record"


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
    report = {"scale": options.scale, "full_with_s": full, "rounds": ratios, "median": _medians(ratios)}
    print(json.dumps(report["median"], indent=2))
    if options.json:
        options.json.write_text(json.dumps(report, indent=2))


def measure(engine: Engine, current: Settings, *, runs: int, rounds: int) -> list[dict[str, float]]:
    """Return per round and signal the seconds of a tick with movement over those of one without."""
    for number in range(2):
        ticks.tick(engine, current, runs=runs, number=number)
    return [_round(engine, current, runs, 2 * number + 4) for number in range(rounds)]


def _round(engine: Engine, current: Settings, runs: int, number: int) -> dict[str, float]:
    with_it = ticks.tick(engine, current, runs=runs, number=number)
    setattr(publish, _NAME, _unrecorded)
    try:
        without = ticks.tick(engine, current, runs=runs, number=number + 1)
    finally:
        setattr(publish, _NAME, movement.record)
    return {name: with_it[name] / without[name] for name in without} | {
        f"{name}_s": seconds for name, seconds in with_it.items()
    }


def _unrecorded(_conn: Connection, _publication: Publication, _settings: Settings) -> int:
    return 0


def _medians(ratios: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(median(each[name] for each in ratios), 4) for name in ratios[0]}


if __name__ == "__main__":
    main()
