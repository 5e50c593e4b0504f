"""Load of native files: read and staged table by table, merged, and committed together or not at all."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ingest.files.merging import Merger
from ingest.files.reading import Row, find_files, read_records
from ingest.files.report import FieldError, LoadError, LoadReport, Problem, Problems, Silence, TableReport
from ingest.files.stage import Feeder, Stage, create_stage, refuse_moves, refuse_orphans, remarks, settle_order
from ingest.files.targets import read_targets
from ingest.files.transaction import WAITS_S, in_one_transaction

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from sqlalchemy import URL, Connection, Engine

    from ingest.files.reading import SourceFile
    from ingest.files.report import LoadProgress
    from ingest.files.targets import Target


def load_rows(
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
    started, shown = time.monotonic(), progress or Silence()
    files = find_files(paths)
    report = in_one_transaction(
        where, lambda conn: _Loading(conn, files, shown).run(), shown, strict=strict, waits_s=waits_s
    )
    report.seconds = time.monotonic() - started
    return report


def store(conn: Connection, rows: Mapping[str, Iterable[Mapping[str, object]]]) -> dict[str, TableReport]:
    """Store rows in native form, by table, through the path that files take; return what became of them.

    The caller owns the transaction. Raises LoadError at the first row that cannot be stored.
    """
    targets, stored = read_targets(conn), {}
    for name, target in targets.items():
        if name not in rows:
            continue
        stage = create_stage(conn, target)
        feeder, problems = Feeder(conn, stage), Problems()
        try:
            for number, record in enumerate(rows[name], start=1):
                fields = sorted(record)
                shape = target.shape(fields)
                feeder.add(0, Row(number, shape, shape.bind_values([record[field] for field in fields])))
        except FieldError as ex:
            raise LoadError(f"{name}: {ex}") from None
        feeder.flush()
        stored[name] = _merge(conn, stage, ["rows"], problems)
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

    def run(self) -> LoadReport:
        self._progress.expect(sum(file.path.stat().st_size for file in self._files))
        report, stages = LoadReport(files=len(self._files)), list[Stage]()
        for name, target in read_targets(self._conn).items():
            numbered = [(number, file) for number, file in enumerate(self._files) if file.table == name]
            if numbered:
                stages.append(self._stage(target, numbered))
        # Rows of the host's are held from the first that is stored to the commit: every file has been read by then.
        for stage in stages:
            name = stage.target.table
            self._progress.begin(f"storing {name}")
            # Rows that would change a tenant are refused; rows that are stored and yet remarkable are counted.
            refused, count = refuse_moves(self._conn, stage)
            for file, problem in refused:
                self._problems.add(name, self._files[file].place, problem)
            self._problems.add_unkept(name, count - len(refused))
            report.remarks += [f"{name}: {n} {words}" for words, n in remarks(self._conn, stage).items()]
            report.tables[name] = _merge(self._conn, stage, [file.place for file in self._files], self._problems)
        report.problems = self._problems.kept
        return report

    def _stage(self, target: Target, files: Sequence[tuple[int, SourceFile]]) -> Stage:
        stage = create_stage(self._conn, target)
        feeder = Feeder(self._conn, stage)
        for number, file in files:
            self._progress.begin(f"reading {file.place}")
            for record in read_records(file, target, self._progress.advance):
                if isinstance(record, Problem):
                    self._problems.add(target.table, file.place, record)
                else:
                    feeder.add(number, record)
        feeder.flush()
        return stage


def _merge(conn: Connection, stage: Stage, places: Sequence[str], problems: Problems) -> TableReport:
    """Store what was staged; `places` names the files by number."""
    name = stage.target.table
    superseded = settle_order(conn, stage)
    if name == "aos_trace_steps":
        refused, count = refuse_orphans(conn, stage, read_targets(conn)["aos_traces"])
        for file, problem in refused:
            problems.add(name, places[file], problem)
        problems.add_unkept(name, count - len(refused))
    merger = Merger(conn, stage, lambda file, problem: problems.add(name, places[file], problem))
    stored = merger.run()
    return TableReport(stored.inserted, stored.updated, stored.unchanged, superseded, problems.by_table[name])
