"""The doctor's visit: one read-only transaction in which no statement takes long."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from sqlalchemy.exc import DBAPIError, OperationalError

from migrations import capture
from ops.adoption.doctor import rows, schema, server
from ops.adoption.doctor.findings import Diagnosis, Finding
from snapshots import database, host
from snapshots import host_mapping as mappings
from snapshots.signals import DETACHED
from worker.engine import capture_trust
from worker.signals.registry import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from sqlalchemy import URL, Connection

    from snapshots.host import Source
    from snapshots.host_mapping import SourceMapping
    from worker.engine.capture_trust import CaptureTrust

#: Milliseconds that a statement may take, and wait for a lock.
TIMEOUT_MS: Final = 10_000
LOCK_TIMEOUT_MS: Final = 500


@contextmanager
def visit(url: URL | str) -> Iterator[Connection]:
    """Yield a connection to a host in a transaction that can change nothing and wait for nobody."""
    engine = database.connect(url, name="activity doctor", read_deadline_s=TIMEOUT_MS / 1000 + 1)
    try:
        with engine.connect() as conn:
            conn.exec_driver_sql("set transaction read only")
            conn.exec_driver_sql(f"set local statement_timeout = {TIMEOUT_MS}")
            conn.exec_driver_sql(f"set local lock_timeout = {LOCK_TIMEOUT_MS}")
            yield conn
            conn.rollback()
    finally:
        engine.dispose()


def examine(url: URL | str, mapping: SourceMapping | None = None) -> Diagnosis:
    """Return what there is to say about the host at `url`; that it cannot be reached is a finding as well."""
    try:
        with visit(url) as conn:
            return diagnose(conn, mapping)
    except OperationalError as ex:
        words = (str(ex.orig).strip().splitlines() or ["no answer"])[0]
        advice = "is ACTIVITY_DATABASE_URL right, and the server up?"
        return Diagnosis([Finding("server.reach", "blocked", words, "", advice)])


def diagnose(conn: Connection, mapping: SourceMapping | None = None) -> Diagnosis:
    """Return what there is to say about a host, as `mapping` or the one that is kept there names it."""
    known = mapping or mappings.read(conn)
    sources = host.read(conn, known)
    revision = server.revision(conn)
    is_installed = revision is not None
    diagnosis = Diagnosis()

    def ask(name: str, section: Callable[[], Iterable[Finding]]) -> None:
        diagnosis.findings += _asked(conn, name, section)

    ask("server", lambda: server.findings(conn))
    ask("schema", lambda: [server.schema_finding(revision), *_captured(conn, revision)])
    ask("catalogue", lambda: server.catalogue_findings(conn, revision))
    ask("tables", lambda: schema.findings(conn, sources, known, installed=is_installed))
    ask("rows", lambda: rows.findings(conn, _readable(sources)))
    return diagnosis


def _asked(conn: Connection, name: str, section: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """Return a section's findings; one that the server refuses or cuts short says so, and the others go on."""
    found: list[Finding] = []
    savepoint = conn.begin_nested()
    try:
        found += section()
    except DBAPIError as ex:
        savepoint.rollback()
        words = (str(ex.orig).strip().splitlines() or ["refused"])[0]
        found.append(Finding(name, "suspicious", f"could not be looked at: {words}", "", "run as the tables' owner"))
    else:
        savepoint.commit()
    return found


def _captured(conn: Connection, revision: str | None) -> list[Finding]:
    if revision in {None, DETACHED}:
        return []
    trusts = {name: capture_trust.read(conn, signal) for name, signal in SIGNALS.items()}
    if any(trust.is_lost for trust in trusts.values()):
        return [_capture_lost(name, trust) for name, trust in trusts.items() if trust.is_lost]
    captured = capture.captured(conn)
    if captured:
        return [Finding("capture", "ok", f"triggers on {', '.join(captured)}")]
    advice = "`activity capture install` creates triggers, for a refresh that costs what changed"
    return [
        Finding("capture", "note", "changes are not captured", "every refresh reads all rows of the windows", advice)
    ]


def _capture_lost(signal: str, trust: CaptureTrust) -> Finding:
    return Finding(
        f"capture.{signal}",
        "suspicious",
        f"capture is installed, but not relied on: {'; '.join(trust.losses)}",
        "every refresh reads all rows of the windows, at the slower period",
        "end what writes past the triggers, then `activity capture install`; or `activity capture remove`",
    )


def _readable(sources: Mapping[str, Source]) -> Mapping[str, Source]:
    """Return the tables whose columns can all be read as they should: the rows of others cannot be asked for."""
    return {name: source for name, source in sources.items() if not source.faults() and not source.misfits()}
