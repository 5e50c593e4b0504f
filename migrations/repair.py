"""Repair of schema signals after a restore that was aborted, or by hand: parts that are missing are made again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from migrations import views
from migrations.objects import LOCK_TIMEOUT
from migrations.statements import run_one
from snapshots import catalogue
from snapshots.errors import ActivityError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection

    from snapshots.catalogue import Part

#: The order in which parts can be made: what others need comes first.
_ORDER: Final = ("sequence", "function", "constraint", "index", "row security", "policy", "trigger", "view", "grant")
_REPLACED: Final = {
    "policy": "drop policy if exists {name}",
    "trigger": "drop trigger if exists {name}",
    "index": "drop index if exists {name}",
}


def repair(conn: Connection) -> list[str]:
    """Make missing parts again in the caller's transaction, and return what was done, one phrase a part.

    Rows are not touched. Raises ActivityError for a table that is missing: a backup alone brings its rows back.
    """
    found = catalogue.read(conn)
    lacking = catalogue.missing(found)
    lost = [part.name for part in lacking if part.kind == "table"]
    if lost:
        raise ActivityError(f"{', '.join(lost)}: missing with all rows; drop schema signals and restore a whole backup")
    conn.exec_driver_sql(f"set local lock_timeout = '{LOCK_TIMEOUT}'")
    present = {part.identity for part in found}
    for part in sorted(lacking, key=_place):
        for statement in _statements(part, is_present=part.identity in present):
            run_one(conn, _filled(conn, statement))
    _make_views(conn, [part for part in lacking if part.kind == "view" and part.identity not in present])
    for part in lacking:
        if part.kind == "grant":
            run_one(conn, _filled(conn, str(part.repair)))
    strange = catalogue.strange_policies(found)
    for part in strange:
        run_one(conn, f"drop policy {part.name}")
    remaining = catalogue.faults(catalogue.read(conn))
    if remaining:
        raise ActivityError(f"could not be repaired: {', '.join(remaining)}; restore a backup")
    return [*(f"made {part.kind} {part.name}" for part in lacking), *(f"dropped policy {p.name}" for p in strange)]


def _place(part: Part) -> tuple[int, bool]:
    """Return where a part stands in the order; primary keys come before the keys that refer to them."""
    return _ORDER.index(part.kind), not part.state.startswith("PRIMARY")


def _statements(part: Part, *, is_present: bool) -> Iterator[str]:
    """Yield what makes a part again, except for grants and the views over the host's tables."""
    if part.kind == "grant":
        return
    if part.kind == "view" and is_present:
        yield f"alter view {part.name} set (security_barrier = {'true' if part.state else 'false'})"
        return
    if part.kind == "constraint" and is_present:
        name, _, table = part.name.partition(" on ")
        yield f"alter table {table} drop constraint {name}"
    elif part.kind in _REPLACED:
        yield _REPLACED[part.kind].format(name=part.name)
    if part.repair is not None:
        yield part.repair


def _make_views(conn: Connection, lacking: Sequence[Part]) -> None:
    names = {part.relation for part in lacking}
    views.create(conn, [view for view in views.ALL if view.name in names])


def _filled(conn: Connection, statement: str) -> str:
    """Return a statement with the owner and the database that this is."""
    owner, database = conn.exec_driver_sql("select quote_ident(current_user), quote_ident(current_database())").one()
    return statement.replace(catalogue.OWNER, owner).replace("{database}", database)
