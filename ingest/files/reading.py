"""Files of a load: found, read line by line, and checked against their table.

Each line of CSV or JSONL becomes a row or a problem.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from ingest.files.report import FieldError, LoadError, Problem, UnreadableError, shown
from ingest.files.targets import KEYS, PROVENANCE
from ingest.files.values import parse_document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from ingest.files.targets import Shape, Target

#: A longer line is no record: the rest of its file is not read. Bytes.
MAX_LINE: Final = 16 * 1024 * 1024
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_LINES_PER_ADVANCE: Final = 1000
_NOT_UTF_8: Final = "not UTF-8"
# The module's own limit of 128 KiB is too small for a trace as JSON; a quote that never closes ends here.
csv.field_size_limit(MAX_LINE)


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file whose lines are rows of `table`; `place` names it to people, relative to the path that was given."""

    path: Path
    table: str
    is_csv: bool
    place: str


def find_files(paths: Sequence[Path]) -> list[SourceFile]:
    """Return the files to load from `paths`, table by table, so that what is referred to comes first.

    A path is a folder, a folder of such folders, or one file; other files are ignored. A file that is named twice is
    read once. Raises LoadError where a path has none.
    """
    found = {file.path.resolve(): file for path in paths for file in _files_of(path, is_alone=len(paths) == 1)}
    order = list(KEYS)
    return sorted(found.values(), key=lambda file: order.index(file.table))


def _files_of(path: Path, *, is_alone: bool) -> list[SourceFile]:
    expected = f"{', '.join(KEYS)} as .jsonl or .csv, optionally .gz"
    if not path.exists():
        raise LoadError(f"{path}: does not exist; expected a folder with {expected}")
    try:
        if path.is_file():
            candidates = [path]
        else:
            children = sorted(path.iterdir())
            below = [file for child in children if child.is_dir() for file in sorted(child.iterdir())]
            candidates = [file for file in [*children, *below] if file.is_file()]
    except OSError as ex:
        raise LoadError(f"{path}: cannot be listed: {ex.strerror}") from ex
    base = path.parent if path.is_file() else path
    found = []
    for candidate in candidates:
        table, _, suffix = candidate.name.partition(".")
        if table in KEYS and suffix.removesuffix(".gz") in {"csv", "jsonl"}:
            place = str(candidate.relative_to(base)) if is_alone else str(candidate)
            found.append(SourceFile(candidate, table, suffix.startswith("csv"), place))
    if not found:
        raise LoadError(f"{path}: holds nothing to load; expected {expected}; --format names what else is read")
    return found


class Lines:
    """The lines of a file; `number` counts those that were read. Use as a context manager."""

    def __init__(self, path: Path, advance: Callable[[int], None]) -> None:
        """Describe the file; `advance` hears of the bytes that were read from disk."""
        self.number = 0
        self._path = path
        self._advance = advance
        self._told = 0

    def __enter__(self) -> Self:
        """Open the file; raises UnreadableError."""
        try:
            self._raw = self._path.open("rb")
        except OSError as ex:
            raise UnreadableError(f"cannot be opened: {ex.strerror}") from ex
        is_gzip = self._path.suffix == ".gz"
        self._file = io.BufferedReader(gzip.GzipFile(fileobj=self._raw)) if is_gzip else self._raw
        return self

    def __exit__(self, kind: type[BaseException] | None, ex: BaseException | None, trace: TracebackType | None) -> None:
        """Close the file."""
        self._tell()
        self._raw.close()

    def __iter__(self) -> Iterator[bytes]:
        """Return itself."""
        return self

    def __next__(self) -> bytes:
        """Return the next line with its end; raises UnreadableError when the file is damaged."""
        try:
            line = self._file.readline(MAX_LINE + 1)
        except (EOFError, zlib.error, gzip.BadGzipFile) as ex:
            raise UnreadableError(f"the gzip stream is damaged or cut off: {ex}") from ex
        except OSError as ex:
            raise UnreadableError(f"cannot be read: {ex.strerror}") from ex
        if len(line) > MAX_LINE:
            raise UnreadableError(f"line longer than {MAX_LINE} bytes")
        if not line:
            raise StopIteration
        self.number += 1
        if self.number % _LINES_PER_ADVANCE == 0:
            self._tell()
        return line.removeprefix(_BYTE_ORDER_MARK) if self.number == 1 else line

    def _tell(self) -> None:
        position = self._raw.tell()
        self._advance(position - self._told)
        self._told = position


