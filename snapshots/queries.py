"""Query files: loaded from the package, their declared parameters held against the binds they use.

A file starts with a comment block: what it finds, then `reads:`, `grain:` and `params:` (CONTRIBUTING.md).
The block is stripped before SQLAlchemy sees the text, since it reads binds inside comments too.
Source: docs/specification-notes.md#one-instant-per-refresh.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from snapshots.errors import QueryDeclarationError

if TYPE_CHECKING:
    from sqlalchemy import TextClause

_FIELDS: Final = ("reads", "grain", "params")
#: What `params:` says in a file without binds.
_NONE: Final = "none"
#: A SELECT that calls one of these is no function of the tables and `as_of`.
_IMPURE: Final = re.compile(
    r"\b(?:(?:now|random|random_normal|clock_timestamp|statement_timestamp|transaction_timestamp|timeofday"
    r"|gen_random_uuid|nextval|setseed)\s*\(|(?:current_timestamp|current_date|current_time|localtimestamp|localtime)\b)",
    re.IGNORECASE,
)
_WRITES: Final = re.compile(r"\b(?:insert\s+into|update\s+\w|delete\s+from|merge\s+into)", re.IGNORECASE)
_COMMENT_OR_LITERAL: Final = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'", re.DOTALL)
_LITERAL_OR_LAYOUT: Final = re.compile(r"('(?:[^']|'')*')|(?:--[^\n]*|/\*.*?\*/|\s)+", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Query:
    """One query file: what its header claims, and the statement that carries its name into pg_stat_statements."""

    name: str
    finds: str
    reads: tuple[str, ...]
    grain: str
    params: tuple[str, ...]
    text: TextClause

    @property
    def meaning(self) -> str:
        """Return the statement without comments and layout: two queries with the same text compute the same."""
        return _LITERAL_OR_LAYOUT.sub(lambda found: found.group(1) or " ", self.text.text).strip()


def parse(name: str, source: str) -> Query:
    """Return the query that `source` holds.

    Raises QueryDeclarationError when the header is incomplete, when declared parameters and binds differ, and when a
    SELECT asks for the clock or for chance; a statement that publishes may.
    """
    header, body = _split(source)
    finds, fields = _declared(name, header)
    statement = text(f"/* signal:{name} */\n{body}")
    params = _listed(fields["params"])
    _check_binds(name, set(params), set(statement.compile().params))
    _check_purity(name, body)
    return Query(name, finds, _listed(fields["reads"]), fields["grain"], params, statement)


def _split(source: str) -> tuple[list[str], str]:
    """Return the lines of the leading comment block without their dashes, and the rest."""
    lines = source.strip().splitlines()
    length = next((n for n, line in enumerate(lines) if not line.startswith("--")), len(lines))
    return [line.removeprefix("--").strip() for line in lines[:length]], "\n".join(lines[length:]).strip().rstrip(";")


def _declared(name: str, header: list[str]) -> tuple[str, dict[str, str]]:
    """Return the sentence before the fields, and the fields; a line that names no field continues the one above."""
    parts: dict[str, list[str]] = {"finds": []}
    current = "finds"
    for line in header:
        field, colon, rest = line.partition(":")
        current = field if colon and field in _FIELDS else current
        parts.setdefault(current, []).append(rest.strip() if current == field else line)
    texts = {field: " ".join(words).strip() for field, words in parts.items()}
    missing = [field for field in ("finds", *_FIELDS) if not texts.get(field)]
    if missing:
        raise QueryDeclarationError(f"{name}.sql: the header lacks {', '.join(missing)}; expected all of them, filled")
    return texts.pop("finds"), texts


def _listed(field: str) -> tuple[str, ...]:
    return () if field == _NONE else tuple(item.strip() for item in field.split(","))


def _check_binds(name: str, declared: set[str], used: set[str]) -> None:
    unused, undeclared = sorted(declared - used), sorted(used - declared)
    problems = [f"declares {param} without using it" for param in unused]
    problems += [f"uses {param} without declaring it" for param in undeclared]
    if problems:
        raise QueryDeclarationError(f"{name}.sql: {'; '.join(problems)}")


def _check_purity(name: str, body: str) -> None:
    code = _COMMENT_OR_LITERAL.sub(" ", body)
    impure = None if _WRITES.search(code) else _IMPURE.search(code)
    if impure:
        called = impure.group().rstrip("( ")
        raise QueryDeclarationError(f"{name}.sql: uses {called}; expected a function of the tables and the binds")
