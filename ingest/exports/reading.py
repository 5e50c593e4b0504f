"""The files of a load of telemetry, as spans: OTLP requests line by line, or what another tool exported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from ingest.assembly.spans import Span, SpanError
from ingest.files.files import Lines
from ingest.files.problems import LoadError, Problem, UnreadableError
from ingest.otlp import decoding
from ingest.otlp.decoding import TooManySpansError, UnreadableRequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

_SUFFIXES: Final = (".json", ".jsonl", ".ndjson")

#: Lines that are looked at before a file counts as one of OTLP with bad lines.
_HELD: Final = 1000
_EXPECTED: Final = (
    'expected a request in JSON on each line, {"resourceSpans": [...]}, as the collector\'s file exporter writes; '
    "a document that spans lines must be put on one; what other tools export has a --format of its own"
)


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
        found = sorted(each for each in path.iterdir() if each.is_file() and _is_named(each.name, suffixes))
    except OSError as ex:
        raise LoadError(f"{path}: cannot be listed: {ex.strerror}") from ex
    if not found:
        raise LoadError(f"{path}: holds nothing to load; expected files named {', '.join(suffixes)}, optionally .gz")
    return found


def _is_named(name: str, suffixes: Sequence[str]) -> bool:
    return name.removesuffix(".gz").endswith(tuple(suffixes))


def read_otlp(path: Path, now_ns: int, advance: Callable[[int], None]) -> Iterator[Place | Problem]:
    """Yield the spans and the problems of a file of OTLP requests in JSON, one on each line.

    The file exporter of OpenTelemetry's collector writes such files.
    """
    yield from _judged(_of_lines(path, now_ns, advance))


def _judged(found: Iterator[Place | Problem]) -> Iterator[Place | Problem]:
    """Yield what was found; of a file without a single request, one problem that says what was expected."""
    held: list[Place | Problem] = []
    for each in found:
        held.append(each)
        if not isinstance(each, _NoRequest) or len(held) == _HELD:
            yield from held
            yield from found
            return
    for first in (each for each in held[:1] if isinstance(each, Problem)):
        yield Problem(first.line, f"{first.message}; nothing in this file is OTLP: {_EXPECTED}")


def _of_lines(path: Path, now_ns: int, advance: Callable[[int], None]) -> Iterator[Place | Problem]:
    lines = Lines(path, advance)
    try:
        with lines:
            for raw in lines:
                if not raw.isspace():
                    yield from _of_line(lines.number, raw, now_ns)
    except UnreadableError as ex:
        yield Problem(lines.number + 1, str(ex))


def _of_line(number: int, raw: bytes, now_ns: int) -> Iterator[Place | Problem]:
    try:
        found = decoding.read_json(raw, now_ns)
    except UnreadableRequestError as ex:
        yield _NoRequest(number, str(ex))
        return
    except TooManySpansError as ex:
        yield Problem(number, str(ex))
        return
    for position, each in enumerate(found, start=1):
        if isinstance(each, SpanError):
            yield Problem(number, f"span {position}: {each}")
        else:
            yield Place(number, each)
