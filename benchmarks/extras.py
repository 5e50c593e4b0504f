"""Cost of the extra fields: ticks with them and without, in turns on one database.

    python -m benchmarks.extras [--scale s] [--rounds N] [--ticks N] [--json PATH]

Each turn begins with the same rows, reads each once, since the facts are others, and then measures ticks after 125 new
runs, signal by signal. Prints the ratio of the medians, with its goal: a tick with the extra fields takes at most 1.25
times as long.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from sqlalchemy import text

from benchmarks import ticks
from benchmarks.refresh import NEW_RUNS
from benchmarks.scales import SCALES, filled_database
from benchmarks.timing import timed
from migrations import capture
from snapshots import settings as settings_module
from snapshots.signals import SIGNALS
from worker.engine.refresh import refresh

if TYPE_CHECKING:
    from sqlalchemy import Engine

GOAL: Final = 1.25
_NAMES: Final = {True: "with", False: "without"}


@click.command()
@click.option("--scale", type=click.Choice(sorted(SCALES)), default="s", show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
@click.option("--ticks", "count", type=click.IntRange(1), default=5, show_default=True, help="Ticks per turn.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), default="bench-extras.json", show_default=True)
def main(scale: str, rounds: int, count: int, json_path: Path) -> None:
    """Measure, print and save."""
    click.echo(f"scale {scale}: generating")
    with filled_database(SCALES[scale]) as (engine, _):
        figures = measure(engine, rounds, count)
    json_path.write_text(json.dumps({"scale": scale, **figures}, indent=2) + "\n")
    for name in (*SIGNALS, "sum", "full"):
        without, beside = (statistics.median(figures[kind][name]) for kind in ("without", "with"))
        fastest = min(figures["with"][name]) / min(figures["without"][name])
        ratios = f"ratio {beside / without:.2f}, of the fastest {fastest:.2f}"
        click.echo(f"{name:10} without {without:.3f} s, with {beside:.3f} s, {ratios}")
    click.echo(f"a tick with the extra fields takes {ratio(figures):.2f} times as long; goal: at most {GOAL}")


def measure(engine: Engine, rounds: int, count: int) -> dict[str, dict[str, list[float]]]:
    """Return the seconds of ticks and full refreshes, by kind and signal."""
    capture.install(engine)
    figures: dict[str, dict[str, list[float]]] = {
        kind: {name: [] for name in (*SIGNALS, "sum", "both_cores", "full")} for kind in _NAMES.values()
    }
    number = 0
    for extras in [kind for turn in range(rounds) for kind in ((True, False) if turn % 2 else (False, True))]:
        settings = settings_module.load(extras=extras)
        seconds = figures[_NAMES[extras]]
        _forget_new_runs(engine)
        seconds["full"].append(timed(lambda settings=settings: _full(engine, settings)))  # type: ignore[misc]  # a default
        ticks.tick(engine, settings, runs=NEW_RUNS, number=(number := number + 1))
        for _ in range(count):
            for name, taken in ticks.tick(engine, settings, runs=NEW_RUNS, number=(number := number + 1)).items():
                seconds[name].append(taken)
    return figures


def _forget_new_runs(engine: Engine) -> None:
    """Have each turn begin with the same rows: the runs of the ticks before would be new to each tick again."""
    with engine.begin() as conn:
        conn.execute(text("delete from aos_traces where run_id like 'new\\_%'"))
        conn.execute(text("delete from runs where id like 'new\\_%'"))
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as conn:
        conn.execute(text("vacuum analyze runs, aos_traces, aos_trace_steps"))


def _full(engine: Engine, settings: settings_module.Settings) -> None:
    for name in SIGNALS:
        refresh(engine, name, settings, mode="reconcile")


def ratio(figures: dict[str, dict[str, list[float]]]) -> float:
    """Return how many times as long the median tick takes with the extra fields, signal by signal, summed."""
    return statistics.median(figures["with"]["sum"]) / statistics.median(figures["without"]["sum"])


if __name__ == "__main__":
    main()
