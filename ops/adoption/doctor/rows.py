"""The contract held against a sample of the host's rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from ops.adoption.doctor import sampling
from ops.adoption.doctor.contract import CONTRACT
from ops.adoption.doctor.findings import Finding
from snapshots.host import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import Connection

    from ops.adoption.doctor.contract import Check, Line
    from ops.adoption.doctor.sampling import Sample
    from snapshots.host import Source

#: Traces whose run is looked up at most.
TRACES: Final = 500
_EVERY: Final = "true"


def findings(conn: Connection, sources: Mapping[str, Source]) -> Iterator[Finding]:
    """Yield a finding per line of the contract and more where rows are suspicious; reads a sample of each table."""
    for name, source in sources.items():
        if source.found is None:
            continue
        lines = [line for line in CONTRACT if line.table == name]
        sample = sampling.take(conn, source, list(dict.fromkeys(_conditions(lines))))
        yield Finding(f"{name}.rows", "ok" if sample.rows else "empty", *_amount(source, sample))
        for line in lines:
            yield from _of_line(source, line, sample)
    yield from _orphans(conn, sources)


def _amount(source: Source, sample: Sample) -> tuple[str, str, str]:
    found = f"{source.relation}, looked at {sample.described()}"
    if sample.rows:
        return found, "", ""
    return found, "nothing to find", "have the writers write, or load files with `activity load`"


def _conditions(lines: Sequence[Line]) -> Iterator[str]:
    yield _EVERY
    for line in lines:
        yield from (f"{quoted(name)} is not null" for name in line.columns)
        yield from (check.condition for check in line.checks)


def _of_line(source: Source, line: Line, sample: Sample) -> Iterator[Finding]:
    filled = {name: sample.counts[f"{quoted(name)} is not null"] for name in line.columns}
    empty = [name for name, count in filled.items() if not count and not source.table.columns[name].is_optional]
    suspicious = [_suspicion(line, check, sample) for check in line.checks] if sample.rows else []
    yield from (finding for finding in suspicious if finding is not None)
    if empty and sample.rows:
        level = "note" if line.may_be_empty else "empty"
        words = [f"{name}, which is {_absence(source, name)}" for name in empty]
        yield Finding(line.id, level, "nothing in " + "; ".join(words), line.if_empty, f"written by {line.written}")
    elif not any(suspicious) and sample.rows:
        shares = ", ".join(f"{name} {100 * count // sample.rows} %" for name, count in filled.items())
        yield Finding(line.id, "ok", f"filled: {shares}")


def _absence(source: Source, name: str) -> str:
    return "NULL in every row looked at" if source.has(name) else "no column there"


def _suspicion(line: Line, check: Check, sample: Sample) -> Finding | None:
    count = sample.counts[check.condition]
    if check.none:
        return None if count else Finding(line.id, "suspicious", check.found, line.if_empty, check.advice)
    if not count:
        return None
    level = "blocked" if line.is_vital and count == sample.rows else "suspicious"
    return Finding(line.id, level, f"{count} of {sample.rows} rows: {check.found}", "", check.advice)


def _orphans(conn: Connection, sources: Mapping[str, Source]) -> Iterator[Finding]:
    """Yield how many traces of a few name a run that is not there; each is one look-up by the key of the runs."""
    runs, traces = sources.get("runs"), sources.get("aos_traces")
    if runs is None or traces is None or runs.faults() or traces.faults() or not _has_key(conn, runs):
        return
    run_id, trace_run = runs.value("id", "run"), traces.value("run_id", "trace")
    row = conn.exec_driver_sql(
        (
            "select count(*), count(*) filter (where not exists"  # noqa: S608  # names of the catalogue, quoted
            f" (select from {runs.relation} as run where {run_id} = trace.run_id))"
            f" from (select {trace_run} as run_id from {traces.relation} as trace limit {TRACES}) as trace"
        ).replace("%", "%%")
    ).one()
    if row[1]:
        found = f"{row[1]} of {row[0]} traces name a run that is not in runs"
        effect = "patterns find them, and the run's detail is not found"
        yield Finding("traces.runs", "suspicious", found, effect, "write the run before its traces, with the same id")
    elif row[0]:
        yield Finding("traces.runs", "ok", f"each of {row[0]} traces names a run that is there")


def _has_key(conn: Connection, source: Source) -> bool:
    """Tell whether a run can be looked up by its id through an index."""
    led = text(
        "select count(*) from pg_index inner join pg_attribute on attrelid = indrelid and attnum = indkey[0]"
        " where indrelid = to_regclass(:relation) and attname = :name and indisvalid and indpred is null"
    )
    named = {"relation": source.relation, "name": source.field("id")}
    return bool(source.has("id") and conn.execute(led, named).scalar_one())
