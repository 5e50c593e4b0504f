"""The specification's queries, run for one tenant and compared row by row with the signals.

Source: docs/specification-notes.md#utc.
"""

from __future__ import annotations

import math
from datetime import timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import select, text

from worker.engine import queries, stage
from worker.signals.registry import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy import Connection, Table, TextClause

    from snapshots.settings import Settings

Row = dict[str, Any]

PATTERNS: Final = ("retry_loop", "step_oscillation", "tool_call_loop", "timeout_cascade")
#: Enough for every row of a test's database: the comparison is with all of them, not with the ten that are served.
EVERY_ROW: Final = 1_000_000
_TOLERANCE: Final = 1e-9
#: Where an average is 0 but for its last bit, relative says nothing.
_ZERO: Final = 1e-12


@cache
def _statement(name: str) -> TextClause:
    return text((Path(__file__).parent / "oracles" / f"{name}.sql").read_text())


def literal(
    conn: Connection, name: str, tenant: str, as_of: datetime, window_start: datetime | None = None
) -> list[Row]:
    """Return what the specification's query finds for one tenant, in its order."""
    binds = {
        "tenant_id": tenant,
        "as_of": as_of,
        "window_start": window_start or as_of - timedelta(hours=24),
        "slow_threshold_ms": 5000,
    }
    statement = _statement(name)
    used = {key: binds[key] for key in statement.compile().params}
    return [dict(row) for row in conn.execute(statement, used).mappings()]


def staged(conn: Connection, signal: str, settings: Settings, as_of: datetime, **overrides: object) -> None:
    """Stage a signal for all tenants, with some of its binds overridden."""
    parameters: Mapping[str, object] = {**SIGNALS[signal].parameters(settings, as_of), **overrides}
    for step in SIGNALS[signal].steps:
        stage.empty(conn, step.stage)
        stage.fill(conn, queries.load(step.query), step.stage, parameters)


def items(conn: Connection, table: Table, tenant: str, **equal: object) -> list[Row]:
    """Return a tenant's staged rows by rank, those alone where the named columns have the given values."""
    wanted = [table.c.tenant_id == tenant, *(table.c[name] == value for name, value in equal.items())]
    ranked = select(table).where(*wanted).order_by(table.c.rank)
    return [dict(row) for row in conn.execute(ranked).mappings()]


def assert_same_rows(ours: list[Row], theirs: list[Row]) -> None:
    """Compare the columns that the specification's query has, in order; numbers by relative tolerance."""
    assert len(ours) == len(theirs), (ours, theirs)
    for mine, expected in zip(ours, theirs, strict=True):
        for name, value in expected.items():
            assert _same(mine[name], value), (name, mine, expected)


def _same(ours: object, theirs: object) -> bool:
    if isinstance(ours, float | Decimal) or isinstance(theirs, float | Decimal):
        if ours is None or theirs is None:
            return ours is theirs
        return math.isclose(float(ours), float(theirs), rel_tol=_TOLERANCE, abs_tol=_ZERO)  # type: ignore[arg-type]  # both are numbers here
    return ours == theirs


def assert_patterns_agree(
    conn: Connection, settings: Settings, tenants: tuple[str, ...], as_of: datetime, window_start: datetime
) -> int:
    """Compare every row of the four patterns, for each tenant, and return how many there were."""
    staged(conn, "patterns", settings, as_of, window_start=window_start, pattern_rows=EVERY_ROW)
    compared = 0
    for tenant in tenants:
        for pattern in PATTERNS:
            theirs = literal(conn, pattern, tenant, as_of, window_start)
            ours = items(conn, stage.stage_pattern_item, tenant, pattern_type=pattern)
            assert_same_rows(ours, theirs)
            compared += len(theirs)
    return compared


def assert_cost_agrees(conn: Connection, settings: Settings, tenants: tuple[str, ...], as_of: datetime) -> int:
    """Compare every agent, for each tenant, and return how many there were."""
    staged(conn, "cost", settings, as_of)
    compared = 0
    for tenant in tenants:
        theirs = literal(conn, "cost", tenant, as_of)
        ours = [row for row in items(conn, stage.stage_cost_item, tenant) if row["run_count"] > 0]
        assert_same_rows(ours, theirs)
        compared += len(theirs)
    return compared


def assert_attention_agrees(conn: Connection, settings: Settings, tenants: tuple[str, ...], as_of: datetime) -> int:
    """Compare every run that qualifies, for each tenant, and return how many there were."""
    staged(conn, "attention", settings, as_of, item_limit=EVERY_ROW)
    compared = 0
    for tenant in tenants:
        theirs = [_zoned(row, as_of) for row in literal(conn, "attention", tenant, as_of)]
        assert_same_rows(items(conn, stage.stage_attention_item, tenant), theirs)
        compared += len(theirs)
    return compared


def _zoned(row: Row, as_of: datetime) -> Row:
    """Return the row with an aware start, where the host's is naive."""
    started_at = row["started_at"]
    naive = started_at is not None and started_at.tzinfo is None
    return {**row, "started_at": started_at.replace(tzinfo=as_of.tzinfo) if naive else started_at}
