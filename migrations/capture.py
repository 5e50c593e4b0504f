"""Change capture: the triggers on a host's tables that mark what changed, installed only when asked for.

Statement-level with transition tables, so that a statement pays once; ENABLE ALWAYS, so that a session in replica mode
is seen too. Each table is locked for an instant, by itself, and only when its writers let go within the time limit:
creating a trigger waits for the writers of the table, so none is missed. Source: architecture.md "Tables we own".
"""

from __future__ import annotations

import re
from importlib.resources import files
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from psycopg2 import errors
from sqlalchemy import inspect, select, text
from sqlalchemy.exc import DBAPIError

from snapshots.errors import ActivityError
from snapshots.tables import created_object

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection, Engine

#: How long the creation of a table's triggers waits for its writers, and holds up those behind it.
LOCK_TIMEOUT: Final = "3s"

#: The function that marks each table's changes.
TABLES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "public.runs": "signals.mark_runs",
        "public.aos_traces": "signals.mark_traces",
        "public.aos_trace_steps": "signals.mark_steps",
    }
)
#: A writer that waits for us is ended by the server once deadlock_timeout is over, and not before.
_HURRY: Final = text(
    "select set_config('lock_timeout', (cast(setting as integer) / (:tables + 1)) || 'ms', true)"
    " from pg_settings where name = 'deadlock_timeout'"
)
_TRANSITIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "insert": "new table as new_row",
        "update": "old table as old_row new table as new_row",
        "delete": "old table as old_row",
    }
)
#: What a change must touch to count; the columns that a host may lack are left out where it does.
_TRACE_COLUMNS: Final = ("tenant_id", "run_id", "trace_id", "started_at", "is_synthetic", "archived_at")
_COST_COLUMNS: Final = ("tenant_id", "agent_id", "estimated_cost_usd", "started_at", "completed_at", "is_synthetic")
_RUN_COLUMNS: Final = (
    "id",
    "tenant_id",
    "state",
    "status",
    "started_at",
    "completed_at",
    "last_seen_at",
    "risk_level",
    "latency_bucket",
    "evidence_health",
    "policy_violation",
    "incident_count",
    "is_synthetic",
)


def install(engine: Engine) -> None:
    """Create the trigger functions and triggers, or replace them; what is marked already stays marked.

    Raises ActivityError naming the table that is not ours to change, is partitioned, or whose writers do not let go.
    """
    with engine.begin() as conn:
        for table in TABLES:
            _check(conn, table)
        _create_functions(conn)
    for table, function in TABLES.items():
        _attempt(engine, table, [*_drops(table), *_creations(table, function)])


def is_installed(engine: Engine) -> bool:
    """Tell whether every trigger is there, and the functions are those of this version."""
    with engine.connect() as conn:
        names = [trigger_name(table, event) for table in TABLES for event in _TRANSITIONS]
        known = text("select count(*) from pg_trigger where tgname = any(:names) and tgenabled = 'A'")
        if conn.execute(known, {"names": names}).scalar_one() != len(names):
            return False
        bodies = text(
            "select string_agg(prosrc, '' order by proname) from pg_proc"
            " where pronamespace = to_regnamespace('signals') and proname like 'mark\\_%'"
        )
        return bool(conn.execute(bodies).scalar_one() == "".join(body for _, body in sorted(_bodies(conn))))


def captured(conn: Connection) -> list[str]:
    """Return the tables that have some trigger of ours."""
    names = text(
        "select tgrelid::regclass::text from pg_trigger where tgrelid = to_regclass(:table) and tgname = any(:n)"
    )
    return [
        table
        for table in TABLES
        if conn.execute(names, {"table": table, "n": [trigger_name(table, event) for event in _TRANSITIONS]}).first()
    ]


def create(conn: Connection, tables: Sequence[str]) -> None:
    """Create functions, and the triggers of `tables`, in the caller's transaction.

    All tables are locked in less time than a deadlock takes to be noticed, or none: no writer is ended because of us.
    Raises ActivityError naming a table that is partitioned; that writers do not let go is the driver's to say.
    """
    for table in tables:
        _check(conn, table)
    _create_functions(conn)
    conn.execute(_HURRY, {"tables": len(tables)})
    for table in tables:
        conn.exec_driver_sql(f"lock table {table} in share row exclusive mode")
    for table in tables:
        for statement in [*_drops(table), *_creations(table, TABLES[table])]:
            conn.exec_driver_sql(statement)


