"""What other tools export: a record to a line, rows of CSV, or all records in one JSON document."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from ingest.assembly.spans import SpanError
from ingest.exports.reading import Place
from ingest.files.files import Lines
from ingest.files.problems import Problem, UnreadableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from ingest.assembly.spans import Span

    Record = dict[str, Any]
    Convert = Callable[[Record, int], Iterable[Span]]

#: A document that is one JSON value is read whole; a larger one is to be written a record to a line. Bytes.
MAX_DOCUMENT: Final = 64 * 1024 * 1024
TRACE_DIGITS: Final = 32
SPAN_DIGITS: Final = 16
_HEX: Final = re.compile(r"[0-9a-f]+", re.ASCII)
_ID_CHARACTERS: Final = 256
_MICROSECONDS: Final = 1_000_000


def read_export(path: Path, now_ns: int, advance: Callable[[int], None], convert: Convert) -> Iterator[Place | Problem]:
    """Yield the spans and the problems of an exported file; `convert` makes the spans of a record."""
    lines = Lines(path, advance)
    try:
        with lines:
            for number, value in _values(lines, path):
                yield from _spans(number, value, now_ns, convert)
    except UnreadableError as ex:
        yield Problem(lines.number + 1, str(ex))


def _values(lines: Lines, path: Path) -> Iterator[tuple[int, object]]:
    """Yield JSON values, or rows, with their lines; a value that is none is a SpanError."""
    name = path.name.removesuffix(".gz")
    if name.endswith(".csv"):
        yield from _rows(lines)
    elif name.endswith(".json"):
        yield 1, _parsed(_whole(lines))
    else:
        yield from ((lines.number, _parsed(raw)) for raw in lines if not raw.isspace())


def _rows(lines: Lines) -> Iterator[tuple[int, object]]:
    reader = csv.DictReader(raw.decode("utf-8", "replace") for raw in lines)
    try:
        for row in reader:
            yield lines.number, {name: value for name, value in row.items() if name and value}
    except csv.Error as ex:
        yield lines.number, SpanError(f"broken CSV: {ex}; nothing of this file was read from here on")


def _whole(lines: Lines) -> bytes:
    kept = bytearray()
    for raw in lines:
        kept += raw
        if len(kept) > MAX_DOCUMENT:
            raise UnreadableError(f"a document larger than {MAX_DOCUMENT} bytes; write a record to a line (.jsonl)")
    return bytes(kept)


def _parsed(raw: bytes) -> object:
    try:
        return json.loads(raw.decode())
    except UnicodeDecodeError:
        return SpanError("not UTF-8")
    except RecursionError:
        return SpanError("broken JSON: nested too deeply")
    except ValueError as ex:
        return SpanError(f"broken JSON: {ex}")


def _spans(number: int, value: object, now_ns: int, convert: Convert) -> Iterator[Place | Problem]:
    for record in _records(value):
        if isinstance(record, SpanError):
            yield Problem(number, str(record))
        elif not isinstance(record, dict):
            yield Problem(number, "expected a JSON object")
        else:
            yield from _converted(number, record, now_ns, convert)


def _records(value: object) -> Iterator[object]:
    """Yield the records of a value: the answer of an API holds them under `data`."""
    if isinstance(value, dict) and isinstance(value.get("data"), list):
        value = value["data"]
    yield from value if isinstance(value, list) else [value]


def _converted(number: int, record: Record, now_ns: int, convert: Convert) -> Iterator[Place | Problem]:
    try:
        for span in convert(record, now_ns):
            yield Place(number, span)
    except SpanError as ex:
        yield Problem(number, str(ex))


def hexadecimal(record: Record, name: str, digits: int) -> str:
    """Return an id as OpenTelemetry has them; one of another form becomes the beginning of its SHA-256.

    Raises SpanError where there is none.
    """
    value = record.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= _ID_CHARACTERS:
        raise SpanError(f"{name}: expected an id of 1 to {_ID_CHARACTERS} characters")
    plain = value.lower().replace("-", "")
    if len(plain) == digits and _HEX.fullmatch(plain) and set(plain) != {"0"}:
        return plain
    return hashlib.sha256(value.encode("utf-8", "replace")).hexdigest()[:digits]


def nanoseconds(record: Record, name: str) -> int:
    """Return an instant of a record in nanoseconds since 1970; one without an offset is in UTC.

    Raises SpanError naming it.
    """
    value = record.get(name)
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            # What a data frame writes as JSON: milliseconds.
            return int(value * _MICROSECONDS)
        moment = datetime.fromisoformat(str(value))
        aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        return round(aware.timestamp() * _MICROSECONDS) * 1000
    except (ValueError, OverflowError):
        raise SpanError(f"{name}: expected a time like 2026-01-17T12:00:00Z") from None


def document(record: Record, name: str) -> Record:
    """Return a member that is an object, also where a row of CSV holds it as text; empty where there is none."""
    value = record.get(name)
    if isinstance(value, str):
        value = _parsed(value.encode("utf-8", "replace"))
    return value if isinstance(value, dict) else {}
