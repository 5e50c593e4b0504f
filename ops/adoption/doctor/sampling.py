"""A sample of a host's rows, bounded in blocks and rows, counted by conditions: harmless on a table of any size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from snapshots.host import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection

    from snapshots.host import Source

#: Blocks and rows that are read of a table at most.
BLOCKS: Final = 1000
ROWS: Final = 20_000

_SIZE: Final = text(
    "select greatest(reltuples, 0) as rows, pg_relation_size(oid) / current_setting('block_size')::int as blocks"
    " from pg_class where oid = to_regclass(:relation)"
)


@dataclass(frozen=True, slots=True)
class Sample:
    """Counts of a sample: rows read, rows estimated, and rows that fulfil each condition, by its text."""

    rows: int
    of_about: int
    is_whole: bool
    counts: Mapping[str, int]

    def described(self) -> str:
        """Return what was looked at, in words."""
        return f"all {self.rows} rows" if self.is_whole else f"{self.rows} rows of about {self.of_about:,}"


def take(conn: Connection, source: Source, conditions: Sequence[str]) -> Sample:
    """Count the rows of a sample of a table by conditions over our columns, in one statement."""
    size = conn.execute(_SIZE, {"relation": source.relation}).one()
    clause = ""
    if size.blocks > BLOCKS and source.found is not None and source.found.kind in {"r", "m"}:
        # Whole blocks, always the same ones: what is not chosen is not read.
        clause = f" tablesample system ({100 * BLOCKS / size.blocks:.6f}) repeatable (1)"
    columns = ", ".join(f"{source.converted(name)} as {quoted(name)}" for name in source.table.columns)
    counted = ", ".join(f"count(*) filter (where {condition})" for condition in conditions)
    row = conn.exec_driver_sql(
        (
            f"with sampled as materialized (select {columns} from {source.relation}{clause} limit {ROWS})"  # noqa: S608  # quoted names, and conditions of the contract
            f" select count(*), {counted} from sampled"
        ).replace("%", "%%")
    ).one()
    is_whole = not clause and row[0] < ROWS
    return Sample(row[0], max(int(size.rows), row[0]), is_whole, dict(zip(conditions, row[1:], strict=True)))
