"""Refresh of all tenants, published, beside the spec's own SQL run per tenant ("the sweep").

    python -m benchmarks.refresh --scale s [--rounds 5] [--json PATH]

Both run in turn on one database in one process; the ratio of each round is printed, and the median.
"""

from __future__ import annotations

import json
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from sqlalchemy import event, text

from benchmarks.scales import SCALES, filled_database, statements
from snapshots import settings as settings_module
from snapshots.signals import SIGNALS
from snapshots.tables import snapshot
from worker.refresh import refresh

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from sqlalchemy import Engine

    from snapshots.settings import Settings

SWEEP: Final = Path(__file__).parent / "sql" / "sweep.sql"


@click.command()
@click.option("--scale", type=click.Choice(sorted(SCALES)), default="s", show_default=True)
@click.option(
    "--rounds", type=click.IntRange(1), default=5, show_default=True, help="Counted rounds, after a warm one."
)
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Save the figures here.")
def main(scale: str, rounds: int, json_path: Path | None) -> None:
    """Measure a full published refresh against the sweep."""
    click.echo(f"scale {scale}: generating")
    with filled_database(SCALES[scale]) as (engine, as_of):
        figures = measure(engine, as_of, rounds)
    click.echo(json.dumps(figures, indent=2))
    if json_path is not None:
        json_path.write_text(json.dumps({"scale": scale, **figures}, indent=2))


def measure(engine: Engine, as_of: datetime, rounds: int) -> dict[str, Any]:
    """Return seconds per round of sweep and refresh, and the ratio of the two, with the refresh's statement count."""
    settings = settings_module.load()
    sweeps, refreshes = [], []
    for number in range(rounds + 1):
        with spec_indexes_only(engine):
            sweep_s = timed(lambda: sweep(engine, as_of))
        forget(engine)
        refresh_s = timed(lambda: refresh_all(engine, settings))
        if number:
            sweeps.append(sweep_s)
            refreshes.append(refresh_s)
            click.echo(f"round {number}: sweep {sweep_s:.2f} s, refresh {refresh_s:.2f} s, {sweep_s / refresh_s:.1f} x")
    unchanged_s = timed(lambda: refresh_all(engine, settings))
    return {
        "tenants_published": published_tenants(engine),
        "sweep_s": sweeps,
        "refresh_s": refreshes,
        "refresh_unchanged_s": unchanged_s,
        "median_ratio": statistics.median(a / b for a, b in zip(sweeps, refreshes, strict=True)),
        "refresh_statements": statement_count(engine, settings),
    }


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that `work` takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def sweep(engine: Engine, as_of: datetime) -> None:
    """Run the spec's six heavy statements for every tenant, fetching every row."""
    queries = [text(statement) for statement in statements(SWEEP)]
    with engine.connect() as conn:
        tenants = conn.execute(text("select distinct tenant_id from runs")).scalars().all()
        for tenant in tenants:
            for query in queries:
                conn.execute(query, {"tenant_id": tenant, "as_of": as_of}).all()


@contextmanager
def spec_indexes_only(engine: Engine) -> Iterator[None]:
    """Hide our own indexes on the source tables from the planner: the sweep has those of the spec."""
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


def refresh_all(engine: Engine, settings: Settings) -> None:
    """Refresh every signal for every tenant and publish, on two connections as two worker processes do."""
    with ThreadPoolExecutor(max_workers=2) as processes:
        for finished in [processes.submit(refresh, engine, name, settings) for name in SIGNALS]:
            finished.result()


def forget(engine: Engine) -> None:
    """Delete what was published, so that the next refresh has everything to write."""
    with engine.begin() as conn:
        conn.execute(text("truncate signals.snapshot, signals.snapshot_history, signals.freshness"))
        conn.execute(text("truncate signals.pattern_item, signals.cost_item, signals.attention_item"))


def published_tenants(engine: Engine) -> dict[str, int]:
    """Return how many tenants have a snapshot, by signal."""
    with engine.connect() as conn:
        return {name: conn.execute(snapshot.select().where(snapshot.c.signal == name)).rowcount for name in SIGNALS}


def statement_count(engine: Engine, settings: Settings) -> int:
    """Return the number of statements of one refresh of all signals."""
    seen: list[str] = []

    def record(*arguments: Any) -> None:  # noqa: ANN401  # SQLAlchemy's event passes six positions
        seen.append(str(arguments[2]))

    event.listen(engine, "before_cursor_execute", record)
    refresh_all(engine, settings)
    event.remove(engine, "before_cursor_execute", record)
    return len(seen)


if __name__ == "__main__":
    main()
