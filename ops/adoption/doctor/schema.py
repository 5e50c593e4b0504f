"""A host's tables as the catalogue has them: columns and types, what keeps capture off, indexes and rights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from migrations import indexes
from migrations.roles import GROUPS
from ops.adoption.doctor.findings import Finding
from snapshots import ingest_rights
from snapshots.signals import INGEST_ROLE, READER_ROLE, WORKER_ROLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sqlalchemy import Connection, Row

    from snapshots.host import Source
    from snapshots.host_mapping import SourceMapping

_RELATION: Final = text("""
select
    pg_class.relkind as kind,
    pg_class.relkind = 'p' or pg_class.relispartition or pg_class.relhassubclass as has_parts,
    pg_class.relpersistence = 'u' as is_unlogged,
    pg_class.relrowsecurity as is_filtered,
    pg_class.relforcerowsecurity as is_forced,
    exists (select from pg_subscription_rel where srrelid = pg_class.oid) as is_subscribed,
    pg_has_role(pg_class.relowner, 'usage') as is_owned,
    pg_get_userbyid(pg_class.relowner) as owner,
    has_table_privilege(pg_class.oid, 'select') as is_readable,
    age(pg_class.relfrozenxid) as age,
    stat.last_analyze is null and stat.last_autoanalyze is null and pg_class.reltuples > 1000 as is_unanalyzed
from pg_class
left join pg_stat_all_tables as stat on stat.relid = pg_class.oid
where pg_class.oid = to_regclass(:relation)
""")
_ROLE: Final = text("""
select
    rolsuper or rolbypassrls as is_unbound,
    array(
        select listed.name from unnest(cast(:relations as text[])) as listed (name)
        where has_table_privilege(pg_roles.oid, to_regclass(listed.name), 'select')
    ) as readable