def is_ours(engine: Engine) -> bool:
    """Tell whether the source tables were created by our migrations: no host has to be asked then."""
    kept = created_object.c.kind == "table", created_object.c.name.in_(TABLES)
    with engine.connect() as conn:
        return len(conn.execute(select(created_object.c.name).where(*kept)).all()) == len(TABLES)


def remove(engine: Engine) -> None:
    """Drop the triggers and their functions; refreshes then read every row, at a slower period."""
    for table in TABLES:
        _attempt(engine, table, _drops(table))
    with engine.begin() as conn:
        drop(conn)


def drop(conn: Connection) -> None:
    """Drop triggers and functions in the caller's transaction."""
    for table, function in TABLES.items():
        if _exists(conn, table):
            for statement in _drops(table):
                conn.exec_driver_sql(statement)
        conn.exec_driver_sql(f"drop function if exists {function}()")


def trigger_name(table: str, event: str) -> str:
    """Return the name of our trigger for an event of a table."""
    return f"signals_{table.rpartition('.')[2]}_{event}"


def _drops(table: str) -> list[str]:
    return [f"drop trigger if exists {trigger_name(table, event)} on {table}" for event in _TRANSITIONS]


def _creations(table: str, function: str) -> list[str]:
    statements = []
    for event, transition in _TRANSITIONS.items():
        name = trigger_name(table, event)
        calls = f"for each statement execute function {function}()"
        statements += [
            f"create trigger {name} after {event} on {table} referencing {transition} {calls}",
            f"alter table {table} enable always trigger {name}",
        ]
    return statements


def _attempt(engine: Engine, table: str, statements: list[str]) -> None:
    """Run the statements of one table in a transaction of their own, or none of them."""
    try:
        with engine.begin() as conn:
            conn.exec_driver_sql(f"set local lock_timeout = '{LOCK_TIMEOUT}'")
            for statement in statements:
                conn.exec_driver_sql(statement)
    except DBAPIError as ex:
        raise ActivityError(f"{table}: {_reason(ex)}") from None


def _reason(ex: DBAPIError) -> str:
    if isinstance(ex.orig, errors.LockNotAvailable):
        return f"its writers did not let go within {LOCK_TIMEOUT}; try again at a quieter moment"
    if isinstance(ex.orig, errors.InsufficientPrivilege):
        return "only the table's owner may create triggers on it; run as a member of that role"
    return (str(ex.orig).strip().splitlines() or ["refused"])[0]


def _check(conn: Connection, table: str) -> None:
    if not _exists(conn, table):
        raise ActivityError(f"{table}: does not exist; run `activity migrate` first")
    kind = text("select relkind = 'p' or relispartition or relhassubclass from pg_class where oid = to_regclass(:name)")
    if conn.execute(kind, {"name": table}).scalar_one():
        raise ActivityError(f"{table}: is partitioned or inherited from, and writes to a part alone would go unseen")


def _exists(conn: Connection, table: str) -> bool:
    return bool(conn.execute(text("select to_regclass(:name) is not null"), {"name": table}).scalar_one())


def _create_functions(conn: Connection) -> None:
    for statement in _source(conn).split(";\n\n"):
        conn.exec_driver_sql(statement.strip().removesuffix(";").replace("%", "%%"))


def _source(conn: Connection) -> str:
    """Return the statements that create the functions, for the columns that this host has."""
    source = files("migrations").joinpath("sql/capture_functions.sql").read_text(encoding="utf-8")
    for word, compared in _comparisons(conn).items():
        source = source.replace("{{" + word + "}}", compared)
    return source


def _bodies(conn: Connection) -> list[tuple[str, str]]:
    """Return the name and the body of each function, as PostgreSQL stores it."""
    return re.findall(r"function signals\.(\w+)\(\) returns.*?\$\$(.*?)\$\$", _source(conn), re.DOTALL)


def _comparisons(conn: Connection) -> dict[str, str]:
    """Return what stands for each word in double braces: the columns to compare, of the old row and of the new."""
    traces = [name for name in _TRACE_COLUMNS if name in _columns(conn, "aos_traces")]
    listed = {"trace": traces, "run": _RUN_COLUMNS, "cost": _COST_COLUMNS}
    return {
        f"{side}_{word}": ", ".join(f"{side}_row.{name}" for name in names)
        for word, names in listed.items()
        for side in ("old", "new")
    }


def _columns(conn: Connection, table: str) -> set[str]:
    return {column["name"] for column in inspect(conn).get_columns(table, schema="public")}
