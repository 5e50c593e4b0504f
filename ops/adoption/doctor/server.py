"""The server itself: version, clock, connections, rights, and what state our schema is in."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from migrations import runner
from migrations.roles import GROUPS
from ops.adoption.doctor.findings import Finding
from snapshots import catalogue
from snapshots.signals import DETACHED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Row

#: The major versions that are supported: 14 lacks nothing, and 18 is the newest that was tested.
OLDEST: Final = 14
NEWEST: Final = 18
_SKEW_S: Final = 5.0
_FREE_CONNECTIONS: Final = 20

_SERVER: Final = text("""
select
    current_database() as database,
    current_setting('server_version_num')::int / 10000 as version,
    current_setting('server_version') as version_words,
    extract(epoch from clock_timestamp())::float8 as clock,
    pg_is_in_recovery() as is_standby,
    current_setting('default_transaction_read_only')::boolean as is_read_only,
    pg_encoding_to_char(encoding) as encoding,
    has_database_privilege(current_database(), 'create') as may_create,
    current_setting('max_connections')::int
        - current_setting('superuser_reserved_connections')::int
        - (select count(*) from pg_stat_activity where backend_type = 'client backend')::int as free_connections,
    current_setting('max_locks_per_transaction')::int as locks,
    current_setting('max_worker_processes')::int as worker_processes,
    (select rolcreaterole or rolsuper from pg_roles where rolname = current_user) as may_create_roles,
    (select count(*) from pg_roles where rolname = any(:groups)) as groups,
    current_user as role
from pg_database where datname = current_database()
""")
_INSTALLED: Final = text("select to_regclass('signals.alembic_version') is not null")
_REVISION: Final = text("select version_num from signals.alembic_version")
_READABLE: Final = text("select has_schema_privilege('signals', 'usage')")


def findings(conn: Connection) -> Iterator[Finding]:
    """Yield what the server's settings and this role's rights allow."""
    before = time.time()
    row = conn.execute(_SERVER, {"groups": list(GROUPS.values())}).one()
    yield _version(row)
    yield _clock(row.clock, before, time.time())
    yield from _state(row)
    yield from _rights(row)
    yield _connections(row)


def revision(conn: Connection) -> str | None:
    """Return the revision of our schema, or None where there is none."""
    if not conn.execute(_INSTALLED).scalar_one() or not conn.execute(_READABLE).scalar_one():
        return None
    found: str | None = conn.execute(_REVISION).scalar_one_or_none()
    return found


def schema_finding(found: str | None) -> Finding:
    """Return what state our schema is in."""
    if found is None:
        return Finding("schema", "note", "not installed", "", "`activity migrate` installs it")
    if found == DETACHED:
        return Finding("schema", "suspicious", "detached", "nothing is refreshed", "`activity attach`")
    if found != runner.head():
        advice = "run `activity migrate` of this version"
        return Finding("schema", "suspicious", f"at {found}, and this version needs {runner.head()}", "", advice)
    return Finding("schema", "ok", f"at {found}")


def catalogue_findings(conn: Connection, found: str | None) -> Iterator[Finding]:
    """Yield what is missing of our schema, or hidden from it; a schema of another revision is not judged."""
    if found not in {runner.head(), DETACHED}:
        return
    faults = catalogue.faults(catalogue.read(conn))
    if faults:
        effect = "rows could be hidden; the read layer answers 503"
        yield Finding("schema.parts", "blocked", ", ".join(faults), effect, f"run {catalogue.REPAIR}")
    else:
        yield Finding("schema.parts", "ok", f"all {len(catalogue.expected())} are there")
    for fault in catalogue.source_faults(conn):
        advice = "give that role BYPASSRLS, or a policy of the table with the condition true"
        yield Finding("rights.rows", "blocked", fault, "tenants could go missing from every signal", advice)


def _version(row: Row[tuple[object, ...]]) -> Finding:
    found = f"PostgreSQL {row.version_words}, database {row.database}, role {row.role}"
    if row.version < OLDEST:
        return Finding("server.version", "blocked", found, "", f"upgrade to {OLDEST} or newer")
    if row.version > NEWEST:
        return Finding("server.version", "note", found, f"newer than {NEWEST}, the last one that was tested")
    return Finding("server.version", "ok", f"{found}; no extension is needed")


def _clock(clock: float, before: float, after: float) -> Finding:
    skew = max(before - clock, clock - after, 0.0)
    if skew > _SKEW_S:
        found = f"the server's clock and this machine's differ by {skew:.0f} s"
        return Finding("server.clock", "suspicious", found, "ages and expiry are wrong by as much", "set both by NTP")
    return Finding("server.clock", "ok", "agrees with this machine's")


def _state(row: Row[tuple[object, ...]]) -> Iterator[Finding]:
    if row.is_standby or row.is_read_only:
        found = "is a standby" if row.is_standby else "default_transaction_read_only is on"
        yield Finding("server.writable", "blocked", found, "nothing can be installed or published", "name the primary")
    if row.encoding != "UTF8":
        advice = "names that the encoding cannot hold fail the row; a database in UTF8 holds all"
        yield Finding("server.encoding", "suspicious", f"the database is in {row.encoding}", "", advice)


def _rights(row: Row[tuple[object, ...]]) -> Iterator[Finding]:
    if not row.may_create:
        advice = f"GRANT CREATE ON DATABASE to {row.role}, for the migration"
        yield Finding("rights.schema", "suspicious", f"{row.role} may not create schema signals", "", advice)
    if row.groups < len(GROUPS) and not row.may_create_roles:
        commands = tuple(f"CREATE ROLE {group} NOLOGIN" for group in GROUPS.values())
        found = f"{row.role} may not create roles, and ours are not all there"
        yield Finding("rights.roles", "suspicious", found, "", "have a role with CREATEROLE run", commands)


def _connections(row: Row[tuple[object, ...]]) -> Finding:
    words = f"{row.free_connections} connections free, {row.locks} locks per transaction"
    if row.free_connections < _FREE_CONNECTIONS:
        effect = "a worker takes two per process, the read layer up to two per thread"
        return Finding("server.connections", "suspicious", words, effect, "raise max_connections, or pool the readers")
    return Finding("server.connections", "ok", words)
