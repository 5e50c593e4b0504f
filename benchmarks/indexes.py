"""Benefit of each index of the source tables for readers, and its cost for the writer.

    python -m benchmarks.indexes --scale s [--rounds 5] [--json PATH]

Readers: which queries use it, by their plans, and how many times the blocks the worst off of them reads while it is
hidden from the planner. Writers: rows inserted per second with it, as a ratio of the rate without it, in turn.
"""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from sqlalchemy import text

from benchmarks.scales import SCALES, filled_database
from ops.plans import census
from ops.plans.measuring import live_findings, signal_findings
from snapshots import settings as settings_module
from snapshots.signals import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import Connection, Engine

    from ops.plans.measuring import Finding

_SPEC: Final = frozenset(name for name, *_ in import_module("migrations.versions.095_activity_signal_indexes").INDEXES)
#: Indexes that no constraint stands on, with their tables.
_PRESENT: Final = text("""
select index_class.relname as name, table_class.relname as table_name
from pg_index
inner join pg_class as index_class on index_class.oid = pg_index.indexrelid
inner join pg_class as table_class on table_class.oid = pg_index.indrelid
left join pg_constraint on pg_constraint.conindid = pg_index.indexrelid
where
    table_class.oid in (
        'public.runs'::regclass, 'public.aos_traces'::regclass, 'public.aos_trace_steps'::regclass
    )
    and pg_constraint.oid is null
order by table_class.relname, index_class.relname
""")
_HIDE: Final = text("update pg_index set indisvalid = :visible where indexrelid = any(cast(:names as regclass[]))")

#: New rows of each table, in the order of time and later than all others; a step comes with its trace.
_BATCHES: Final = """
create temporary table batch_runs as
select * from (select * from public.runs order by id limit :rows) as sampled order by started_at;
update batch_runs set
    id = 'new_' || id,
    started_at = started_at + interval '365 days',
    completed_at = completed_at + interval '365 days',
    last_seen_at = last_seen_at + interval '365 days';
create temporary table batch_aos_traces as
select * from (select * from public.aos_traces order by trace_id limit :rows) as sampled order by started_at;
create temporary table batch_aos_trace_steps as
select step.*
from batch_aos_traces
inner join public.aos_trace_steps as step using (trace_id)
order by batch_aos_traces.started_at, step.step_index;
update batch_aos_traces set
    id = gen_random_uuid(),
    trace_id = 'new_' || trace_id,
    started_at = started_at + interval '365 days',
    created_at = created_at + interval '365 days';
update batch_aos_trace_steps set id = gen_random_uuid(), trace_id = 'new_' || trace_id
"""


@dataclass(frozen=True, slots=True)
class Effort:
    """Sizes of the inserts, in runs and traces, and their number after a warm round."""

    rows: int
    rounds: int


@dataclass(frozen=True, slots=True)
class Measured:
    """Some indexes of a table and the queries that use one of them.

    `blocks_ratio` is what the worst off of these reads without them, to what it reads with them; None without any.
    `insert_ratio` is the rate of inserts with them, to the rate without them.
    """

    names: tuple[str, ...]
    origin: str
    table: str
    used_by: tuple[str, ...]
    blocks_ratio: float | None
    insert_ratio: float


@click.command()
@click.option("--scale", type=click.Choice(sorted(SCALES)), default="s", show_default=True)
@click.option(
    "--rounds", type=click.IntRange(1), default=5, show_default=True, help="Counted rounds, after a warm one."
)
@click.option("--rows", type=click.IntRange(1), default=10_000, show_default=True, help="Runs, and traces, of a batch.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Save the figures here.")
def main(scale: str, rounds: int, rows: int, json_path: Path | None) -> None:
    """Measure every index of the source tables, and print the table of docs/performance.md."""
    with filled_database(SCALES[scale]) as (engine, _):
        measured = measure(engine, Effort(rows, rounds))
    click.echo("\n".join(_markdown(measured)))
    if json_path is not None:
        json_path.write_text(json.dumps({"scale": scale, "indexes": [asdict(each) for each in measured]}, indent=2))


def measure(engine: Engine, effort: Effort) -> list[Measured]:
    """Return what each index does alone, and what those of the same origin and table do together.

    The engine's user is a superuser: indexes are hidden in the catalogue.
    """
    with engine.connect() as conn:
        present = {row.name: row.table_name for row in conn.execute(_PRESENT)}
    found = findings(engine)
    return [_measured(engine, names, present[names[0]], found, effort) for names in _groups(present)]


