"""Our refresh beside the specified SQL run per tenant ("the sweep") and beside materialized views of our best SQL.

    python -m benchmarks.refresh [--scale s]... [--rounds N] [--json PATH]

Everything that is compared runs in turns on one database in one run; each ratio is printed, with its goal from
docs/performance.md, and saved as JSON.
"""

from __future__ import annotations

import json
import statistics
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from sqlalchemy import event, text

from benchmarks import goals, ticks, views
from benchmarks.memory import worker_memory_mb
from benchmarks.scales import SCALES, filled_database, statements
from benchmarks.timing import timed
from benchmarks.writers import insert_rates
from migrations import capture
from snapshots import settings as settings_module
from snapshots.signals import SIGNALS
from worker.engine.refresh import refresh
from worker.engine.shards import shards

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from sqlalchemy import Engine

    from snapshots.settings import Settings

SWEEP: Final = Path(__file__).parent / "sql" / "sweep.sql"
#: Both cores: the tenants in two shards, on two connections.
SHARDS: Final = shards(2)
#: 0.1 % of a day's runs at M, written before each tick of every scale, so that ticks compare across scales.
NEW_RUNS: Final = 125
_TICKS: Final = 9


@click.command()
@click.option(
    "--scale", "scales", type=click.Choice(sorted(SCALES)), multiple=True, help="Repeatable; default s, h and m."
)
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="Counted rounds after a warm one.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), default="bench.json", show_default=True)
def main(scales: tuple[str, ...], rounds: int, json_path: Path) -> None:
    """Measure full and incremental refreshes, capture, and the worker's memory."""
    figures: dict[str, dict[str, Any]] = {}
    for name in scales or ("s", "h", "m"):
        click.echo(f"scale {name}: generating")
        with filled_database(SCALES[name]) as (engine, as_of):
            figures[name] = measure(engine, as_of, rounds)
        json_path.write_text(json.dumps({"scales": figures, "goals": goals.judged(figures)}, indent=2) + "\n")
    click.echo("\n".join(goals.table(figures)))


def measure(engine: Engine, as_of: datetime, rounds: int) -> dict[str, Any]:
    """Return everything that is measured at one scale; seconds unless the name says otherwise."""
    settings = settings_module.load()
    full = _full(engine, as_of, rounds, settings)
    click.echo(f"full refresh: {full['ratio']:.1f} times faster than the sweep")
    capture.install(engine)
    both_cores(engine, lambda shard, name: refresh(engine, name, settings, shard=shard, mode="reconcile"))
    memory = worker_memory_mb(engine.url.render_as_string(hide_password=False))
    incremental = _incremental(engine, as_of, settings, full["sweep"])
    capture.remove(engine)
    return {**full, **incremental, "worker_memory_mb": memory, "inserts": insert_rates(engine)}


def _full(engine: Engine, as_of: datetime, rounds: int, settings: Settings) -> dict[str, Any]:
    """Return the seconds of sweeps and full refreshes, in turns, and the median ratio."""
    pairs = []
    for number in range(rounds + 1):
        with spec_indexes_only(engine):
            sweep_s = timed(lambda: sweep(engine, as_of))
        forget(engine)
        refresh_s = timed(lambda: both_cores(engine, lambda shard, name: _refresh_full(engine, name, settings, shard)))
        click.echo(f"round {number}: sweep {sweep_s:.2f} s, full refresh {refresh_s:.2f} s")
        pairs += [(sweep_s, refresh_s)] if number else []
    return {
        "sweep": [pair[0] for pair in pairs],
        "full_refresh": [pair[1] for pair in pairs],
        "ratio": statistics.median(sweep_s / refresh_s for sweep_s, refresh_s in pairs),
        "refresh_statements": statement_count(engine, settings),
    }


def _incremental(engine: Engine, as_of: datetime, settings: Settings, sweeps: list[float]) -> dict[str, Any]:
    """Return the seconds of ticks, beside views refreshed after each, and the ratios to them and to the sweep."""
    views.create(engine, settings, as_of)
    ticks.tick(engine, settings, runs=NEW_RUNS, number=0)
    seconds, refreshes = [], []
    for number in range(1, _TICKS + 1):
        seconds.append(ticks.tick(engine, settings, runs=NEW_RUNS, number=number))
        if number <= len(sweeps):
            refreshes.append(timed(lambda: views.refresh(engine, settings)))
    views.drop(engine)
    medians = {name: statistics.median(each[name] for each in seconds) for name in seconds[0]}
    click.echo(f"tick: {medians['both_cores']:.3f} s, views: {statistics.median(refreshes):.2f} s")
    return {
        "ticks": seconds,
        "tick": medians,
        "views": refreshes,
        "tick_to_sweep": statistics.median(sweeps) / medians["both_cores"],
        "tick_to_views": statistics.median(refreshes) / medians["both_cores"],
    }


def both_cores(engine: Engine, work: Callable[[Any, str], object]) -> None:
    """Do `work` for each signal and shard on two connections, as two worker processes do."""
    del engine
    with ThreadPoolExecutor(max_workers=len(SHARDS)) as processes:
        for done in [processes.submit(work, shard, name) for name in SIGNALS for shard in SHARDS]:
            done.result()


def _refresh_full(engine: Engine, name: str, settings: Settings, shard: Any) -> None:  # noqa: ANN401  # a Shard
    result = refresh(engine, name, settings, shard=shard, mode="reconcile")
    if result is None or result.method != "full":
        raise RuntimeError(f"{name}: no full refresh: {result}")


def sweep(engine: Engine, as_of: datetime) -> None:
    """Run the specification's six heavy statements for every tenant, fetching every row."""
    queries = [text(statement) for statement in statements(SWEEP)]
    with engine.connect() as conn:
        tenants = conn.execute(text("select distinct tenant_id from runs")).scalars().all()
        for tenant in tenants:
            for query in queries:
                conn.execute(query, {"tenant_id": tenant, "as_of": as_of}).all()


@contextmanager
def spec_indexes_only(engine: Engine) -> Iterator[None]:
    """Hide our own indexes on the source tables from the planner: the sweep has the specification's."""
    hide = (
        "update pg_index set indisvalid = :visible from pg_class where oid = indexrelid and relname like 'ix_signals%'"
    )
    with engine.begin() as conn:
        conn.execute(text(hide), {"visible": False})
    try:
        yield
    finally:
        with engine.begin() as conn:
            conn.execute(text(hide), {"visible": True})


def forget(engine: Engine) -> None:
    """Delete what was published, so that the next refresh has everything to write."""
    with engine.begin() as conn:
        conn.execute(text("truncate signals.snapshot, signals.snapshot_history, signals.freshness"))
        conn.execute(text("truncate signals.pattern_item, signals.cost_item, signals.attention_item"))


def statement_count(engine: Engine, settings: Settings) -> int:
    """Return the number of statements of one full refresh of all signals."""
    seen: list[str] = []

    def record(*arguments: Any) -> None:  # noqa: ANN401  # SQLAlchemy's event passes six positions
        seen.append(str(arguments[2]))

    event.listen(engine, "before_cursor_execute", record)
    for name in SIGNALS:
        refresh(engine, name, settings, mode="reconcile")
    event.remove(engine, "before_cursor_execute", record)
    return len(seen)


if __name__ == "__main__":
    main()
