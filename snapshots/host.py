"""A host's tables as the catalogue has them, under the mapping that is in force: what views, triggers, indexes name.

Every name that goes into a statement is one that the catalogue holds, quoted here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from snapshots import host_mapping as mappings
from snapshots import host_sources
from snapshots.errors import SchemaMismatchError
from snapshots.host_mapping import Absent, Constant
from snapshots.host_sources import NUMBER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection

    from snapshots.host_mapping import Field, Place, SourceMapping
    from snapshots.host_sources import Column, Table

#: A domain counts as what it is made of, and each enumeration as `enum`.
_COLUMNS: Final = text("""
select
    pg_class.relkind as kind,
    pg_attribute.attname as name,
    case when coalesce(base.typtype, own.typtype) = 'e' then 'enum' else coalesce(base.typname, own.typname) end as type
from pg_catalog.pg_class
inner join pg_catalog.pg_namespace on pg_namespace.oid = pg_class.relnamespace
inner join pg_catalog.pg_attribute
    on pg_attribute.attrelid = pg_class.oid and pg_attribute.attnum > 0 and not pg_attribute.attisdropped
inner join pg_catalog.pg_type as own on own.oid = pg_attribute.atttypid
left join pg_catalog.pg_type as base on own.typtype = 'd' and base.oid = own.typbasetype
where
    pg_namespace.nspname = :schema
    and pg_class.relname = :table
    and pg_class.relkind in ('r', 'p', 'v', 'm', 'f')
""")
#: The names of ours that PostgreSQL reads as words of its own where they stand alone.
_WORDS: Final = frozenset({"timestamp"})
#: A numeric as a double: too small is 0, too large is not finite. The cast alone would raise an error.
_DOUBLE: Final = (
    "case when {value} between -1e308 and 1e308"
    " then cast(case when {value} >= 1e-307 or {value} <= -1e-307 then {value} else 0 end as double precision)"
    " else cast(case when {value} > 0 then 'Infinity' when {value} < 0 then '-Infinity' end as double precision) end"
)
_PLAIN: Final = frozenset(
    {host_sources.SCHEMA, *host_sources.TABLES, *(c for t in host_sources.TABLES.values() for c in t.columns)}
)


@dataclass(frozen=True, slots=True)
class Found:
    """A relation of the catalogue: its kind (as pg_class has it), and the type of each of its columns."""

    kind: str
    types: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Source:
    """A source table of a host: where it is, and how each of our columns is said there."""

    table: Table
    place: Place
    found: Found | None

    @property
    def relation(self) -> str:
        """Return the table's qualified name, quoted."""
        return f"{quoted(self.place.schema)}.{quoted(self.place.table)}"

    def field(self, name: str) -> Field:
        """Return what stands for our column: an optional one that the host lacks is absent."""
        one = self.place.columns.get(name, name)
        is_missing = isinstance(one, str) and self.found is not None and one not in self.found.types
        return Absent() if is_missing and self.table.columns[name].is_optional else one

    def has(self, name: str) -> bool:
        """Tell whether our column is a column there, and not one value for every row."""
        return isinstance(self.field(name), str)

    def value(self, name: str, row: str | None = None) -> str:
        """Return our column as an expression over a row of the host's, as it is: `row` names the row."""
        one, column = self.field(name), self.table.columns[name]
        if isinstance(one, Constant):
            return column.kind.quote(one.value)
        if isinstance(one, Absent):
            return f"cast(null as {column.kind.sql_type})"
        return f"{row}.{quoted(one)}" if row else quoted(one)

    def converted(self, name: str, row: str | None = None) -> str:
        """Return our column as an expression of a type that will do."""
        value, column = self.value(name, row), self.table.columns[name]
        if not self.is_cast(name):
            return value
        if column.kind is NUMBER and self.host_type(name) == "numeric":
            return _DOUBLE.format(value=value)
        return f"cast({value} as {column.kind.sql_type})"

    def host_type(self, name: str) -> str | None:
        """Return the type of the host's column; None where there is none."""
        one = self.field(name)
        return self.found.types.get(one) if self.found is not None and isinstance(one, str) else None

    def is_cast(self, name: str) -> bool:
        """Tell whether the host's column is of a type that a view has to cast: no index of the host's serves it."""
        host_type = self.host_type(name)
        return host_type is not None and host_type not in self.table.columns[name].kind.fits

    def faults(self) -> Sequence[str]:
        """Return what the host lacks of what we read, as phrases; nothing where all is there."""
        if self.found is None:
            return [f"table {self.relation}"]
        wrong = (self._fault(column, self.found) for column in self.table.columns.values())
        return [phrase for phrase in wrong if phrase is not None]

    def _fault(self, column: Column, found: Found) -> str | None:
        one = self.field(column.name)
        if not isinstance(one, str):
            return None
        if one not in found.types:
            return f"column {one} of {self.relation}"
        return None

    def misfits(self) -> Sequence[str]:
        """Return each column whose type neither fits nor may be cast, with the types that would do."""
        if self.found is None:
            return []
        wrong = (self._misfit(column, self.found) for column in self.table.columns.values())
        return [phrase for phrase in wrong if phrase is not None]

    def _misfit(self, column: Column, found: Found) -> str | None:
        one = self.field(column.name)
        host_type = found.types.get(one) if isinstance(one, str) else None
        wanted = column.kind.fits | (frozenset() if column.is_exact else column.kind.castable)
        if host_type is None or host_type in wanted:
            return None
        return (
            f"{self.table.name}.{column.name}: column {one} of {self.relation} is of type {host_type}, expected"
            f" {' or '.join(sorted(wanted))}; map the table to a view of yours that casts it"
        )


def read(conn: Connection, mapping: SourceMapping | None = None) -> Mapping[str, Source]:
    """Return the source tables by our names, as `mapping` or the one in force has them."""
    known = mapping or mappings.read(conn)
    return {
        name: Source(table, known.places[name], find(conn, known.places[name]))
        for name, table in host_sources.TABLES.items()
    }


def check(conn: Connection, mapping: SourceMapping) -> None:
    """Raise SchemaMismatchError naming each table and column of a mapping that the host lacks or that cannot be read.

    Tables that the mapping leaves where a host at 094 has them are made by our own migrations where they are absent;
    steps refer to their traces, so those two are there together or not at all.
    """
    found = read(conn, mapping)
    wrong: list[str] = []
    for name, source in found.items():
        is_made = source.found is None and not mapping.moves(name) and not source.place.columns
        is_made = is_made and not (name == "aos_trace_steps" and mapping.moves("aos_traces"))
        if not is_made:
            wrong += [f"the host has no {phrase}" for phrase in source.faults()] + list(source.misfits())
    if wrong:
        raise SchemaMismatchError(f"mapping: {'; '.join(wrong)}")


def quoted(name: str) -> str:
    """Return a name as a statement holds it."""
    if name in _PLAIN and name not in _WORDS:
        return name
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def find(conn: Connection, place: Place) -> Found | None:
    """Return a relation of the catalogue, or None where there is none."""
    rows = conn.execute(_COLUMNS, {"schema": place.schema, "table": place.table}).all()
    return Found(rows[0].kind, {row.name: row.type for row in rows}) if rows else None
