"""Kept facts: brought to what a step has found, row by row where they differ, and read back for the next step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import and_, delete, exists, insert, select

from worker.engine import queries, stage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import CTE, ColumnElement, Connection, Table

    from worker.engine.scope import Scope
    from worker.signals.spec import Kept, Keys, Signal, Step


def compute(conn: Connection, signal: Signal, scope: Scope, parameters: Mapping[str, object], *, keep: bool) -> None:
    """Run the steps of `signal` over `scope` into the stage; with `keep`, the kept tables follow.

    What changed must have been noted before. Leaves the answers of the tenants in scope in `stage_content`.
    """
    for step in signal.steps:
        stage.fill(conn, queries.load(step.query), step.stage, parameters)
        if keep and step.kept is not None:
            merge(conn, step.kept, step.stage, scope)
            if scope.extent == "changed":
                _reload(conn, step, step.kept, parameters)


def merge(conn: Connection, kept: Kept, found: Table, scope: Scope) -> None:
    """Make the kept rows in scope equal to those found, and note the keys of each that differs."""
    same = _same_row(kept, found)
    stale = delete(kept.table).where(scope.covers(kept), ~exists().where(same))
    _note(conn, kept.notes, stale.returning(*_noted(kept)).cte("changed"))
    names = [column.name for column in kept.table.columns]
    is_kept = select(kept.table.c[kept.key[0]]).where(scope.covers(kept), same).correlate(found).exists()
    new = insert(kept.table).from_select(names, select(*(found.c[name] for name in names)).where(~is_kept))
    _note(conn, kept.notes, new.returning(*_noted(kept)).cte("changed"))


def _same_row(kept: Kept, found: Table) -> ColumnElement[bool]:
    """Return the condition that a kept row is one that was found; by equality where a join can use it."""
    others = [column.name for column in kept.table.columns if column.name not in kept.key]
    return and_(
        *(kept.table.c[name] == found.c[name] for name in kept.key),
        *(kept.table.c[name].is_not_distinct_from(found.c[name]) for name in others),
    )


def _noted(kept: Kept) -> list[ColumnElement[object]]:
    return [kept.table.c[column.name] for column in kept.notes.table.columns]


def _note(conn: Connection, notes: Keys, changed: CTE) -> None:
    names = [column.name for column in notes.table.columns]
    conn.execute(insert(notes.table).from_select(names, select(*(changed.c[name] for name in names)).distinct()))


def _reload(conn: Connection, step: Step, kept: Kept, parameters: Mapping[str, object]) -> None:
    """Fill the stage with what the next step needs of the kept rows: those of every noted key."""
    conn.execute(delete(step.stage))
    if kept.reload is not None:
        stage.fill(conn, queries.load(kept.reload), step.stage, parameters)
        return
    names = [column.name for column in kept.table.columns]
    rows = select(*(kept.table.c[name] for name in names)).where(kept.notes.among(kept.table))
    conn.execute(insert(step.stage).from_select(names, rows))
