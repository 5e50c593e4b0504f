"""Staged rows that can be stored, and should not go unremarked: some are refused, others counted.

A run or trace keeps its tenant: a line that would move one to another tenant, or take it from its own, is refused,
since it would show one tenant's rows to another. A row that belongs to nobody, a word that no rule knows and an instant
without a zone are stored, and counted. Source: R4, R31.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import and_, column, exists, func, or_, select, table, true
from sqlalchemy.dialects.postgresql import distinct_on

from ingest.files.problems import KEPT, Problem, shown
from ingest.files.values import ASSUMED_UTC
from ingest.vocabulary import WORDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import ColumnElement, Connection, Subquery, TableClause

    from ingest.files.staging import Stage

_TENANT: Final = "tenant_id"


def refuse_moves(conn: Connection, stage: Stage) -> tuple[list[tuple[int, Problem]], int]:
    """Take out the staged rows that would change the tenant of their key; the first line that names one decides.

    Returns the first of them, each with the number of its file, and how many there were.
    """
    if not stage.target.has(_TENANT):
        return [], 0
    moving = _moving(stage)
    row = moving.c
    chosen = conn.execute(
        select(row.file, row.line, row.key, row.staged, row.owner).order_by(row.seq).limit(KEPT)
    ).all()
    if not chosen:
        return [], 0
    gone = stage.table.delete().where(stage.table.c.seq.in_(select(moving.c.seq)))
    count = conn.execute(gone).rowcount
    return [(each.file, Problem(each.line, _refusal(each.key, each.staged, each.owner))) for each in chosen], count


def remarks(conn: Connection, stage: Stage) -> dict[str, int]:
    """Return how many staged rows are remarkable, by what is remarkable; nothing where none is."""
    wanted = dict(_remarkable(stage))
    if not wanted:
        return {}
    counted = (func.count().filter(condition) for condition in wanted.values())
    counts = conn.execute(select(*counted).select_from(stage.table)).one()
    return {words: count for words, count in zip(wanted, counts, strict=True) if count}


def _refusal(key: str, staged: str | None, owner: str) -> str:
    name = "NULL" if staged is None else shown(staged)
    return f"{_TENANT}: expected {shown(owner)}, whose {shown(key)} is, got {name}; nothing moves to another tenant"


def _moving(stage: Stage) -> Subquery:
    """Return the staged rows whose tenant is not the one that their key has, in the table or since an earlier line."""
    row, key, staged = stage.table.c, stage.keys()[0], stage.value(stage.target.position(_TENANT))
    known = _stored(stage)
    first = (
        select(key.label("key"), staged.label("tenant"))
        .where(staged != "")
        .ext(distinct_on(key))
        .order_by(key, row.seq)
        .subquery()
    )
    stored_key, stored_tenant = list(known.c)
    owner = func.coalesce(func.nullif(stored_tenant, ""), first.c.tenant)
    joined = stage.table.outerjoin(first, first.c.key == key).outerjoin(known, stored_key == key)
    is_moved = and_(_names(stage, _TENANT), owner.is_not(None), staged.is_distinct_from(owner))
    shown_columns = row.seq, row.file, row.line, key.label("key"), staged.label("staged"), owner.label("owner")
    return select(*shown_columns).select_from(joined).where(is_moved).subquery()


def _stored(stage: Stage) -> TableClause:
    """Return the target as a table of two columns: its key and its tenant."""
    target = stage.target
    names = target.columns[target.keys[0]].name, target.columns[target.position(_TENANT)].name
    return table(target.host_table, *map(column, names), schema=target.host_schema)


def _names(stage: Stage, field: str) -> ColumnElement[bool]:
    """Return whether a staged row names a field: one that it does not name is left as it is."""
    position = stage.target.position(field)
    shapes = [shape.number for shape in stage.target.shapes if position in shape.positions]
    return stage.table.c.shape.in_(shapes)


def _remarkable(stage: Stage) -> Iterator[tuple[str, ColumnElement[bool]]]:
    target = stage.target
    if target.has(_TENANT):
        yield "without a tenant, and so in no answer", _is_nobodys(stage)
    for name, known in WORDS.items():
        if target.table == "runs" and target.has(name):
            value = stage.value(target.position(name))
            yield f"with a {name} that no rule knows (not {', '.join(known)})", value.not_in(known)
    instants = [
        stage.value(each) for each, one in enumerate(target.columns) if one.kind in {"timestamp", "timestamptz"}
    ]
    if instants:
        yield "with a time without a zone, taken as UTC", or_(*(value.endswith(ASSUMED_UTC) for value in instants))


def _is_nobodys(stage: Stage) -> ColumnElement[bool]:
    """Return whether a row is left without a tenant: it names an empty one, or it is new and names none."""
    named, known = _names(stage, _TENANT), _stored(stage)
    key, tenant = stage.keys()[0], stage.value(stage.target.position(_TENANT))
    is_stored = exists(select(true()).select_from(known).where(next(iter(known.c)) == key))
    return or_(and_(named, func.coalesce(tenant, "") == ""), and_(~named, ~is_stored))
