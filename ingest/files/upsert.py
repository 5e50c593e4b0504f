"""Upserts into the host's tables: from texts, as the columns' types, and without moving a row to another tenant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Boolean, Text, and_, cast, column, func, literal_column, or_, table, tuple_, type_coerce
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.types import UserDefinedType

from snapshots.errors import sqlstate

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Select, TableClause
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.sql.dml import ReturningInsert

    from ingest.files.targets import Column, Shape, Target

#: Classes of SQLSTATE that concern a row: data exception, constraint, trigger's exception, view's check.
_ABOUT_A_ROW: Final = ("22", "23", "P0", "44")


class _SqlType(UserDefinedType[object]):
    """A type of the server's by its own name, as the catalog spells it."""

    cache_ok = True

    def __init__(self, name: str) -> None:
        self.name = name

    def get_col_spec(self, **_: object) -> str:
        return self.name


def clause_of(target: Target) -> TableClause:
    """Return the host's table with its columns."""
    return table(target.host_table, *(column(one.name) for one in target.columns), schema=target.host_schema)


def as_stored(one: Column, value: ColumnElement[str]) -> ColumnElement[object]:
    """Return a text as its column's type, whose length is left to the assignment: a cast would cut."""
    if one.kind == "timestamp":
        # A cast to it would drop the offset; the column holds UTC.
        return func.timezone("UTC", cast(value, _SqlType("timestamp with time zone")))
    if one.kind in {"varchar", "text"}:
        return type_coerce(value, Text())
    return cast(value, _SqlType(one.type_name))


def upsert(
    target: Target, shape: Shape, rows: Select[*tuple[Any, ...]], *, replaces: bool
) -> ReturningInsert[tuple[bool]]:
    """Return the statement that inserts `rows`, whose columns are those of `shape`; it returns a row per row written.

    A row whose key exists is updated where it differs, if the statement `replaces`, and stays as it is otherwise. It
    never moves to another tenant: the statement itself checks, since an earlier look-up may be out of date.
    """
    host_table = clause_of(target)
    keys = [target.columns[position].name for position in target.keys]
    others = [one for one in shape.columns if one.name not in keys]
    statement = insert(host_table).from_select([one.name for one in shape.columns], rows)
    is_new = literal_column("(xmax = 0)", Boolean).label("is_new")
    if not others or not replaces:
        return statement.on_conflict_do_nothing(index_elements=keys).returning(is_new)
    before = tuple_(*(_comparable(one, host_table.c[one.name]) for one in others))
    after = tuple_(*(_comparable(one, statement.excluded[one.name]) for one in others))
    conditions = [before.is_distinct_from(after)]
    for one in shape.columns:
        if one.field == "tenant_id":
            # A row without a tenant may be claimed.
            owner = func.nullif(host_table.c[one.name], "")
            conditions.append(or_(owner.is_(None), owner == statement.excluded[one.name]))
    return statement.on_conflict_do_update(
        index_elements=keys,
        set_={one.name: statement.excluded[one.name] for one in others},
        where=and_(*conditions),
    ).returning(is_new)


def refusal_of(ex: DBAPIError) -> str | None:
    """Return the server's objection to a row, None for an error that concerns no row."""
    if not (sqlstate(ex) or "").startswith(_ABOUT_A_ROW):
        return None
    diagnosis = getattr(ex.orig, "diag", None)
    return getattr(diagnosis, "message_primary", None) or type(ex.orig).__name__


def _comparable(one: Column, value: ColumnElement[object]) -> ColumnElement[object]:
    return cast(value, JSONB) if one.kind == "json" else value
