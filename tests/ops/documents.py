"""Fenced blocks of the documents."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[2]
DOCUMENTS: Final = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
#: A fence of any length, indented or not, and the language that it names.
_FENCE: Final = re.compile(r"^[ >]*(`{3,}|~{3,}) *(.*)$")
#: Beginnings of the blocks of text that hold no command.
_NO_COMMANDS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT=", "refresh of a shard ", "risk: 0.35 x 1 ")


def blocks(document: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the language and the lines of each fenced block, whatever fence it has; lines without their indentation."""
    language, fence, lines = "", "", list[str]()
    for line in document.read_text().splitlines():
        found = _FENCE.match(line)
        if found and not fence:
            fence, language, lines = found[1], found[2].strip(), []
        elif found and found[1].startswith(fence) and not found[2]:
            yield language, lines
            fence = ""
        elif fence:
            lines.append(line.strip())
    assert not fence, f"{document.name}: a block is not closed"


def commands(document: Path) -> list[str]:
    """Return the lines of the document's shell blocks."""
    return [line for language, lines in blocks(document) for line in lines if language == "sh" and line]


def documented(document: Path) -> list[str]:
    """Return the commands in the document's blocks of text, each in one line."""
    found = ["\n".join(lines) for language, lines in blocks(document) if language == "text"]
    joined = "\n".join(text for text in found if not text.startswith(_NO_COMMANDS)).replace("\\\n", " ")
    return [line for line in joined.splitlines() if line and not line.startswith("...")]


def words_of(line: str) -> list[str]:
    """Return the words of a command, without what it says of itself."""
    return shlex.split(line, comments=True)
