"""Records of CSV and JSONL files, checked against their table: each line becomes a row or a problem."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Final, NamedTuple

from ingest.files.files import MAX_LINE, Lines
from ingest.files.problems import FieldError, Problem, UnreadableError, shown
from ingest.files.targets import PROVENANCE
from ingest.files.values import parse_document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ingest.files.files import SourceFile
    from ingest.files.targets import Shape, Target

_NOT_UTF_8: Final = "not UTF-8"
# The module's own limit of 128 KiB is too small for a trace as JSON; a quote that never closes ends here.
csv.field_size_limit(MAX_LINE)


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
    record = _json_object(raw)
    names = sorted(name for name in record if not name.startswith(PROVENANCE))
    shape = target.shape(names)
    row = Row(number, shape, shape.bind_values([record[name] for name in names]))
    if b"\\ud" in raw.lower():
        _check_surrogates(row)
    return row


def _json_object(raw: bytes) -> dict[str, object]:
    text = raw.decode()
    try:
        record = parse_document(text)
    except ValueError as ex:
        raise ValueError(f"broken JSON: {ex}") from None
    if not isinstance(record, dict):
        raise FieldError("expected a JSON object")
    return record


def _check_surrogates(row: Row) -> None:
    """Refuse half a surrogate pair, which JSON can escape and UTF-8 cannot hold."""
    for column, value in zip(row.shape.columns, row.values, strict=True):
        if value and any("\ud800" <= letter <= "\udfff" for letter in value):
            raise FieldError(f"{column.field}: expected text that UTF-8 can hold, got {shown(value)}")


def _read_csv(lines: Lines, target: Target) -> Iterator[Row | Problem]:
    feed = _Feed(lines)
    reader = csv.reader(feed, strict=True)
    try:
        fields = _read_header(feed, reader, target)
    except (FieldError, csv.Error) as ex:
        yield Problem(1, f"{ex}; nothing of this file was read")
        return
    yield from _csv_rows(lines, feed, reader, fields)


def _read_header(feed: _Feed, reader: Iterator[list[str]], target: Target) -> _Fields:
    header = next(reader, None)
    if header is None:
        raise FieldError("expected a header line of column names")
    if feed.take_damage():
        raise FieldError(_NOT_UTF_8)
    return _Fields(header, target)


def _csv_rows(lines: Lines, feed: _Feed, reader: Iterator[list[str]], fields: _Fields) -> Iterator[Row | Problem]:
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