def findings(engine: Engine) -> list[Finding]:
    """Return the plans of every query for a large, a lesser and a middle tenant, and for all."""
    settings = settings_module.load()
    with engine.connect() as conn:
        counted = census.take(conn)
    largest, middle = counted.chosen(None)
    tenants = dict.fromkeys((largest, counted.by_size[len(counted.by_size) // 20], middle))
    signals = (signal_findings(engine, settings, name, each, counted) for name in SIGNALS for each in (*tenants, None))
    live = (live_findings(engine, settings, each, counted) for each in tenants)
    return list(chain.from_iterable(chain(signals, live)))


def _groups(present: Mapping[str, str]) -> list[tuple[str, ...]]:
    """Return each index alone, and those of one origin and table together where they are several."""
    together: dict[tuple[str, str], list[str]] = {}
    for name, table in present.items():
        together.setdefault((_origin(name), table), []).append(name)
    return [*((name,) for name in present), *(tuple(names) for names in together.values() if len(names) > 1)]


def _origin(name: str) -> str:
    if name in _SPEC:
        return "specification"
    return "ours" if name.startswith("ix_signals_") else "host"


def _measured(engine: Engine, names: tuple[str, ...], table: str, found: Sequence[Finding], effort: Effort) -> Measured:
    users = tuple(sorted({each.query for each in found if each.plan.indexes & set(names)}))
    ratio = _blocks_ratio(engine, names, found) if users else None
    return Measured(names, _origin(names[0]), table, users, ratio, _insert_ratio(engine, names, table, effort))


def _blocks_ratio(engine: Engine, names: tuple[str, ...], found: Sequence[Finding]) -> float:
    with _hidden(engine, names):
        without = {(each.query, each.tenant): each.plan.buffers for each in findings(engine)}
    users = [each for each in found if each.plan.indexes & set(names)]
    return max(without[each.query, each.tenant] / max(1, each.plan.buffers) for each in users)


@contextmanager
def _hidden(engine: Engine, names: tuple[str, ...]) -> Iterator[None]:
    """Hide the indexes from the planner."""
    with engine.begin() as conn:
        conn.execute(_HIDE, {"names": list(names), "visible": False})
    try:
        yield
    finally:
        with engine.begin() as conn:
            conn.execute(_HIDE, {"names": list(names), "visible": True})


def _insert_ratio(engine: Engine, names: tuple[str, ...], table: str, effort: Effort) -> float:
    """Return the least seconds without the indexes, to the least with them: what else runs here only adds to either."""
    taken: dict[tuple[str, ...], list[float]] = {(): [], names: []}
    with engine.connect() as conn:
        conn.execute(text(_BATCHES), {"rows": effort.rows})
        conn.commit()
        for number in range(effort.rounds + 1):
            for dropped in taken:
                lasted = _insert_s(conn, table, dropped)
                taken[dropped] += [lasted] if number else []
        conn.execute(text("drop table batch_runs, batch_aos_traces, batch_aos_trace_steps"))
        conn.commit()
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as conn:
        conn.execute(text(f"vacuum public.{table}"))
    return min(taken[names]) / min(taken[()])


def _insert_s(conn: Connection, table: str, dropped: tuple[str, ...]) -> float:
    """Return the seconds that a batch takes without the `dropped` indexes; nothing of either stays."""
    for name in dropped:
        conn.execute(text(f"drop index public.{name}"))
    if table == "aos_trace_steps":
        conn.execute(text("insert into public.aos_traces select * from batch_aos_traces"))
    begun = time.perf_counter()
    conn.execute(text(f"insert into public.{table} select * from batch_{table}"))  # noqa: S608  # names of our own
    taken = time.perf_counter() - begun
    conn.rollback()
    return taken


def _markdown(measured: Sequence[Measured]) -> Iterator[str]:
    yield "| index | origin | used by | blocks without / with | inserts with / without |"
    yield "| --- | --- | --- | --- | --- |"
    for each in measured:
        names = f"all {len(each.names)} on `{each.table}`" if len(each.names) > 1 else f"`{each.names[0]}`"
        used = "" if len(each.names) > 1 else ", ".join(f"`{name}`" for name in each.used_by) or "none"
        blocks = "" if each.blocks_ratio is None else f"{each.blocks_ratio:.1f}"
        yield f"| {names} | {each.origin} | {used} | {blocks} | {each.insert_ratio:.2f} |"


if __name__ == "__main__":
    main()
