"""A check of SQL and Python texts: where an instant becomes text, the zone is named."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Final

from sqlalchemy import DateTime

from ops.owned_tables import metadata
from snapshots import host_sources
from worker.engine import stage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Table


def _instants() -> frozenset[str]:
    """Return the names of all columns that hold instants, ours and a host's."""
    staged: list[Table] = [
        table for name, table in vars(stage).items() if name.startswith("stage_") and hasattr(table, "c")
    ]
    owned = {
        column.name for table in (*metadata.sorted_tables, *staged) for column in table.c if _is_instant(column.type)
    }
    host = {
        column.name
        for table in host_sources.TABLES.values()
        for column in table.columns.values()
        if column.kind is host_sources.INSTANT
    }
    return frozenset(owned | host)


def _is_instant(kind: object) -> bool:
    return isinstance(kind, DateTime)


INSTANTS: Final = _instants()
#: A column in a SQL text, or a call that returns the present; two are words of SQL unless a relation stands before.
_COLUMN: Final = "|".join(sorted(INSTANTS - {"at", "timestamp"}))
_INSTANT: Final = rf"(?:(?<!as )\b(?:{_COLUMN})\b|\w\.(?:at|timestamp)\b|\b(?:now|clock_timestamp)\(\))"
#: Functions that print what they are given by the session's settings.
_PRINTS: Final = (
    "to_char|to_json|to_jsonb|jsonb?_build_object|jsonb?_build_array|jsonb?_agg|row_to_json|date_trunc|date_part"
    "|concat|concat_ws|format|md5|string_agg|timeofday"
)
_CALL: Final = re.compile(rf"\b(?:{_PRINTS})\s*\(", re.IGNORECASE)
_TO_CHAR: Final = re.compile(r"\bto_char\s*\(", re.IGNORECASE)
_CAST: Final = re.compile(r"\bcast\s*\(", re.IGNORECASE)
_ROW: Final = re.compile(r"\brow_to_json\s*\([^()]*\)(?: as text\))?\s*from\s*\(", re.IGNORECASE)
_BY_SESSION: Final = r"(?:text|varchar|date|time|timestamp|jsonb?)\b"
_ZONED: Final = re.compile(r"at\s+time\s+zone\s+'UTC'|^date_trunc.*, 'UTC'\)$", re.IGNORECASE)
_ZONABLE: Final = re.compile(r"\b(?:to_char|date_trunc)\s*\(", re.IGNORECASE)
_LITERAL: Final = re.compile(r"'(?:[^']|'')*'")
_COMMENT: Final = re.compile(r"--[^\n]*")
_NO_TEXT: Final = re.compile(r"\bisfinite\s*\([^()]*\)", re.IGNORECASE)


def faults_of_sql(text: str) -> list[str]:
    """Return the places of a SQL text that print or cut an instant by the session's zone."""
    text = _COMMENT.sub("", text)
    found = [call for call in _calls(text, _TO_CHAR) if not _ZONED.search(call)]
    bare = _LITERAL.sub("''", _NO_TEXT.sub("", _without_zoned(text)))
    found += [call for call in _calls(bare, _CALL) if re.search(_INSTANT, call)]
    found += [row for row in _calls(bare, _ROW) if re.search(_INSTANT, row)]
    found += [
        call
        for call in _calls(bare, _CAST)
        if re.search(rf"{_INSTANT}\s+as\s+{_BY_SESSION}(?!tz)", call, re.IGNORECASE)
    ]
    for pattern in (
        rf"{_INSTANT}\s*::\s*{_BY_SESSION}(?!tz)",
        rf"\|\|\s*(?:\w+\.)?{_INSTANT}",
        rf"{_INSTANT}\s*\|\|",
        rf"\bextract\s*\(\s*(?!epoch)\w+\s+from[^()]*{_INSTANT}",
    ):
        found += [match[0] for match in re.finditer(pattern, bare, re.IGNORECASE)]
    return sorted(set(found))


def _without_zoned(text: str) -> str:
    """Return the text without the calls that name the zone."""
    for call in _calls(text, _ZONABLE):
        if _ZONED.search(call):
            text = text.replace(call, "''")
    return text


def _calls(text: str, head: re.Pattern[str]) -> Iterator[str]:
    """Yield what `head` begins, up to the parenthesis that closes what its last one opened."""
    for match in head.finditer(text):
        depth, end = 1, match.end()
        while depth and end < len(text):
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
        yield text[match.start() : end]


def texts_of(path: Path) -> Iterator[str]:
    """Yield the strings of a module; an f-string is one, with a word in the place of each value."""
    tree = ast.parse(path.read_text())
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "word" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
            yield node.value


def faults_of_python(source: str) -> list[str]:
    """Return the places of a module that print an instant without saying that it is in UTC, and SQL calls that do."""
    return [ast.unparse(node) for node in ast.walk(ast.parse(source)) if _is_fault(node)]


def _is_fault(node: ast.AST) -> bool:
    if isinstance(node, ast.FormattedValue):
        return _is_local_format(node)
    if not isinstance(node, ast.Call):
        return False
    if isinstance(node.func, ast.Attribute):
        if isinstance(node.func.value, ast.Name) and node.func.value.id == "func":
            return bool(re.fullmatch(_PRINTS, node.func.attr)) and any(_is_named_instant(each) for each in node.args)
        return node.func.attr in {"isoformat", "strftime", "date", "ctime"} and not _is_in_utc(node.func.value)
    if not isinstance(node.func, ast.Name) or not node.args:
        return False
    is_cast = node.func.id == "cast" and ast.unparse(node.args[-1]) == "Text"
    return (is_cast or node.func.id in {"str", "repr"}) and _is_named_instant(node.args[0])


def _is_local_format(node: ast.FormattedValue) -> bool:
    if node.format_spec is not None and re.search(r"%\w", ast.unparse(node.format_spec)):
        return not _is_in_utc(node.value)
    return _is_named_instant(node.value)


def _is_named_instant(node: ast.expr) -> bool:
    last = re.search(r"(\w+)['\"\]]*$", ast.unparse(node))
    return last is not None and last[1] in INSTANTS


def _is_in_utc(node: ast.expr) -> bool:
    return bool(re.search(r"in_utc\(.*\)$|astimezone\(UTC\)$|datetime\.now\(UTC\)$|, UTC\)$", ast.unparse(node)))