class Row(NamedTuple):
    """A checked row: the texts of its shape's columns."""

    line: int
    shape: Shape
    values: list[str | None]


def read_records(file: SourceFile, target: Target, advance: Callable[[int], None]) -> Iterator[Row | Problem]:
    """Yield the rows and the problems of `file` in the order of its lines; `advance` hears of the bytes read."""
    lines = Lines(file.path, advance)
    try:
        with lines:
            yield from _read_csv(lines, target) if file.is_csv else _read_jsonl(lines, target)
    except UnreadableError as ex:
        yield Problem(lines.number + 1, str(ex))


def _read_jsonl(lines: Lines, target: Target) -> Iterator[Row | Problem]:
    for raw in lines:
        if raw.isspace():
            continue
        try:
            yield _json_row(lines.number, raw, target)
        except UnicodeDecodeError:
            yield Problem(lines.number, _NOT_UTF_8)
        except ValueError as ex:
            yield Problem(lines.number, str(ex))


def _json_row(number: int, raw: bytes, target: Target) -> Row:
    text = raw.decode()
    try:
        record = parse_document(text)
    except ValueError as ex:
        raise ValueError(f"broken JSON: {ex}") from None
    if not isinstance(record, dict):
        raise FieldError("expected a JSON object")
    names = sorted(name for name in record if not name.startswith(PROVENANCE))
    shape = target.shape(names)
    row = Row(number, shape, shape.bind_values([record[name] for name in names]))
    if b"\\ud" in raw.lower():
        # Half a surrogate pair, which JSON can escape and UTF-8 cannot hold.
        for column, value in zip(row.shape.columns, row.values, strict=True):
            if value and any("\ud800" <= letter <= "\udfff" for letter in value):
                raise FieldError(f"{column.field}: expected text that UTF-8 can hold, got {shown(value)}")
    return row


def _read_csv(lines: Lines, target: Target) -> Iterator[Row | Problem]:
    feed = _Feed(lines)
    reader = csv.reader(feed, strict=True)
    try:
        header = next(reader, None)
        if header is None:
            raise FieldError("expected a header line of column names")  # noqa: TRY301  # one handler makes the problem
        if feed.take_damage():
            raise FieldError(_NOT_UTF_8)  # noqa: TRY301  # one handler makes the problem
        fields = _Fields(header, target)
    except (FieldError, csv.Error) as ex:
        yield Problem(1, f"{ex}; nothing of this file was read")
        return
    while True:
        first = lines.number + 1
        try:
            cells = next(reader, None)
            if cells is None:
                return
            if feed.take_damage():
                yield Problem(first, _NOT_UTF_8)
            elif cells:
                yield Row(first, fields.shape, fields.shape.bind_texts(fields.pick(cells)))
        except csv.Error as ex:
            yield Problem(first, f"broken CSV: {ex}")
        except FieldError as ex:
            yield Problem(first, str(ex))


class _Fields:
    """A CSV header: its shape, and where the shape's columns stand in a line."""

    def __init__(self, header: Sequence[str], target: Target) -> None:
        """Check the header; raises FieldError."""
        twice = [name for position, name in enumerate(header) if name in header[:position]]
        if twice:
            raise FieldError(f"{twice[0] or '(empty)'}: named twice")
        names = sorted(name for name in header if not name.startswith(PROVENANCE))
        self.shape = target.shape(names)
        self._indexes = [header.index(name) for name in names]
        self._width = len(header)

    def pick(self, cells: Sequence[str]) -> list[str]:
        """Return the cells of the shape's columns; raises FieldError when there are too many or too few cells."""
        if len(cells) != self._width:
            raise FieldError(f"expected {self._width} columns, got {len(cells)}")
        return [cells[index] for index in self._indexes]


class _Feed:
    """Lines as text for the CSV reader; what is not UTF-8 is let through and remembered."""

    def __init__(self, lines: Lines) -> None:
        """Feed from `lines`."""
        self._lines = lines
        self._damaged = False

    def __iter__(self) -> Iterator[str]:
        """Return itself."""
        return self

    def __next__(self) -> str:
        """Return the next line."""
        line = next(self._lines)
        try:
            return line.decode()
        except UnicodeDecodeError:
            self._damaged = True
            return line.decode(errors="replace")

    def take_damage(self) -> bool:
        """Tell whether a line since the last call was not UTF-8."""
        damaged, self._damaged = self._damaged, False
        return damaged
