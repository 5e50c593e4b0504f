"""Target tables of a load, as the catalog describes them: a host's columns may differ from ours."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from ingest.files.report import FieldError, LoadError, shown
from ingest.files.values import check_of, text_of
from snapshots import host

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import Connection, RowMapping

    from ingest.files.values import Check

#: The tables in the order in which they are loaded, each with the fields of its key.
KEYS: Final[Mapping[str, Sequence[str]]] = {
    "runs": ("run_id",),
    "aos_traces": ("trace_id",),
    "aos_trace_steps": ("trace_id", "step_index"),
}
#: Fields with this prefix say where a row comes from; they are no columns.
PROVENANCE: Final = "x_"
_RENAMED: Final = {("runs", "id"): "run_id"}
_VARCHAR_HEADER: Final = 4

_COLUMNS: Final = text("""
select
    a.attname as name,
    format_type(a.atttypid, null) as type_name,
    coalesce(base.typname, own.typname) as kind,
    coalesce(nullif(a.atttypmod, -1), own.typtypmod) as modifier,
    a.attnotnull or own.typnotnull as is_not_null,
    a.atthasdef or a.attidentity <> '' or own.typdefault is not null as has_default
from pg_attribute as a
inner join pg_type as own on own.oid = a.atttypid
left join pg_type as base on base.oid = own.typbasetype
where a.attrelid = to_regclass(:relation) and a.attnum > 0 and not a.attisdropped
    and a.attgenerated = '' and a.attidentity <> 'a'
order by a.attnum
""")


@dataclass(frozen=True, slots=True)
class Column:
    """A column: `field` is its name in files; a value that `is_not_null` excludes is refused."""

    field: str
    name: str
    type_name: str
    kind: str
    is_not_null: bool
    has_default: bool
    check: Check

    @property
    def is_required(self) -> bool:
        """Tell whether every row must name it."""
        return self.is_not_null and not self.has_default


@dataclass(frozen=True, slots=True)
class Shape:
    """The columns that a row names; the others take the table's defaults. `positions` are theirs in the table."""

    number: int
    columns: Sequence[Column]
    positions: Sequence[int]

    def bind_texts(self, cells: Sequence[str]) -> list[str | None]:
        """Return the values of the texts `cells`, an empty one being NULL.

        Raises FieldError naming each field whose value is not what its column holds.
        """
        try:
            return [
                column.check(cell) if cell else _null(column) for column, cell in zip(self.columns, cells, strict=True)
            ]
        except ValueError:
            raise self._explain([cell or None for cell in cells]) from None

    def bind_values(self, values: Sequence[object]) -> list[str | None]:
        """Return JSON or Python `values` as texts; raises as `bind_texts` does."""
        try:
            return [_bind(column, value) for column, value in zip(self.columns, values, strict=True)]
        except ValueError:
            raise self._explain(values) from None

    def _explain(self, values: Sequence[object]) -> FieldError:
        found = []
        for column, value in zip(self.columns, values, strict=True):
            try:
                _bind(column, value)
            except ValueError as ex:
                found.append(f"{column.field}: expected {ex}, got {'NULL' if value is None else shown(value)}")
        return FieldError("; ".join(found))


@dataclass(frozen=True, slots=True)
class Target:
    """A table, with the shapes that rows for it have had so far."""

    table: str
    columns: Sequence[Column]
    host_schema: str
    host_table: str
    _by_field: dict[str, int]
    shapes: list[Shape] = field(default_factory=list)
    _by_fields: dict[tuple[str, ...], Shape] = field(default_factory=dict)

    @property
    def keys(self) -> list[int]:
        """Return the positions of the columns of the key."""
        return [self._by_field[name] for name in KEYS[self.table]]

    def has(self, field: str) -> bool:
        """Tell whether there is a column of that name in files."""
        return field in self._by_field

    def position(self, field: str) -> int:
        """Return the position of the column of that name in files."""
        return self._by_field[field]

    def shape(self, fields: Iterable[str]) -> Shape:
        """Return the shape of rows with `fields`, whatever their order; its columns follow the fields' alphabet.

        Raises FieldError when a field is unknown, named twice, or missing.
        """
        names = tuple(sorted(name for name in fields if not name.startswith(PROVENANCE)))
        known = self._by_fields.get(names)
        if known is None:
            self._check(names)
            positions = [self._by_field[name] for name in names]
            known = Shape(len(self.shapes), [self.columns[i] for i in positions], positions)
            self.shapes.append(known)
            self._by_fields[names] = known
        return known

    def _check(self, names: Sequence[str]) -> None:
        twice = [name for name, times in Counter(names).items() if times > 1]
        if twice:
            raise FieldError(f"{shown(twice[0])[1:-1]}: named twice")
        unknown = [name for name in names if name not in self._by_field]
        if unknown:
            renamed = _RENAMED.get((self.table, unknown[0]))
            if renamed:
                hint = f"unknown field; the key of {self.table} is named {renamed} in files"
                raise FieldError(f"{unknown[0]}: {hint}")
            found = ", ".join(shown(name)[1:-1] or "(empty)" for name in unknown)
            hint = f"unknown field; expected columns of {self.table}, or provenance named {PROVENANCE}*"
            raise FieldError(f"{found}: {hint}")
        needed = [column.field for column in self.columns if column.is_required] + list(KEYS[self.table])
        missing = [name for name in dict.fromkeys(needed) if name not in names]
        if missing:
            raise FieldError(f"{', '.join(missing)}: missing; {self.table} requires a value")


def read_targets(conn: Connection) -> dict[str, Target]:
    """Return the tables by name, in the order in which they are loaded.

    Raises LoadError when one is missing.
    """
    targets = {}
    for table, source in host.read(conn).items():
        if table not in KEYS:
            continue
        ours = {one: name for name in source.table.columns if isinstance(one := source.field(name), str)}
        rows = conn.execute(_COLUMNS, {"relation": source.relation}).mappings()
        columns = [_column(table, row, ours) for row in rows]
        by_field = {column.field: position for position, column in enumerate(columns)}
        missing = [key for key in KEYS[table] if key not in by_field]
        if missing:
            raise LoadError(f"{source.relation}: no table with {', '.join(missing)} there; run `activity migrate`")
        targets[table] = Target(table, columns, source.place.schema, source.place.table, by_field)
    return targets


def _column(table: str, row: RowMapping, ours: Mapping[str, str]) -> Column:
    """Return a column; `ours` are our names by the host's."""
    name, kind, modifier = str(row["name"]), str(row["kind"]), int(str(row["modifier"]))
    limit = modifier - _VARCHAR_HEADER if kind in {"varchar", "bpchar"} and modifier > _VARCHAR_HEADER else None
    plain = ours.get(name, name)
    own = _RENAMED.get((table, plain), plain)
    is_key = own in KEYS[table]
    return Column(
        field=own,
        name=name,
        type_name=str(row["type_name"]),
        kind=kind,
        is_not_null=bool(row["is_not_null"]) or is_key,
        has_default=bool(row["has_default"]) and not is_key,
        check=check_of(kind, limit),
    )


def _null(column: Column) -> str | None:
    """Return NULL where the column takes it."""
    if column.is_not_null:
        raise ValueError("a value")
    return None


def _bind(column: Column, value: object) -> str | None:
    return _null(column) if value is None else column.check(text_of(column.kind, value))
