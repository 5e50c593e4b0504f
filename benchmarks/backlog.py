"""The morning after an outage: millions of change marks wait, and are worked off in bounded batches.

    python -m benchmarks.backlog [--marks 10000000] [--json PATH]

The marks name the traces of scale S over and over; one tenant's only change comes last. Refreshes are run until no mark
is left, in a process of their own whose memory is noted.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from sqlalchemy import text

from benchmarks.scales import SCALES, filled_database
from migrations import capture
from snapshots import database
from snapshots import settings as settings_module
from worker.engine.refresh import refresh

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

_FILL = (
    "insert into signals.dirty_trace (trace_id) select trace_id from aos_traces"
    " cross join generate_series(1, cast(ceil(cast(:marks as numeric) / (select count(*) from aos_traces)) as integer))"
    " limit :marks"
)


@click.command()
@click.option("--marks", type=click.IntRange(1), default=10_000_000, show_default=True)
@click.option("--json", "json_path", type=click.Path(path_type=Path), default="backlog.json", show_default=True)
def main(marks: int, json_path: Path) -> None:
    """Leave marks, and work them off."""
    with filled_database(SCALES["s"]) as (engine, _):
        capture.install(engine)
        refresh(engine, "patterns", settings_module.load())
        with engine.begin() as conn:
            conn.execute(text(_FILL), {"marks": marks})
            conn.execute(text("insert into aos_traces (trace_id, run_id, tenant_id) values ('last', 'last', 'last')"))
            conn.execute(text("insert into aos_trace_steps (trace_id, step_index, retry_count) values ('last', 0, 9)"))
        report = _worked_off(engine.url.render_as_string(hide_password=False))
    json_path.write_text(json.dumps(report, indent=2) + "\n")
    click.echo(json.dumps(report, indent=2))


def _worked_off(url: str) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(url, theirs))
    process.start()
    report: dict[str, Any] = ours.recv()
    process.join()
    return report


def _work(url: str, answer: Connection) -> None:
    engine, settings = database.connect(url, pool_size=2), settings_module.load()
    refresh(engine, "cost", settings)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun, marks, refreshes, is_drained = time.monotonic(), 0, 0, False
    while not is_drained:
        result = refresh(engine, "patterns", settings)
        if result is None:
            raise RuntimeError("the refresh was coalesced")
        marks, refreshes, is_drained = marks + result.marks, refreshes + 1, result.is_drained
    seconds = time.monotonic() - begun
    with engine.connect() as conn:
        last = conn.execute(text("select count(*) from signals.snapshot where tenant_id = 'last'")).scalar_one()
        size = conn.execute(text("select pg_total_relation_size('signals.dirty_trace')")).scalar_one()
    answer.send(
        {
            "marks": marks,
            "seconds": round(seconds, 1),
            "marks_per_s": round(marks / seconds),
            "refreshes": refreshes,
            "memory_before_mb": before / 1024,
            "memory_after_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "last_tenant_published": bool(last),
            "queue_mb": size / 2**20,
        }
    )
    engine.dispose()


if __name__ == "__main__":
    main()
