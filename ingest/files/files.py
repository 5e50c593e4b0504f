"""The files of a load, and their lines as bytes."""

from __future__ import annotations

import gzip
import io
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from ingest.files.problems import LoadError, UnreadableError
from ingest.files.targets import KEYS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

#: A longer line is no record: the rest of its file is not read. Bytes.
MAX_LINE: Final = 16 * 1024 * 1024
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_LINES_PER_ADVANCE: Final = 1000


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
    if not path.exists():
        raise LoadError(f"{path}: does not exist; expected a folder with {_expected()}")
    try:
        candidates = [path] if path.is_file() else _candidates(path)
    except OSError as ex:
        raise LoadError(f"{path}: cannot be listed: {ex.strerror}") from ex
    base = path.parent if path.is_file() else path
    named = [(each, str(each.relative_to(base)) if is_alone else str(each)) for each in candidates]
    found = [file for candidate, place in named if (file := _recognise(candidate, place)) is not None]
    if not found:
        raise LoadError(f"{path}: holds nothing to load; expected {_expected()}; --format names what else is read")
    return found


def _candidates(folder: Path) -> Sequence[Path]:
    children = sorted(folder.iterdir())
    below = [file for child in children if child.is_dir() for file in sorted(child.iterdir())]
    return [file for file in [*children, *below] if file.is_file()]


def _recognise(path: Path, place: str) -> SourceFile | None:
    table, _, suffix = path.name.partition(".")
    if table not in KEYS or suffix.removesuffix(".gz") not in {"csv", "jsonl"}:
        return None
    return SourceFile(path, table, suffix.startswith("csv"), place)


def _expected() -> str:
    return f"{', '.join(KEYS)} as .jsonl or .csv, optionally .gz"


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
