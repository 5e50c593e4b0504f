"""Objects that a revision creates in a host: only absent ones, recorded, so that only these are dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import sqlalchemy as sa
from alembic import op

from migrations import indexes
from migrations.statements import run_one
from snapshots import host_mapping
from snapshots.tables import created_object

if TYPE_CHECKING:
    from collections.abc import Sequence

#: How long a statement of a revision waits for a lock, and holds up those behind it.
LOCK_TIMEOUT: Final = "10s"

_DROPS: Final = {"index": "drop index concurrently if exists", "view": "drop view", "table": "drop table"}


def exists(name: str) -> bool:
    """Tell whether a relation of this qualified name exists."""
    found = sa.text("select to_regclass(:name) is not null")
    return bool(op.get_bind().execute(found, {"name": name}).scalar_one())


def create(kind: str, name: str, ddl: str, revision: str) -> bool:
    """Create a table or view unless a relation of that name exists; tell whether it was created."""
    if exists(name) or _is_elsewhere(name):
        return False
    op.execute(ddl)
    record(kind, name, revision)
    return True


def _is_elsewhere(name: str) -> bool:
    """Tell whether a host has its own for it under another name; `v_runs_o2` is made over our `runs` alone."""
    known, own = host_mapping.read(op.get_bind()), name.rpartition(".")[2].replace("v_runs_o2", "runs")
    return known.moves(own) or bool(known.places[own].columns)


def create_index(name: str, table: str, definition: str, revision: str, *, unique: bool = False) -> None:
    """Build an index without blocking writers, unless there is one of that name; an INVALID one of ours is rebuilt.

    `definition` is what follows the table's name, in our names: a host's own are put in. Where the host has no such
    column, or no table that can be indexed without blocking its writers, none is built. A build that was interrupted
    leaves an INVALID index behind.
    """
    kind = "unique index" if unique else "index"
    place = indexes.placed(op.get_bind(), table, definition)
    if place is None:
        return
    qualified = f"{place.schema}.{name}"
    if _is_invalid(qualified):
        with op.get_context().autocommit_block():
            run_one(op.get_bind(), f"drop index concurrently {qualified}")
    if exists(qualified) or place.is_served(op.get_bind()):
        return
    # Recorded first: the build commits by itself, and one that is interrupted must be known as ours.
    record("index", qualified, revision)
    with op.get_context().autocommit_block():
        # The build waits for transactions that began before it, however long they run; it blocks nobody meanwhile.
        op.execute("set lock_timeout = 0")
        run_one(
            op.get_bind(), f"create {kind} concurrently if not exists {name} on {place.relation} {place.definition}"
        )
        op.execute(f"set lock_timeout = '{LOCK_TIMEOUT}'")


def _is_invalid(name: str) -> bool:
    """Tell whether `name` is an index that was left INVALID, and is ours: a host's own is the host's to mend."""
    invalid = sa.text("select 1 from pg_index where indexrelid = to_regclass(:name) and not indisvalid")
    ours = sa.select(created_object).where(created_object.c.kind == "index", created_object.c.name == name)
    bind = op.get_bind()
    return bind.execute(invalid, {"name": name}).first() is not None and bind.execute(ours).first() is not None


def record(kind: str, name: str, revision: str) -> None:
    """Write down that `revision` created `name`."""
    statement = sa.dialects.postgresql.insert(created_object)
    op.get_bind().execute(
        statement.values(kind=kind, name=name, revision=revision).on_conflict_do_nothing(
            index_elements=["kind", "name"]
        )
    )


def drop_recorded(revision: str) -> None:
    """Drop what `revision` created, newest first, and nothing else."""
    for kind, name in _recorded(revision):
        if kind == "index":
            with op.get_context().autocommit_block():
                # As the build does, it waits for transactions that began before it, and blocks nobody meanwhile.
                op.execute("set lock_timeout = 0")
                run_one(op.get_bind(), f"{_DROPS[kind]} {name}")
                op.execute(f"set lock_timeout = '{LOCK_TIMEOUT}'")
        else:
            run_one(op.get_bind(), f"{_DROPS[kind]} {name}")
        forgotten = created_object.c.kind == kind, created_object.c.name == name
        op.get_bind().execute(created_object.delete().where(*forgotten))


def _recorded(revision: str) -> Sequence[sa.Row[str, str]]:
    statement = sa.select(created_object.c.kind, created_object.c.name).where(created_object.c.revision == revision)
    newest_first = statement.order_by(created_object.c.created_at.desc(), created_object.c.name.desc())
    return op.get_bind().execute(newest_first).all()
