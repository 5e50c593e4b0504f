"""A host's writes in several sessions, as random tests make them: few rows, close to every edge, and hostile."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from hypothesis import strategies as st
from psycopg2.errors import ForeignKeyViolation, LockNotAvailable, QueryCanceled, UniqueViolation
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

TENANTS: Final = ("acme", "beta")

#: Few of each, so that the writes of a history meet.
runs = st.sampled_from(["run-0", "run-1", "run-2", "run-3"])
traces = st.sampled_from(["trace-0", "trace-1"])
tenants = st.sampled_from([*TENANTS, *TENANTS, ""])
run_tenants = st.sampled_from([*TENANTS, *TENANTS, "", None])


def _distances(*seconds: int) -> st.SearchStrategy[timedelta]:
    return st.sampled_from(seconds).map(lambda distance: timedelta(seconds=distance))


_DAY: Final = 86_400
#: Distances from the present: well inside a window, on the edges and beside them, and ahead of time.
starts = _distances(-60, -3_600, -3_600, -_DAY + 60, -_DAY, -_DAY - 1, -_DAY // 2, 1, 60, 3_600, -2 * _DAY)
ends = _distances(-60, -3_600, -_DAY + 60, -_DAY, -_DAY - 60, -2 * _DAY, -3 * _DAY, -7 * _DAY + 60, -7 * _DAY - 1, 60)
beats = _distances(0, -60, -_DAY + 60, -_DAY, -_DAY - 60)
#: How far the clock goes between two refreshes.
strides = _distances(0, 1, 30, 60, 60, 61, 61, 299, 300, 3_600, 3_601, 43_200, 80_000, _DAY, 6 * _DAY)
_LOOKS: Final = {
    "tenant_id": run_tenants,
    "agent_id": st.sampled_from([None, "unknown", "a", "a"]),
    "state": st.sampled_from(["LIVE", "COMPLETED", "COMPLETED"]),
    "status": st.sampled_from(["running", "succeeded"]),
    "started_at": st.one_of(st.none(), starts, starts, starts),
    "completed_at": st.one_of(st.none(), ends, ends, ends),
    "last_seen_at": st.one_of(st.none(), beats),
    "estimated_cost_usd": st.sampled_from([None, 0.5, 1, 4.2, 100, "NaN"]),
    "risk_level": st.sampled_from(["NORMAL", "VIOLATED", "AT_RISK"]),
    "latency_bucket": st.sampled_from(["OK", "SLOW"]),
    "policy_violation": st.booleans(),
    "is_synthetic": st.booleans(),
}
run_values = st.one_of(st.fixed_dictionaries(_LOOKS), st.fixed_dictionaries({}, optional=_LOOKS))
trace_values = st.fixed_dictionaries(
    {},
    optional={
        "tenant_id": tenants,
        "run_id": runs,
        "started_at": starts,
        "archived_at": st.one_of(st.none(), st.just(timedelta())),
        "status": st.sampled_from(["running", "done"]),
    },
)
step_values = st.fixed_dictionaries(
    {
        "skill_id": st.sampled_from([None, "a", "a", "b"]),
        "retry_count": st.sampled_from([None, 0, 1, 3, 3]),
        "duration_ms": st.sampled_from([None, 10, 5001, 9000, 9000, "NaN"]),
        "archived_at": st.sampled_from([None, None, None, timedelta()]),
    }
)

#: What a history starts with: rows that the signals find.
_PLAIN: Final[dict[str, Any]] = {"tenant_id": "acme", "agent_id": "a", "state": "COMPLETED", "risk_level": "AT_RISK"}
#: Runs of one agent that are about to cross an edge: of the current day, of the baseline, of their own start.
_BESIDE_EDGES: Final = [
    {**_PLAIN, "estimated_cost_usd": cost, **{name: timedelta(seconds=seconds) for name, seconds in moments.items()}}
    for cost, moments in (
        (1, {"started_at": -3_600, "completed_at": -60}),
        (7, {"started_at": -2 * _DAY, "completed_at": -7 * _DAY + 60}),
        (3, {"started_at": -2 * _DAY, "completed_at": -_DAY + 60}),
        (5, {"started_at": -_DAY + 60, "completed_at": -60}),
        (9, {"started_at": 60, "completed_at": 60}),
    )
]
_ABOUT_TO_FALL_SILENT: Final = {**_PLAIN, "state": "LIVE", "last_seen_at": timedelta(seconds=60 - _DAY)}
first_run = st.one_of(
    st.fixed_dictionaries({**_LOOKS, "tenant_id": st.sampled_from(TENANTS)}),
    st.sampled_from([*_BESIDE_EDGES, _ABOUT_TO_FALL_SILENT]),
)
first_trace = st.tuples(
    st.fixed_dictionaries({"tenant_id": st.sampled_from(TENANTS), "run_id": runs, "started_at": starts}),
    st.lists(step_values, min_size=3, max_size=6),
)

#: What a session meets because others write at the same time; its statement is then undone and forgotten.
_COLLISIONS: Final = (LockNotAvailable, UniqueViolation, ForeignKeyViolation, QueryCanceled)


def write(conn: Connection, statement: str, **binds: object) -> None:
    """Run one write in the session's transaction; a collision with another session undoes it alone."""
    savepoint = conn.begin_nested()
    try:
        conn.execute(text(statement), binds)
    except DBAPIError as ex:
        savepoint.rollback()
        if not isinstance(ex.orig, _COLLISIONS):
            raise
    else:
        savepoint.commit()


def at(now: datetime, values: dict[str, Any]) -> dict[str, Any]:
    """Return the values with distances turned into instants."""
    return {name: now + value if isinstance(value, timedelta) else value for name, value in values.items()}


def upsert(conn: Connection, table: str, key: dict[str, object], values: dict[str, Any]) -> None:
    """Insert the row of `key`, or change the columns that `values` names."""
    row = {**key, **values}
    changes = ", ".join(f"{name} = excluded.{name}" for name in values) or "status = excluded.status"
    columns, binds = ", ".join(row), ", ".join(f":{name}" for name in row)
    conflict = f"on conflict ({', '.join(key)}) do update set {changes}"
    write(conn, f"insert into {table} ({columns}) values ({binds}) {conflict}", **row)  # noqa: S608  # names are ours
