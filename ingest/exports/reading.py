"""Files of a load of telemetry, as spans: OTLP requests line by line, or what another tool exported.

An export holds a record on each line, rows of CSV, or all records in one JSON document.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ingest.files.reading import Lines
from ingest.files.report import LoadError, Problem, UnreadableError
from ingest.otlp import decoding
from ingest.otlp.decoding import TooManySpansError, UnreadableRequestError
from ingest.spans import Span, SpanError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    Record = dict[str, Any]
    Convert = Callable[[Record, int], Iterable[Span]]

_SUFFIXES: Final = (".json", ".jsonl", ".ndjson")

#: Lines that are read before a file counts as one of OTLP with bad lines.
_HELD: Final = 1000
_EXPECTED: Final = (
    'expected a request in JSON on each line, {"resourceSpans": [...]}, as the collector\'s file exporter writes; '
    "a document that spans lines must be put on one; what other tools export has a --format of its own"
)
#: A document that is one JSON value is read whole; a larger one is to be written a record to a line. Bytes.
MAX_DOCUMENT: Final = 64 * 1024 * 1024
TRACE_DIGITS: Final = 32
SPAN_DIGITS: Final = 16
_HEX: Final = re.compile(r"[0-9a-f]+", re.ASCII)
_ID_CHARACTERS: Final = 256
_MICROSECONDS: Final = 1_000_000


class _NoRequest(Problem):
    """A line that is no request at all."""


class Place(NamedTuple):
    """A span with the line that it was read from."""

    line: int
    span: Span


def find_files(paths: Sequence[Path], suffixes: Sequence[str] = _SUFFIXES) -> list[tuple[Path, str]]:
    """Return the files to load from `paths`, each a folder or one file, and how to name each to people.

    They come by name within a folder; a file that is named twice is read once. Raises LoadError where there is none.
    """
    found = {file.resolve(): (file, path) for path in paths for file in _files_of(path, suffixes)}
    return [(file, file.name if len(paths) == 1 else str(file)) for file, _ in found.values()]


def _files_of(path: Path, suffixes: Sequence[str]) -> list[Path]:
    if not path.exists():
        raise LoadError(f"{path}: does not exist; expected a file or a folder of files")
    if path.is_file():
        return [path]
    try:
        files = sorted(each for each in path.iterdir() if each.is_file())
    except OSError as ex:
        raise LoadError(f"{path}: cannot be listed: {ex.strerror}") from ex
    found = [each for each in files if each.name.removesuffix(".gz").endswith(tuple(suffixes))]
    if not found:
        raise LoadError(f"{path}: holds nothing to load; expected files named {', '.join(suffixes)}, optionally .gz")
    return found


def read_otlp(path: Path, now_ns: int, advance: Callable[[int], None]) -> Iterator[Place | Problem]:
    """Yield the spans and the problems of a file of OTLP requests in JSON, one on each line.

    The file exporter of OpenTelemetry's collector writes such files. A file without a single request has one problem,
    which names what was expected.
    """
    found = _otlp_lines(path, now_ns, advance)
    held: list[Place | Problem] = []
    for each in found:
        held.append(each)
        if not isinstance(each, _NoRequest) or len(held) == _HELD:
            yield from held
            yield from found
            return
    for first in (each for each in held[:1] if isinstance(each, Problem)):
        yield Problem(first.line, f"{first.message}; nothing in this file is OTLP: {_EXPECTED}")


def _otlp_lines(path: Path, now_ns: int, advance: Callable[[int], None]) -> Iterator[Place | Problem]:
    lines = Lines(path, advance)
    try:
        with lines:
            for raw in lines:
                if raw.isspace():
                    continue
                try:
                    found = decoding.read_json(raw, now_ns)
                except UnreadableRequestError as ex:
                    yield _NoRequest(lines.number, str(ex))
                    continue
                except TooManySpansError as ex:
                    yield Problem(lines.number, str(ex))
                    continue
                for position, each in enumerate(found, start=1):
                    if isinstance(each, SpanError):
                        yield Problem(lines.number, f"span {position}: {each}")
                    else:
                        yield Place(lines.number, each)
    except UnreadableError as ex:
        yield Problem(lines.number + 1, str(ex))


def read_export(path: Path, now_ns: int, advance: Callable[[int], None], convert: Convert) -> Iterator[Place | Problem]:
    """Yield the spans and the problems of an exported file; `convert` makes the spans of a record."""
    lines = Lines(path, advance)
    try:
        with lines:
            for number, value in _records(lines, path):
                if isinstance(value, SpanError):
                    yield Problem(number, str(value))
                elif not isinstance(value, dict):
                    yield Problem(number, "expected a JSON object")
                else:
                    try:
                        for span in convert(value, now_ns):
                            yield Place(number, span)
                    except SpanError as ex:
                        yield Problem(number, str(ex))
    except UnreadableError as ex:
        yield Problem(lines.number + 1, str(ex))


def _records(lines: Lines, path: Path) -> Iterator[tuple[int, object]]:
    """Yield records with their lines; a record that cannot be read is a SpanError."""
    name = path.name.removesuffix(".gz")
    if name.endswith(".csv"):
        reader = csv.DictReader(raw.decode("utf-8", "replace") for raw in lines)
        try:
            for row in reader:
                yield lines.number, {name: value for name, value in row.items() if name and value}
        except csv.Error as ex:
            yield lines.number, SpanError(f"broken CSV: {ex}; nothing of this file was read from here on")
        return
    if name.endswith(".json"):
        whole = bytearray()
        for raw in lines:
            whole += raw
            if len(whole) > MAX_DOCUMENT:
                raise UnreadableError(f"a document larger than {MAX_DOCUMENT} bytes; write a record to a line (.jsonl)")
        values = iter([(1, _parsed(bytes(whole)))])
    else:
        values = ((lines.number, _parsed(raw)) for raw in lines if not raw.isspace())
    for number, value in values:
        # The answer of an API holds its records under `data`.
        held = value["data"] if isinstance(value, dict) and isinstance(value.get("data"), list) else value
        for record in held if isinstance(held, list) else [held]:
            yield number, record


def _parsed(raw: bytes) -> object:
    try:
        return json.loads(raw.decode())
    except UnicodeDecodeError:
        return SpanError("not UTF-8")
    except RecursionError:
        return SpanError("broken JSON: nested too deeply")
    except ValueError as ex:
        return SpanError(f"broken JSON: {ex}")


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