from pg_roles where rolname = :role
""")
#: Whether this database is one that traces are brought into, as far as we may look: a role is of the whole cluster.
_MAY_LOOK: Final = text("select coalesce(has_table_privilege(to_regclass('signals.ingested_trace'), 'select'), false)")
_HAS_TAKEN_IN: Final = text("select exists (select from signals.ingested_trace)")
_INDEX: Final = text("select indisvalid from pg_index where indexrelid = to_regclass(:name)")


def findings(
    conn: Connection, sources: Mapping[str, Source], mapping: SourceMapping, *, installed: bool
) -> Iterator[Finding]:
    """Yield what the catalogue says of the tables, their indexes, and what our roles may do with them."""
    for source in sources.values():
        yield from _table(conn, source)
    yield from _indexes(conn, mapping, installed=installed)
    relations = [source.relation for source in sources.values() if source.found is not None]
    for role in GROUPS.values():
        yield from _role(conn, role, relations, installed=installed)
    if installed and conn.execute(_MAY_LOOK).scalar_one() and conn.execute(_HAS_TAKEN_IN).scalar_one():
        yield from _receiver(conn, sources)


def _table(conn: Connection, source: Source) -> Iterator[Finding]:
    name = source.table.name
    if source.found is None:
        yield Finding(
            f"{name}.table",
            "note",
            f"no table {source.relation}",
            "`activity migrate` makes it, empty",
            "if the host has it under another name: `activity doctor --propose-mapping FILE`",
        )
        return
    for phrase in source.faults():
        advice = (
            "add it, or map another one, a constant or `{ absent = true }`: `activity doctor --propose-mapping FILE`"
        )
        yield Finding(f"{name}.columns", "blocked", f"no {phrase}", "`activity migrate` fails", advice)
    for phrase in source.misfits():
        yield Finding(f"{name}.types", "blocked", phrase, "queries on it fail or read the whole table")
    yield from _naive(source)
    yield from _relation(source, conn.execute(_RELATION, {"relation": source.relation}).one())


def _naive(source: Source) -> Iterator[Finding]:
    found = source.found.types if source.found is not None else {}
    fields = {name: source.field(name) for name in source.table.columns}
    naive = [name for name, one in fields.items() if isinstance(one, str) and found.get(one) == "timestamp"]
    if naive:
        words = f"{', '.join(naive)}: timestamps without a time zone"
        yield Finding(f"{source.table.name}.zone", "note", words, "read as UTC", "make sure that writers write UTC")


def _relation(source: Source, row: Row[tuple[object, ...]]) -> Iterator[Finding]:
    name, where = source.table.name, source.relation
    if not row.is_readable:
        yield Finding(
            f"{name}.rights", "blocked", f"this role may not read {where}", "", f"grant it, or run as {row.owner}"
        )
    elif not row.is_owned:
        needs = "indexes and triggers can be created by the owner alone"
        yield Finding(
            f"{name}.rights", "suspicious", f"{where} is owned by {row.owner}", needs, f"run as a member of {row.owner}"
        )
    if row.is_filtered and (row.is_forced or not row.is_owned):
        found = f"row-level security of {where} applies to us"
        yield Finding(
            f"{name}.policies",
            "suspicious",
            found,
            "rows that a policy hides are in no answer",
            "give the owner's role a policy that shows all",
        )
    reasons = {
        "is a view": row.kind in {"v", "m"},
        "is a foreign table": row.kind == "f",
        "is partitioned or inherited from": row.has_parts,
        "is fed by a subscription": row.is_subscribed,
    }
    for reason in (words for words, holds in reasons.items() if holds):
        yield Finding(
            f"{name}.capture",
            "note",
            f"{where} {reason}",
            "its changes cannot be captured: refreshes are slower, and read all rows of the windows",
        )
    if row.is_unanalyzed:
        yield Finding(
            f"{name}.statistics",
            "suspicious",
            f"{where} was never analyzed",
            "plans are guesses",
            "analyze it",
            (f"ANALYZE {where}",),
        )


def _indexes(conn: Connection, mapping: SourceMapping, *, installed: bool) -> Iterator[Finding]:
    missing, is_there = [], False
    for name, table, definition in indexes.every():
        place = indexes.placed(conn, table, definition, mapping)
        if place is None:
            continue
        is_there = True
        is_valid = conn.execute(_INDEX, {"name": f"{place.schema}.{name}"}).scalar_one_or_none()
        build = f"CREATE INDEX CONCURRENTLY {name} ON {place.relation} {place.definition}"
        if is_valid is False:
            drop = f"DROP INDEX CONCURRENTLY {place.schema}.{name}"
            yield Finding(
                "indexes",
                "suspicious",
                f"{name} is INVALID: its build was interrupted",
                "it serves nobody",
                "build it anew",
                (drop, build),
            )
        elif is_valid is None and not place.is_served(conn):
            missing.append(build)
    if missing:
        level, advice = ("suspicious", "build them") if installed else ("note", "`activity migrate` builds them")
        yield Finding(
            "indexes", level, f"{len(missing)} indexes are missing", "queries read whole tables", advice, tuple(missing)
        )
    elif is_there:
        yield Finding("indexes", "ok", "every index that the queries need is there")


def _role(conn: Connection, role: str, relations: list[str], *, installed: bool) -> Iterator[Finding]:
    row = conn.execute(_ROLE, {"role": role, "relations": relations}).one_or_none()
    if row is None:
        if installed:
            yield Finding(f"roles.{role}", "blocked", "does not exist", "", "`activity migrate` creates it")
        return
    if row.is_unbound:
        found = "is a superuser or has BYPASSRLS"
        yield Finding(
            f"roles.{role}",
            "suspicious",
            found,
            "tenants are not kept apart",
            f"ALTER ROLE {role} NOSUPERUSER NOBYPASSRLS",
        )
    elif row.readable and role == INGEST_ROLE:
        yield Finding(f"roles.{role}", "ok", "may read and add what `activity receive` brings in, as it has to")
    elif row.readable and role != WORKER_ROLE:
        found = f"may read {', '.join(row.readable)}"
        advice = "revoke it: the views have the rights that they need"
        level = "suspicious" if role == READER_ROLE else "note"
        yield Finding(f"roles.{role}", level, found, "tenants are kept apart by our queries alone", advice)
    else:
        yield Finding(f"roles.{role}", "ok", "has no rights on the host's tables")


def _receiver(conn: Connection, sources: Mapping[str, Source]) -> Iterator[Finding]:
    lacking = ingest_rights.lacking(conn, sources, INGEST_ROLE)
    if lacking:
        yield Finding(
            "rights.receiver",
            "suspicious",
            f"{INGEST_ROLE} may not: {', '.join(lacking)}",
            "`activity receive` keeps what it takes in, and cannot write it",
            "run `activity migrate` with ACTIVITY_INGEST_DATABASE_URL set",
        )
