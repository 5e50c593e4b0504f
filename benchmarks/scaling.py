"""One, two and four workers beside each other, and what 100 times the load takes (docs/scaling.md).

    python -m benchmarks.scaling [--rounds 3] [--json PATH]
    python -m benchmarks.scaling --from PATH

The first fills a private PostgreSQL with scale S and measures: a recompute of everything in eight shards, shared out to
one, two and four processes in turn; and what one refresh costs. The second prints what was computed from such a file.
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from sqlalchemy import text

from benchmarks import ticks
from benchmarks.scales import SCALES, filled_database
from benchmarks.sizing import TICK_S, Measured, table
from benchmarks.timing import timed
from migrations import capture
from snapshots import database
from snapshots import settings as settings_module
from snapshots.signals import SIGNALS
from worker.engine.refresh import refresh
from worker.engine.shards import Shard, shards

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.queues import Queue
    from multiprocessing.synchronize import Barrier

    from sqlalchemy import Engine

WORKERS: Final = (1, 2, 4)
_SHARDS: Final = 8
_SCALE: Final = SCALES["s"]
#: How often what is short is measured.
_OFTEN: Final = 7
_PATIENCE_S: Final = 300.0


@click.command()
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
@click.option("--json", "json_path", type=click.Path(path_type=Path), default="scaling.json", show_default=True)
@click.option("--from", "measured_path", type=click.Path(path_type=Path, exists=True), help="Measure nothing.")
def main(rounds: int, json_path: Path, measured_path: Path | None) -> None:
    """Measure, and print what one, two and four workers did and what more load takes."""
    if measured_path is None:
        with filled_database(_SCALE) as (engine, _):
            report = _measured(engine, rounds)
        json_path.write_text(json.dumps(report, indent=2) + "\n")
    else:
        report = json.loads(measured_path.read_text())
    _print(report)


def _print(report: dict[str, Any]) -> None:
    click.echo("| workers | everything anew, s | times as fast as one |\n| --- | --- | --- |")
    one = statistics.median(report["workers"]["1"])
    for number, seconds in report["workers"].items():
        click.echo(f"| {number} | {statistics.median(seconds):.2f} | {one / statistics.median(seconds):.2f} |")
    click.echo(json.dumps(report["measured"], indent=2))
    settings = settings_module.load()
    click.echo(table(Measured(**report["measured"]), {name: settings.period_s(name) for name in SIGNALS}))


def _measured(engine: Engine, rounds: int) -> dict[str, Any]:
    settings = settings_module.load()
    capture.install(engine)
    for name in SIGNALS:
        refresh(engine, name, settings)
    fixed = {name: _often(partial(refresh, engine, name, settings)) for name in SIGNALS}
    per_tick = round(_SCALE.runs / _SCALE.days * TICK_S / 86_400)
    ticked = [ticks.tick(engine, settings, runs=per_tick, number=number) for number in range(_OFTEN)]
    full = {name: timed(partial(refresh, engine, name, settings, mode="reconcile")) for name in SIGNALS}
    measured = Measured(
        runs_per_day=_SCALE.runs // _SCALE.days,
        tenants=_SCALE.tenants,
        runs=_SCALE.runs,
        fixed_s=fixed,
        tick_s={name: statistics.median(each[name] for each in ticked) for name in SIGNALS},
        full_s=full,
        bytes_per_run=_schema_bytes(engine) / _SCALE.runs,
    )
    found: dict[str, list[float]] = {str(number): [] for number in WORKERS}
    for _ in range(rounds):
        for number in WORKERS:
            found[str(number)].append(_everything_anew(engine, number))
    return {"workers": found, "measured": asdict(measured)}


def _often(work: Callable[[], object]) -> float:
    return statistics.median(timed(work) for _ in range(_OFTEN))


def _schema_bytes(engine: Engine) -> int:
    sizes = text(
        "select sum(pg_total_relation_size(oid)) from pg_class"
        " where relnamespace = 'signals'::regnamespace and relkind = 'r'"
    )
    with engine.connect() as conn:
        return int(conn.execute(sizes).scalar_one())


def _everything_anew(engine: Engine, workers: int) -> float:
    """Return the seconds in which `workers` processes recompute and publish every signal in every shard."""
    with engine.begin() as conn:
        conn.execute(text("truncate signals.snapshot, signals.snapshot_history, signals.fact_state"))
    context = multiprocessing.get_context("spawn")
    jobs: Queue[tuple[str, Shard] | None] = context.Queue()
    for name in ("patterns", "attention", "cost"):
        for shard in shards(_SHARDS):
            jobs.put((name, shard))
    for _ in range(workers):
        jobs.put(None)
    ready = context.Barrier(workers + 1)
    url = engine.url.render_as_string(hide_password=False)
    processes = [context.Process(target=_work, args=(url, jobs, ready)) for _ in range(workers)]
    for process in processes:
        process.start()
    ready.wait()
    begun = time.monotonic()
    ready.wait(_PATIENCE_S)  # breaks where a worker has failed
    took = time.monotonic() - begun
    for process in processes:
        process.join()
    return took


def _work(url: str, jobs: Queue[tuple[str, Shard] | None], ready: Barrier) -> None:
    """Refresh what the queue holds until it is empty, as a worker process does."""
    engine, settings = database.connect(url, pool_size=2), settings_module.load()
    with engine.connect() as conn:
        conn.execute(text("select 1"))
    ready.wait()
    while (job := jobs.get()) is not None:
        name, shard = job
        if refresh(engine, name, settings, shard=shard) is None:
            raise RuntimeError(f"{name}, shard {shard.number}: coalesced")
    ready.wait()
    engine.dispose()


if __name__ == "__main__":
    main()
