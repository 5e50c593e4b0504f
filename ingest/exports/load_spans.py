"""Load of telemetry files: spans stored file by file, then their traces written, all together or not at all."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, select, text

from ingest.assembly.derive import derive
from ingest.assembly.span_buffer import accept
from ingest.assembly.write_traces import Assembly, write_loaded
from ingest.exports.langfuse import read_langfuse
from ingest.exports.phoenix import read_phoenix
from ingest.exports.reading import find_files, read_otlp
from ingest.files.report import KEPT, Problem, Silence
from ingest.files.transaction import WAITS_S, in_one_transaction
from ingest.prices import Prices

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from sqlalchemy import URL, Connection, Engine

    from ingest.exports.reading import Place
    from ingest.files.report import LoadProgress

    Read = Callable[[Path, int, Callable[[int], None]], Iterator[Place | Problem]]

#: Spans that are kept with one statement, and held in memory meanwhile.
_BATCH: Final = 5000
_NANOSECONDS: Final = 1_000_000_000

#: Reader of each format, and the suffixes of its files.
_JSON: Final = (".json", ".jsonl", ".ndjson")
READERS: Final[dict[str, tuple[Read, Sequence[str]]]] = {
    "otlp": (read_otlp, _JSON),
    "langfuse": (read_langfuse, (*_JSON, ".csv")),
    "phoenix": (read_phoenix, (*_JSON, ".csv")),
}

_TOUCHED: Final = text('create temporary table loaded_trace (trace_id text collate "C" primary key) on commit drop')
_TOUCH: Final = text("""
insert into pg_temp.loaded_trace select unnest(cast(:trace_ids as text[])) on conflict do nothing
""")


@dataclass(frozen=True, slots=True)
class SpanLoadOptions:
    """Options of a load: the tenant of the spans, their format, and the prices of model calls."""

    tenant: str
    format: str = "otlp"
    prices: Prices = field(default_factory=Prices)
    strict: bool = False
    derives: bool = True


@dataclass(slots=True)
class SpanReport:
    """The result of a load; `problems` holds the first of them as `file:line: field: what was expected`."""

    files: int = 0
    kept: int = 0
    known: int = 0
    skipped: int = 0
    problems: list[str] = field(default_factory=list)
    written: Assembly = field(default_factory=Assembly)
    seconds: float = 0.0
    is_stored: bool = True

    @property
    def spans(self) -> int:
        """Return how many spans, or lines that are none, were read."""
        return self.kept + self.known + self.skipped

    def add(self, place: str, problem: Problem, times: int = 1) -> None:
        """Note what is wrong with `times` spans."""
        self.skipped += times
        if len(self.problems) < KEPT:
            self.problems.append(f"{place}:{problem.line}: {problem.message}")

    def as_text(self) -> str:
        """Return the report in lines; the problems are not in it."""
        if not self.is_stored:
            return f"nothing was loaded: {self.skipped} of {self.spans} spans are bad, and --strict was given"
        rate = self.spans / self.seconds if self.seconds else 0.0
        done = self.written
        lines = [
            f"spans: {self.kept} new, {self.known} known before, {self.skipped} skipped",
            f"traces: {done.traces} written with {done.steps} steps, {done.late} of them written before",
        ]
        if done.unpriced:
            lines.append(f"costs: {done.unpriced} model calls without a price; their cost is unknown, not 0")
        return "\n".join([*lines, f"{self.spans} spans of {self.files} files in {self.seconds:.1f} s, {rate:,.0f}/s"])


def load_spans(
    where: Engine | URL | str,
    paths: Path | Sequence[Path],
    options: SpanLoadOptions,
    progress: LoadProgress | None = None,
    *,
    waits_s: Sequence[float] = WAITS_S,
) -> SpanReport:
    """Load the spans in `paths`, one or several, in one transaction and return what became of them.

    A span that was loaded or received before changes nothing. A load that the server ends is begun again after each of
    `waits_s` seconds. Raises LoadError when there is nothing to load, or the server ends every attempt.
    """
    started, shown = time.monotonic(), progress or Silence()
    files = find_files([paths] if isinstance(paths, Path) else paths, READERS[options.format][1])
    report = in_one_transaction(
        where, lambda conn: _Loading(conn, options, shown).run(files), shown, strict=options.strict, waits_s=waits_s
    )
    report.seconds = time.monotonic() - started
    return report


class _Loading:
    """One load in the transaction of `conn`."""

    def __init__(self, conn: Connection, options: SpanLoadOptions, progress: LoadProgress) -> None:
        self._conn = conn
        self._options = options
        self._progress = progress
        self._report = SpanReport()

    def run(self, files: Sequence[tuple[Path, str]]) -> SpanReport:
        report = self._report
        self._progress.expect(sum(file.stat().st_size for file, _ in files))
        self._conn.execute(_TOUCHED)
        as_of: datetime = self._conn.execute(select(func.clock_timestamp())).scalar_one()
        read = READERS[self._options.format][0]
        for file, place in files:
            report.files += 1
            self._progress.begin(f"reading {place}")
            batch: list[Place] = []
            for each in read(file, int(as_of.timestamp()) * _NANOSECONDS, self._progress.advance):
                if isinstance(each, Problem):
                    report.add(place, each)
                else:
                    batch.append(each)
                if len(batch) == _BATCH:
                    self._accept(place, batch)
                    batch.clear()
            self._accept(place, batch)
        self._progress.begin("writing traces")
        # A trace that cannot be written is reported with its id.
        while (done := write_loaded(self._conn, self._options.prices, as_of)).traces or done.problems:
            report.written.add(done)
        for trace_id, problem in report.written.problems.items():
            report.add(f"trace {trace_id}", Problem(0, problem))
        if self._options.derives:
            derive(self._conn, as_of)
        return report

    def _accept(self, place: str, batch: Sequence[Place]) -> None:
        done = accept(self._conn, self._options.tenant, [each.span for each in batch])
        self._report.kept += done.kept
        self._report.known += len(batch) - done.kept - done.refused.total()
        for reason, times in Counter(done.refused).items():
            self._report.add(place, Problem(batch[0].line, f"{times} spans from here on: {reason}"), times)
        self._conn.execute(_TOUCH, {"trace_ids": sorted(done.traces)})
