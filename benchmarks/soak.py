"""A soak: hosts write without pause while workers refresh eight shards; nothing drifts, and nothing grows without end.

    python -m benchmarks.soak [--minutes 20] [--json PATH] [--svg PATH]

Four worker processes refresh shards as the schedule rings for them. Writers insert runs with their steps, complete and
edit older ones, add late steps and delete. Each minute the sizes of queues, facts and snapshots are noted; at the end
every signal is reconciled, and the drift of all reconciles is summed.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import time
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from sqlalchemy import text

from benchmarks.plot import line_chart
from benchmarks.scales import Scale, filled_database, statements
from migrations import capture
from snapshots import database
from snapshots import settings as settings_module
from snapshots.signals import SIGNALS
from worker.engine.refresh import refresh
from worker.engine.shards import shards

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event

    from sqlalchemy import Connection, Engine

WRITES: Final = Path(__file__).parent / "sql" / "soak_writes.sql"
_SCALE: Final = Scale(runs=50_000, tenants=200, days=8)
_WORKERS: Final = 4
_WRITERS: Final = 2
#: Seconds between two rings of every shard, and the ring in so many that reconciles.
_PERIOD_S: Final = 5.0
_RECONCILE_EVERY: Final = 60
_SAMPLE_S: Final = 30.0
_KEPT: Final = (
    "dirty_trace",
    "dirty_run",
    "dirty_agent",
    "trace_fact",
    "run_pattern",
    "agent_cost",
    "attention_fact",
    "snapshot",
    "freshness",
    "fact_state",
)


@click.command()
@click.option("--minutes", type=click.FloatRange(0.1), default=20, show_default=True)
@click.option("--json", "json_path", type=click.Path(path_type=Path), default="soak.json", show_default=True)
@click.option("--svg", "svg_path", type=click.Path(path_type=Path), default="soak.svg", show_default=True)
def main(minutes: float, json_path: Path, svg_path: Path) -> None:
    """Write and refresh for some minutes, and report drift and sizes."""
    with filled_database(_SCALE) as (engine, _):
        capture.install(engine)
        url = engine.url.render_as_string(hide_password=False)
        samples = _soak(engine, url, minutes * 60)
        report = {**_reconciled(engine), **_ledger(engine), "samples": samples}
    json_path.write_text(json.dumps(report, indent=2) + "\n")
    svg_path.write_text(line_chart("Size during the soak, MB", _series(samples)))
    click.echo(json.dumps({name: value for name, value in report.items() if name != "samples"}, indent=2))
    click.echo(json.dumps(samples[-1], indent=2))
    if report["drift_at_the_end"] or report["drift"] or report["failed"]:
        raise click.ClickException("something drifted or failed")


def _soak(engine: Engine, url: str, seconds: float) -> list[dict[str, float]]:
    """Run writers and workers for `seconds`, and return what was noted meanwhile."""
    context = multiprocessing.get_context("spawn")
    over = context.Event()
    jobs = [context.Process(target=_write, args=(url, number, over)) for number in range(_WRITERS)]
    jobs += [context.Process(target=_work, args=(url, number, over)) for number in range(_WORKERS)]
    for job in jobs:
        job.start()
    begun, samples = time.monotonic(), []
    while (elapsed := time.monotonic() - begun) < seconds:
        samples.append({"minute": round(elapsed / 60, 2), **_sizes(engine)})
        click.echo(json.dumps(samples[-1]))
        over.wait(min(_SAMPLE_S, seconds - elapsed))
    over.set()
    for job in jobs:
        job.join()
        if job.exitcode != 0:
            raise RuntimeError(f"a process of the soak ended with {job.exitcode}")
    return samples


def _write(url: str, number: int, over: Event) -> None:
    """Write until it is over, each statement in a transaction of its own, now and then several in one."""
    engine, chance = database.connect(url), random.Random(number)  # noqa: S311  # no secret
    writes = [text(statement) for statement in statements(WRITES)]
    for turn in cycle(range(1_000_000)):
        if over.is_set():
            break
        with engine.connect() as conn:
            for statement in chance.sample(writes, chance.randint(1, len(writes))):
                _one(conn, statement, {"label": f"{number}-{turn}", "draw": chance.random()})
            conn.commit() if chance.random() < 0.95 else conn.rollback()  # noqa: PLR2004  # one in twenty is undone
        over.wait(0.02)
    engine.dispose()


def _one(conn: Connection, statement: Any, binds: dict[str, object]) -> None:  # noqa: ANN401  # a TextClause
    used = statement.compile().params
    conn.execute(statement, {name: value for name, value in binds.items() if name in used})


def _work(url: str, number: int, over: Event) -> None:
    """Refresh shards in turn, as a worker that beat rings; who finds one taken goes on to the next."""
    engine, settings = database.connect(url, pool_size=2), settings_module.load(attention_rescore_s=60)
    jobs = [(name, shard) for shard in shards(8) for name in SIGNALS]
    for ring in cycle(range(1_000_000)):
        begun = time.monotonic()
        for place in range(len(jobs)):
            name, shard = jobs[(place + number * len(jobs) // _WORKERS) % len(jobs)]
            is_reconcile = ring % _RECONCILE_EVERY == _RECONCILE_EVERY - 1 and shard.number % _WORKERS == number
            refresh(engine, name, settings, shard=shard, mode="reconcile" if is_reconcile else "tick")
            if over.is_set():
                engine.dispose()
                return
        over.wait(max(0.0, _PERIOD_S - (time.monotonic() - begun)))


def _sizes(engine: Engine) -> dict[str, float]:
    """Return megabytes, indexes included, of each table that is kept, and the marks that wait."""
    with engine.connect() as conn:
        sizes = {
            name: conn.execute(text("select pg_total_relation_size(:name)"), {"name": f"signals.{name}"}).scalar_one()
            for name in _KEPT
        }
        queues = (text(f"select count(*) from signals.{name}") for name in _KEPT[:3])  # noqa: S608  # ours
        waiting = sum(conn.execute(queue).scalar_one() for queue in queues)
        runs = conn.execute(text("select count(*) from runs where id like 'soak%'")).scalar_one()
    return {
        **{name: round(size / 2**20, 3) for name, size in sizes.items()},
        "marks_waiting": waiting,
        "new_runs": runs,
    }


def _reconciled(engine: Engine) -> dict[str, Any]:
    """Return the drift that a last reconcile of every shard finds."""
    settings = settings_module.load()
    results = [
        refresh(engine, name, settings, shard=shard, mode="reconcile") for name in SIGNALS for shard in shards(8)
    ]
    return {"drift_at_the_end": sum(result.drift or 0 for result in results if result)}


def _ledger(engine: Engine) -> dict[str, Any]:
    """Return what the ledger tells of all refreshes."""
    told = text(
        "select count(*) as attempts, count(*) filter (where state = 'failed') as failed,"
        " count(*) filter (where state = 'coalesced') as coalesced,"
        " count(*) filter (where method = 'incremental') as incremental, count(drift) as reconciles,"
        " coalesce(sum(drift), 0) as drift, coalesce(sum(marks), 0) as marks,"
        " percentile_cont(0.5) within group (order by extract(epoch from finished_at - started_at)) as median_s,"
        " max(extract(epoch from finished_at - started_at)) as longest_s from signals.refresh"
    )
    with engine.connect() as conn:
        return {name: float(value) for name, value in conn.execute(told).mappings().one().items()}


def _series(samples: list[dict[str, float]]) -> dict[str, list[tuple[float, float]]]:
    """Return points of minute and megabytes: the queues together, the facts together, the snapshots."""
    groups = {"queues": _KEPT[:3], "facts": _KEPT[3:7], "snapshots": _KEPT[7:]}
    return {
        label: [(sample["minute"], sum(sample[name] for name in names)) for sample in samples]
        for label, names in groups.items()
    }


if __name__ == "__main__":
    main()
