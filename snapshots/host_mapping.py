"""A host's own names for the tables and columns that we read: one TOML file, kept in the database once it is in force.

    [runs]
    schema = "platform"
    table = "executions"

    [runs.columns]
    id = "execution_id"                     # a column under another name
    source = { constant = "agent" }         # no column: one value for every row
    policy_draft_count = { absent = true }  # no column: NULL

What a file leaves out is named as a host at 094 names it. The views (migrations.views), the triggers
(migrations.capture) and the indexes of the revisions are written from it, and nothing else knows of it.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from sqlalchemy import delete, func, insert, select

from snapshots import host_sources
from snapshots.errors import ActivityError
from snapshots.tables import source_mapping

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sqlalchemy import Connection

    from snapshots.host_sources import Column

#: Longer names are cut by the server, and would then be another column's.
_MAX_NAME: Final = 63
_FORMS: Final = "a name, { constant = ... } or { absent = true }"


class MappingError(ActivityError):
    """A mapping file says something that cannot be; the message names where."""


@dataclass(frozen=True, slots=True)
class Constant:
    """One value for every row."""

    value: str | float | bool


@dataclass(frozen=True, slots=True)
class Absent:
    """NULL for every row."""


Field = str | Constant | Absent


@dataclass(frozen=True, slots=True)
class Place:
    """Place of a source table, and the host's names of its columns; other columns have our names."""

    schema: str
    table: str
    columns: Mapping[str, Field] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SourceMapping:
    """Place of each source table, by our name for it."""

    places: Mapping[str, Place]

    def moves(self, table: str) -> bool:
        """Tell whether a source table has another name than on a host at 094, or is in another schema."""
        place = self.places[table]
        return (place.schema, place.table) != (host_sources.SCHEMA, table)

    def as_rows(self) -> list[dict[str, object]]:
        """Return what is kept of it: the tables that differ from a host's at 094."""
        return [
            {
                "source": name,
                "host_schema": place.schema,
                "host_table": place.table,
                "columns": {column: _as_document(one) for column, one in place.columns.items()},
            }
            for name, place in self.places.items()
            if place != _plain(name)
        ]


def _plain(table: str) -> Place:
    return Place(host_sources.SCHEMA, table)


#: A host at 094, and our own tables.
UNMAPPED: Final = SourceMapping({name: _plain(name) for name in host_sources.TABLES})


def load(path: Path) -> SourceMapping:
    """Return the mapping in a TOML file. Raises MappingError naming the file and the key."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as ex:
        raise MappingError(f"{path}: cannot be read: {ex.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as ex:
        raise MappingError(f"{path}: no TOML: {ex}") from None
    try:
        return parse(document)
    except MappingError as ex:
        raise MappingError(f"{path}: {ex}") from None


def parse(document: Mapping[str, object]) -> SourceMapping:
    """Return the mapping that a TOML document states. Raises MappingError naming the key and what was expected."""
    _refuse_unknown(document, host_sources.TABLES, "")
    places = {name: _place(name, document.get(name, {})) for name in host_sources.TABLES}
    where = {(place.schema, place.table): name for name, place in places.items()}
    if len(where) < len(places):
        raise MappingError("two source tables are one table of the host; map one of them to a view of yours over it")
    return SourceMapping(places)


def read(conn: Connection) -> SourceMapping:
    """Return the mapping that is in force; without any, a host's at 094."""
    if conn.execute(select(func.to_regclass("signals.source_mapping"))).scalar_one() is None:
        return UNMAPPED
    places = dict(UNMAPPED.places)
    for row in conn.execute(select(source_mapping)):
        columns = {name: _of_document(one) for name, one in row.columns.items()}
        places[row.source] = Place(row.host_schema, row.host_table, columns)
    return SourceMapping(places)


def store(conn: Connection, mapping: SourceMapping) -> None:
    """Put a mapping in force, in the caller's transaction."""
    conn.execute(delete(source_mapping))
    rows = mapping.as_rows()
    if rows:
        conn.execute(insert(source_mapping), rows)


def _place(name: str, value: object) -> Place:
    table = _table(value, name)
    _refuse_unknown(table, ("schema", "table", "columns"), f"{name}.")
    columns = _table(table.get("columns", {}), f"{name}.columns")
    known = host_sources.TABLES[name].columns
    _refuse_unknown(columns, known, f"{name}.columns.")
    fields = {key: _field(known[key], columns[key], f"{name}.columns.{key}") for key in columns}
    return Place(
        _name(table.get("schema", host_sources.SCHEMA), f"{name}.schema"),
        _name(table.get("table", name), f"{name}.table"),
        {key: one for key, one in fields.items() if one != key},
    )


def _field(column: Column, value: object, where: str) -> Field:
    if isinstance(value, str):
        return _name(value, where)
    stated = _table(value, where, expected=_FORMS)
    if stated == {"absent": True}:
        if column.is_key:
            raise MappingError(f"{where}: cannot be absent; expected the name of a column")
        return Absent()
    if set(stated) != {"constant"}:
        raise MappingError(f"{where}: expected {_FORMS}")
    return Constant(_constant(column, stated["constant"], where))


def _constant(column: Column, value: object, where: str) -> str | float | bool:
    wanted = column.kind.constant
    if wanted is None or (column.is_key and column.name != "tenant_id"):
        raise MappingError(f"{where}: cannot be one value for every row; expected the name of a column")
    fits = type(value) is wanted or (wanted is float and type(value) is int)
    if not fits or not isinstance(value, str | int | float):
        raise MappingError(f"{where}: expected a constant of type {column.kind.sql_type}")
    if isinstance(value, str) and ("\0" in value or (column.is_key and not value)):
        raise MappingError(f"{where}: expected text that is not empty")
    return value


def _table(value: object, where: str, expected: str = "a table") -> dict[str, object]:
    if not isinstance(value, dict):
        raise MappingError(f"{where}: expected {expected}")
    return value


def _name(value: object, where: str) -> str:
    if not isinstance(value, str) or not 0 < len(value.encode()) <= _MAX_NAME or "\0" in value:
        raise MappingError(f"{where}: expected a name of 1 to {_MAX_NAME} bytes")
    return value


def _refuse_unknown(found: Mapping[str, object], known: object, prefix: str) -> None:
    names = list(known)  # type: ignore[call-overload]  # every caller passes an iterable of names
    for key in found:
        if key not in names:
            raise MappingError(f"{prefix}{key}: unknown; expected one of {', '.join(names)}")


def _as_document(one: Field) -> object:
    if isinstance(one, Constant):
        return {"constant": one.value}
    return {"absent": True} if isinstance(one, Absent) else one


def _of_document(value: object) -> Field:
    if isinstance(value, dict):
        return Constant(value["constant"]) if "constant" in value else Absent()
    return str(value)
