"""SQL expressions over the target of a load and its staged texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Text, cast, column, func, table, type_coerce
from sqlalchemy.types import UserDefinedType

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, TableClause

    from ingest.files.targets import Column, Target


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
        # A cast to it would drop the offset; the column holds UTC (R4).
        return func.timezone("UTC", cast(value, _SqlType("timestamp with time zone")))
    if one.kind in {"varchar", "text"}:
        return type_coerce(value, Text())
    return cast(value, _SqlType(one.type_name))
