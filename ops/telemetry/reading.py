"""The files of a load of telemetry, as spans: OTLP requests line by line, or what another tool exported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from ops.loading.files import Lines
from ops.loading.problems import LoadError, Problem, UnreadableError
from ops.telemetry import otlp
from ops.telemetry.otlp import TooManySpansError, UnreadableRequestError
from ops.telemetry.spans import Span, SpanError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

_SUFFIXES: Final = (".json", ".jsonl", ".ndjson")


class Place(NamedTuple):
    """A span with the line that it was read from."""

    line: int
    span: Span


def find_files(path: Path, suffixes: Sequence[str] = _SUFFIXES) -> list[Path]:
    """Return the files to load from `path`, a folder or one file, by name.

    Raises LoadError when there is none.
    """
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
        found = otlp.read_json(raw, now_ns)
    except (UnreadableRequestError, TooManySpansError) as ex:
        yield Problem(number, str(ex))
        return
    for position, each in enumerate(found, start=1):
        if isinstance(each, SpanError):
            yield Problem(number, f"span {position}: {each}")
        else:
            yield Place(number, each)
