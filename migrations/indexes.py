"""The definitions of our indexes, put into a host's names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from snapshots import host, host_mapping

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from snapshots.host import Source
    from snapshots.host_mapping import SourceMapping

_WORD: Final = re.compile(r"[a-z_]+")
#: The words of a definition that are no columns.
_GRAMMAR: Final = frozenset(["where", "is", "not", "null", "and", "include", "asc", "desc", "nulls", "first", "last"])
_KEYS: Final = re.compile(r"\(([^)]*)\)")
#: The keys of the valid indexes of a table over all its rows, in their order.
_SERVED: Final = text("""
select array(
    select cast(pg_attribute.attname as text)
    from unnest(cast(pg_index.indkey as smallint[])) with ordinality as key (number, position)
    inner join pg_catalog.pg_attribute
        on pg_attribute.attrelid = pg_index.indrelid and pg_attribute.attnum = key.number
    where key.position <= pg_index.indnkeyatts
    order by key.position
) as keys
from pg_catalog.pg_index
inner join pg_catalog.pg_class on pg_class.oid = pg_index.indexrelid
inner join pg_catalog.pg_am on pg_am.oid = pg_class.relam
where
    pg_index.indrelid = to_regclass(:relation)
    and pg_index.indisvalid
    and pg_index.indpred is null
    and pg_index.indexprs is null
    and pg_am.amname = 'btree'
""")


@dataclass(frozen=True, slots=True)
class IndexPlace:
    """An index on a host: `relation` is its table, `schema` where both are, and `definition` is in the host's names."""

    source: Source
    is_mapped: bool
    ours: str

    @property
    def schema(self) -> str:
        """Return the schema of the table and of the index, quoted."""
        return host.quoted(self.source.place.schema)

    @property
    def relation(self) -> str:
        """Return the table's qualified name, quoted."""
        return self.source.relation

    @property
    def definition(self) -> str:
        """Return what follows the table's name."""
        return _WORD.sub(lambda word: self._in_host(word[0]), self.ours)

    def is_served(self, conn: Connection) -> bool:
        """Tell whether a host whose names differ has an index of its own that serves as well.

        A host at 094 names its indexes as we do (docs/specification-notes.md#host-schema).
        """
        if not self.is_mapped or not _KEYS.fullmatch(self.ours):
            return False
        wanted = [self.source.field(name) for name in _WORD.findall(self.ours) if name in self.source.table.columns]
        found = conn.execute(_SERVED, {"relation": self.relation}).scalars().all()
        return any(keys[: len(wanted)] == wanted for keys in found)

    def _in_host(self, word: str) -> str:
        return self.source.value(word) if word in self.source.table.columns else word


#: The revisions that build indexes on a host's tables, each with a list `INDEXES`.
_REVISIONS: Final = (
    "086_runs_o2_schema",
    "095_activity_signal_indexes",
    "097_activity_source_views",
    "098_incremental_refresh",
    "099_read_layer",
)


def every() -> Iterator[tuple[str, str, str]]:
    """Yield the name, table and definition, in our names, of each index that the revisions build."""
    for revision in _REVISIONS:
        yield from import_module(f"migrations.versions.{revision}").INDEXES


def placed(conn: Connection, table: str, definition: str, wanted: SourceMapping | None = None) -> IndexPlace | None:
    """Return an index of `public.<our name>` as a host has it; None where the host cannot have it.

    That is one over a column that the host lacks or that a view has to cast, and any index of a view, of a foreign
    table or of a partitioned one, whose indexes cannot be built without blocking its writers.
    """
    name = table.rpartition(".")[2]
    known = wanted or host_mapping.read(conn)
    source = host.read(conn, known)[name]
    if source.found is None or source.found.kind not in {"r", "m"}:
        return None
    is_mapped = known.moves(name) or bool(known.places[name].columns)
    used = [word for word in _WORD.findall(definition) if word not in _GRAMMAR]
    ours = [word for word in used if word in source.table.columns]
    if (is_mapped and len(ours) < len(used)) or any(not source.has(word) or source.is_cast(word) for word in ours):
        return None
    return IndexPlace(source, is_mapped, definition)
