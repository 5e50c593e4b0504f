"""Change capture: the triggers on a host's tables that mark what changed, installed only when asked for.

Statement-level with transition tables, so that a statement pays once; ENABLE ALWAYS, so that a session in replica mode
is seen too. Each table is locked for an instant, by itself, and only when its writers let go within the time limit:
creating a trigger waits for the writers of the table, so none is missed. Source: docs/architecture.md#tables.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from psycopg2 import errors
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from migrations import trigger_functions
from migrations.statements import run_one
from snapshots import host
from snapshots.errors import ActivityError
from snapshots.tables import SCHEMA, created_object

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection, Engine

    from snapshots.host import Source

#: How long the creation of a table's triggers waits for its writers, and holds up those behind it.
LOCK_TIMEOUT: Final = "3s"

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


def install(engine: Engine) -> None:
    """Create the trigger functions and triggers, or replace them; what is marked already stays marked.

    Raises ActivityError naming the table that is not ours to change, is partitioned, or whose writers do not let go.
    """
    with engine.begin() as conn:
        found = host.read(conn)
        for source in found.values():
            _check(conn, source)
        trigger_functions.create(conn)
    for source in found.values():
        _attempt(engine, source, [*_drops(source), *_creations(source)])


def is_installed(engine: Engine) -> bool:
    """Tell whether every trigger is there, and the functions are those of this version."""
    with engine.connect() as conn:
        found = host.read(conn)
        if any(len(_enabled(conn, source)) < len(_TRANSITIONS) for source in found.values()):
            return False
        bodies = text(
            "select string_agg(prosrc, '' order by proname) from pg_proc"
            " where pronamespace = to_regnamespace('signals') and proname like 'mark\\_%'"
        )
        return bool(conn.execute(bodies).scalar_one() == trigger_functions.bodies(conn))


def captured(conn: Connection) -> list[str]:
    """Return the tables that have some trigger of ours, by our names for them."""
    return [name for name, source in host.read(conn).items() if _triggers(conn, source)]


def places(conn: Connection) -> Mapping[str, str]:
    """Return the qualified name of each source table on this host, by our name for it."""
    return {name: source.relation for name, source in host.read(conn).items()}


def create(conn: Connection, tables: Sequence[str]) -> None:
    """Create functions, and the triggers of `tables`, by our names, in the caller's transaction.

    All tables are locked in less time than a deadlock takes to be noticed, or none: no writer is ended because of us.
    Raises ActivityError naming a table that is partitioned; that writers do not let go is the driver's to say.
    """
    found = [source for name, source in host.read(conn).items() if name in tables]
    for source in found:
        _check(conn, source)
    trigger_functions.create(conn)
    conn.execute(_HURRY, {"tables": len(found)})
    for source in found:
        run_one(conn, f"lock table {source.relation} in share row exclusive mode")
    for source in found:
        for statement in [*_drops(source), *_creations(source)]:
            run_one(conn, statement)


def renew(conn: Connection) -> None:
    """Replace the functions of a host whose changes are captured by those of this version, in the caller's transaction.

    The next refresh notices, and reads every row.
    """
    if captured(conn):
        trigger_functions.create(conn)


def is_ours(engine: Engine) -> bool:
    """Tell whether the source tables were created by our migrations: no host has to be asked then."""
    with engine.connect() as conn:
        names = list(places(conn).values())
        kept = created_object.c.kind == "table", created_object.c.name.in_(names)
        return len(conn.execute(select(created_object.c.name).where(*kept)).all()) == len(names)


def remove(engine: Engine) -> None:
    """Drop the triggers and their functions; refreshes then read every row, at a slower period."""
    with engine.connect() as conn:
        found = host.read(conn)
    for source in found.values():
        if _can_have_triggers(source):
            _attempt(engine, source, _drops(source))
    with engine.begin() as conn:
        drop(conn)


def drop(conn: Connection) -> None:
    """Drop triggers and functions in the caller's transaction."""
    for source in host.read(conn).values():
        for statement in _drops(source) if _can_have_triggers(source) else ():
            run_one(conn, statement)
        conn.exec_driver_sql(f"drop function if exists {SCHEMA}.{source.table.function}()")


def trigger_name(table: str, event: str) -> str:
    """Return the name of our trigger for an event of a table, by our name for it."""
    return f"signals_{table}_{event}"


def _triggers(conn: Connection, source: Source) -> Mapping[str, str]:
    """Return which of our triggers a table has, and how each is enabled."""
    names = [trigger_name(source.table.name, event) for event in _TRANSITIONS]
    known = text(
        "select tgname, tgenabled from pg_trigger where tgrelid = to_regclass(:table) and tgname = any(:names)"
    )
    rows = conn.execute(known, {"table": source.relation, "names": names}).all()
    return {row.tgname: row.tgenabled for row in rows}


def _enabled(conn: Connection, source: Source) -> list[str]:
    return [name for name, how in _triggers(conn, source).items() if how == "A"]


def _can_have_triggers(source: Source) -> bool:
    """Tell whether the table is there and no view; triggers of ours on anything else were never made."""
    return source.found is not None and source.found.kind in {"r", "p"}


def _drops(source: Source) -> list[str]:
    names = (trigger_name(source.table.name, event) for event in _TRANSITIONS)
    return [f"drop trigger if exists {name} on {source.relation}" for name in names]


def _creations(source: Source) -> list[str]:
    statements = []
    for event, transition in _TRANSITIONS.items():
        name = trigger_name(source.table.name, event)
        calls = f"for each statement execute function {SCHEMA}.{source.table.function}()"
        statements += [
            f"create trigger {name} after {event} on {source.relation} referencing {transition} {calls}",
            f"alter table {source.relation} enable always trigger {name}",
        ]
    return statements


def _attempt(engine: Engine, source: Source, statements: list[str]) -> None:
    """Run the statements of one table in a transaction of their own, or none of them."""
    try:
        with engine.begin() as conn:
            conn.exec_driver_sql(f"set local lock_timeout = '{LOCK_TIMEOUT}'")
            for statement in statements:
                run_one(conn, statement)
    except DBAPIError as ex:
        raise ActivityError(f"{source.relation}: {_reason(ex)}") from None


def _reason(ex: DBAPIError) -> str:
    if isinstance(ex.orig, errors.LockNotAvailable):
        return f"its writers did not let go within {LOCK_TIMEOUT}; try again at a quieter moment"
    if isinstance(ex.orig, errors.InsufficientPrivilege):
        return "only the table's owner may create triggers on it; run as a member of that role"
    return (str(ex.orig).strip().splitlines() or ["refused"])[0]


def _check(conn: Connection, source: Source) -> None:
    table, found = source.relation, source.found
    if found is None:
        raise ActivityError(f"{table}: does not exist; run `activity migrate` first")
    if found.kind not in {"r", "p"}:
        raise ActivityError(f"{table}: is no table, and writes to what it reads would go unseen")
    kind = text("select relkind = 'p' or relispartition or relhassubclass from pg_class where oid = to_regclass(:name)")
    if conn.execute(kind, {"name": table}).scalar_one():
        raise ActivityError(f"{table}: is partitioned or inherited from, and writes to a part alone would go unseen")
