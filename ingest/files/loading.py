"""A load as a whole: files read and staged table by table, merged, and committed together or not at all."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sqlalchemy import column, exists, func, select, table

from ingest.files import scrutiny
from ingest.files.attempts import WAITS_S, in_one_transaction
from ingest.files.files import find_files
from ingest.files.merging import Merger
from ingest.files.problems import KEPT, FieldError, LoadError, Problem, Problems, shown
from ingest.files.progress import Silence
from ingest.files.records import Row, read_records
from ingest.files.reports import LoadReport, TableReport
from ingest.files.staging import Feeder, Stage, create_stage, settle_order
from ingest.files.targets import read_targets

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from sqlalchemy import URL, Connection, Engine

    from ingest.files.files import SourceFile
    from ingest.files.progress import LoadProgress
    from ingest.files.targets import Target


def load(
    where: Engine | URL | str,
    *paths: Path,
    strict: bool = False,
    progress: LoadProgress | None = None,
    waits_s: Sequence[float] = WAITS_S,
) -> LoadReport:
    """Load the files of `paths` in one transaction and return what became of their lines.

    A bad line is skipped and reported; with `strict` one of them keeps everything out. Of several lines with one key
    the later wins. A load that the server ends is begun again after each of `waits_s` seconds. Raises LoadError when
    there is nothing to load, no table to load into, or the server ends every attempt.
    """
    started, heard = time.monotonic(), progress or Silence()
    files = find_files(paths)
    report = in_one_transaction(
        where, lambda conn: _Loading(conn, files, heard).run(), heard, strict=strict, waits_s=waits_s
    )
    report.seconds = time.monotonic() - started
    return report


def store(
    conn: Connection, rows: Mapping[str, Iterable[Mapping[str, object]]], *, kept: Collection[str] = ()
) -> dict[str, TableReport]:
    """Store rows in native form, by table, through the path that files take; return what became of them.

    Tables that `rows` does not name are not looked at.
    A row of the tables in `kept` that is there already stays as it is: no right to change it is needed.

    The caller owns the transaction. Raises LoadError at the first row that cannot be stored.
    """
    targets, stored = read_targets(conn), {}
    for name, target in targets.items():
        if name not in rows:
            continue
        stage = create_stage(conn, target, replaces=name not in kept)
        feeder, problems = Feeder(conn, stage), Problems()
        try:
            for number, record in enumerate(rows[name], start=1):
                fields = sorted(record)
                shape = target.shape(fields)
                feeder.add(0, Row(number, shape, shape.bind_values([record[field] for field in fields])))
        except FieldError as ex:
            raise LoadError(f"{name}: {ex}") from None
        stored[name] = _merge(conn, stage, feeder, ["rows"], problems)
        stage.table.drop(conn)
        if problems.count:
            raise LoadError(f"{name}: {problems.kept[0]}")
    return stored


class _Loading:
    """One load in the transaction of `conn`."""

    def __init__(self, conn: Connection, files: Sequence[SourceFile], progress: LoadProgress) -> None:
        self._conn = conn
        self._files = files
        self._progress = progress
        self._problems = Problems()
        self._remarks: list[str] = []

    def run(self) -> LoadReport:
        self._progress.expect(sum(file.path.stat().st_size for file in self._files))
        report = LoadReport(files=len(self._files))
        staged = []
        for name, target in read_targets(self._conn).items():
            numbered = [(number, file) for number, file in enumerate(self._files) if file.table == name]
            if numbered:
                staged.append(self._stage(target, numbered))
        # Rows of the host's are held from the first that is stored to the commit: every file has been read by then.
        for stage, feeder in staged:
            report.tables[stage.target.table] = self._store(stage, feeder)
        report.problems = self._problems.kept
        report.remarks = self._remarks
        return report

    def _stage(self, target: Target, files: Sequence[tuple[int, SourceFile]]) -> tuple[Stage, Feeder]:
        stage = create_stage(self._conn, target)
        feeder = Feeder(self._conn, stage)
        for number, file in files:
            self._progress.begin(f"reading {file.place}")
            self._read(feeder, target, number, file)
        feeder.flush()
        return stage, feeder

    def _store(self, stage: Stage, feeder: Feeder) -> TableReport:
        self._progress.begin(f"storing {stage.target.table}")
        self._scrutinise(stage)
        return _merge(self._conn, stage, feeder, [file.place for file in self._files], self._problems)

    def _scrutinise(self, stage: Stage) -> None:
        """Refuse what would change a tenant, and count what is stored and yet remarkable."""
        name = stage.target.table
        refused, count = scrutiny.refuse_moves(self._conn, stage)
        for file, problem in refused:
            self._problems.add(name, self._files[file].place, problem)
        self._problems.add_unkept(name, count - len(refused))
        self._remarks += [f"{name}: {n} {words}" for words, n in scrutiny.remarks(self._conn, stage).items()]

    def _read(self, feeder: Feeder, target: Target, number: int, file: SourceFile) -> None:
        for record in read_records(file, target, self._progress.advance):
            if isinstance(record, Problem):
                self._problems.add(target.table, file.place, record)
            else:
                feeder.add(number, record)


def _merge(conn: Connection, stage: Stage, feeder: Feeder, places: Sequence[str], problems: Problems) -> TableReport:
    """Store what was fed; `places` names the files by number."""
    name = stage.target.table
    feeder.flush()
    superseded = settle_order(conn, stage)
    if name == "aos_trace_steps":
        _drop_orphans(conn, stage, read_targets(conn)["aos_traces"], places, problems)
    merger = Merger(conn, stage, lambda file, problem: problems.add(name, places[file], problem))
    stored = merger.run()
    return TableReport(stored.inserted, stored.updated, stored.unchanged, superseded, problems.by_table[name])


def _drop_orphans(conn: Connection, stage: Stage, into: Target, places: Sequence[str], problems: Problems) -> None:
    """Take out the steps whose trace exists neither in the database nor in the files."""
    row = stage.table.c
    trace_id = stage.keys()[0]
    key = into.columns[into.keys[0]].name
    traces = table(into.host_table, column(key), schema=into.host_schema)
    is_orphan = ~exists(select(traces.c[key]).where(traces.c[key] == trace_id))
    first = conn.execute(select(row.file, row.line, trace_id).where(is_orphan).order_by(row.seq).limit(KEPT)).all()
    for file, line, missing in first:
        problem = Problem(line, f"trace_id: expected a trace that exists, got {shown(missing)}")
        problems.add(stage.target.table, places[file], problem)
    if first:
        count = conn.execute(select(func.count()).select_from(stage.table).where(is_orphan)).scalar_one()
        problems.add_unkept(stage.target.table, count - len(first))
        conn.execute(stage.table.delete().where(is_orphan))
