"""Catalogue of schema signals: the parts that every installation has, and those that a database lacks.

`catalogue.json` describes a freshly migrated database, as `catalogue.sql` reads it; a test holds the two together.
"""

from __future__ import annotations

import json
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import text

from snapshots.errors import VisibilityError
from snapshots.source import HOST_TABLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection

#: The role that stands for the owner of a table.
OWNER: Final = "{owner}"
#: The kinds of parts that decide which rows a role sees.
VISIBILITY: Final = ("row security", "policy")
#: The command that makes missing parts again.
REPAIR: Final = "`activity migrate --repair`"
_SHOWN: Final = 5
_READ: Final = "kind, relation, role, name, state"


class Part(NamedTuple):
    """One part of the schema; `repair` is the statement that makes it again, None where none can."""

    kind: str
    relation: str | None
    role: str | None
    name: str
    state: str
    repair: str | None = None

    @property
    def identity(self) -> tuple[str, str]:
        """Return what the part is called."""
        return self.kind, self.name

    @property
    def is_over_host(self) -> bool:
        """Tell whether the part belongs to a view over the host's tables, which `activity detach` removes."""
        return self.relation is not None and self.relation in _host_views()


@lru_cache(maxsize=1)
def expected() -> tuple[Part, ...]:
    """Return the parts of a freshly migrated database."""
    stored = json.loads(resources.files("snapshots").joinpath("catalogue.json").read_text("utf-8"))
    return tuple(Part(*row) for row in stored)


@lru_cache(maxsize=1)
def _host_views() -> frozenset[str | None]:
    return frozenset(part.relation for part in expected() if part.kind == "view" and part.repair is None)


def query(kinds: Sequence[str] = (), columns: str = _READ) -> str:
    """Return the SQL that reads `columns` of the parts of these kinds, all kinds where none is named."""
    source = resources.files("snapshots").joinpath("catalogue.sql").read_text("utf-8")
    head, first, rest = source.partition("\nselect\n")
    selects = (first.lstrip("\n") + rest).split("\nunion all\n")
    wanted = [each for each in selects if not kinds or each.split("'")[1] in kinds]
    # The first SELECT names the columns of all.
    names = "kind, relation, role, name, state, repair"
    return (
        f"{head}\nselect {columns} from (\n" + "\nunion all\n".join(wanted) + f"\n) as part ({names})"
    )  # our own text


def read(conn: Connection, *, with_repair: bool = False) -> list[Part]:
    """Return the parts that a database has."""
    columns = f"{_READ}, repair" if with_repair else _READ
    return [Part(*row) for row in conn.exec_driver_sql(query(columns=columns).replace("%", "%%"))]


def missing(found: Iterable[Part]) -> list[Part]:
    """Return the expected parts that are absent or differ; a detached host's views are not expected."""
    known = {part.identity: part.state for part in found}
    is_detached = ("detached", "signals.detachment") in known
    return [
        part
        for part in expected()
        if known.get(part.identity) != part.state and not (is_detached and part.is_over_host)
    ]


def strange_policies(found: Iterable[Part]) -> list[Part]:
    """Return the policies on tables of ours that no migration made: they hide rows, or show another tenant's."""
    known = {part.identity for part in expected()}
    tables = {part.relation for part in expected() if part.kind == "table"}
    return [p for p in found if p.kind == "policy" and p.relation in tables and p.identity not in known]


def faults(found: Sequence[Part]) -> list[str]:
    """Return what is wrong with the parts of a database, as phrases; nothing where it is whole."""
    present = {part.identity for part in found}
    lacking = [
        f"{part.kind} {part.name} {'differs' if part.identity in present else 'is missing'}" for part in missing(found)
    ]
    return [*lacking, *(f"policy {part.name} is not ours" for part in strange_policies(found))]


def as_sentence(found: Sequence[str]) -> str:
    """Return faults as one sentence that names the command which repairs them."""
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return f"schema signals is damaged: {', '.join(found[:_SHOWN])}{more}; run {REPAIR}"


def check(conn: Connection) -> None:
    """Raise VisibilityError naming what is wrong, where a part of the schema is missing or rows could be hidden."""
    found = faults(read(conn))
    if found:
        raise VisibilityError(as_sentence(found))
    check_source(conn)


def hidden_source(role: str | None = None) -> str:
    """Return the SQL that names the host's tables whose row-level security hides rows from those who read them.

    They are read by the owner of the views, and by `role` itself where one is named. A permissive policy with the
    condition `true` hides nothing, unless a restrictive one stands beside it.
    """
    other = f"union all select to_regrole('{role}')" if role else ""
    return f"""
select distinct format('%I.%I', namespace.nspname, relation.relname) as name, pg_get_userbyid(reader.oid) as reader
from {HOST_TABLES} as host
inner join pg_catalog.pg_class as relation on relation.oid = host.relation
inner join pg_catalog.pg_namespace as namespace on namespace.oid = relation.relnamespace
inner join pg_catalog.pg_class as seen on seen.oid = to_regclass('signals.' || host.source)
cross join lateral (select seen.relowner as oid {other}) as reader
where
    relation.relrowsecurity
    and not (pg_has_role(reader.oid, relation.relowner, 'usage') and not relation.relforcerowsecurity)
    and not exists (
        select 1 from pg_catalog.pg_roles as strong
        where strong.oid = reader.oid and (strong.rolsuper or strong.rolbypassrls)
    )
    and not coalesce((
        select bool_and(policy.polpermissive) and bool_or(pg_get_expr(policy.polqual, policy.polrelid) = 'true')
        from pg_catalog.pg_policy as policy
        where
            policy.polrelid = relation.oid
            and policy.polcmd in ('r', '*')
            and exists (
                select 1 from unnest(policy.polroles) as member
                where member = 0 or pg_has_role(reader.oid, member, 'usage')
            )
    ), false)
"""  # noqa: S608  # names of ours


def source_faults(conn: Connection, role: str | None = None) -> list[str]:
    """Return the host's tables whose rows are hidden from the views, or from `role` itself, as phrases."""
    rows = conn.execute(text(hidden_source(role)))
    return [f"row-level security of {row.name} hides rows from {row.reader}" for row in rows]


def check_source(conn: Connection, role: str | None = None) -> None:
    """Raise VisibilityError naming the host's tables whose rows are hidden from the views, or from `role` itself."""
    found = source_faults(conn, role)
    if found:
        raise VisibilityError(source_sentence(found))


def source_sentence(found: Sequence[str]) -> str:
    """Return what keeps a role from the host's rows, and what to do about it."""
    return f"{', '.join(found)}; give that role BYPASSRLS, or a policy of the table with the condition true"
