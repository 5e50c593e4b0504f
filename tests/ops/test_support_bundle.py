"""`activity support-bundle`: says what helps, and nothing that is somebody's."""

from __future__ import annotations

import errno
import json
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from sqlalchemy import func, insert, make_url, select, text, update

from migrations import capture
from ops.adoption.leaving import detach
from ops.commands.support_bundle import support_bundle, write
from ops.health.masking import HIDDEN, Masks
from ops.health.support_bundle import Bundle
from ops.keys import create_key
from snapshots import settings
from snapshots.database import connect
from snapshots.errors import ActivityError
from snapshots.signals import READER_ROLE, SIGNALS, WORKER_ROLE
from snapshots.tables import quarantine
from snapshots.tables import refresh as ledger_rows
from tests.factories import insert_run, insert_step, insert_trace
from worker.engine import ledger
from worker.engine.context import RefreshRequest
from worker.engine.refresh import refresh

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedIOBase
    from pathlib import Path

    from sqlalchemy import Connection, Engine

    from tests.postgres import Server

#: The last ones are called like what stands in any JSON.
TENANTS = ("zanzibar", "Acme Corp", "tenant-4711", "3", "null")
#: Nothing of this may be in a bundle: tenants, what their rows hold, and secrets.
PLANTED = (
    *(*TENANTS[:3], "zrun", "ztrace", "zagent", "zskill", "zlabel", "zperson", "9021077", "zword"),
    *("hunter2-secret", "broker-secret", "jwks-secret", "limit-secret", "log-secret", "issuer-secret"),
)
FILES = ["capture", "indexes", "ledger", "migrations", "plans", "server", "settings", "status", "tables", "versions"]
LOG = """\
2026-01-17T12:00:00Z INFO worker.engine.refresh refresh signal=patterns id=7 state=succeeded marks=3 tenants=2
2026-01-17T12:00:01Z ERROR worker.engine.refresh refresh of zanzibar failed: "zrun-1" costs 9021077
2026-01-17 12:00:02.123 UTC [4] ERROR:  invalid input syntax for type numeric: "zrun-1"
2026-01-17 12:00:02.123 UTC [4] STATEMENT:  select 'zrun-1' where password = log-secret
\tfrom runs where tenant_id = 'zanzibar'
{"time":"2026-01-17T12:00:03.000Z","event":"request","path":"/api/v1/activity/runs/zrun-1","status":200,\
"duration_ms":1.500,"bytes":9,"tenant_id":"zanzibar","key_id":"zlabel"}
connecting to postgresql://owner:log-secret@localhost/activity
"""


@pytest.fixture
def engine(fresh_database: str) -> Engine:
    """Return an engine on a database full of what must not leave it."""
    engine = connect(fresh_database)
    capture.install(engine)
    with engine.begin() as conn:
        for number, tenant in enumerate(TENANTS):
            _plant(conn, tenant, number)
    for signal in SIGNALS:
        refresh(engine, signal, settings.load())
    with engine.begin() as conn:
        for number, tenant in enumerate(TENANTS):
            _set_aside(conn, tenant, "cost", "DataError", _error(tenant, number))
        _set_aside(conn, "zanzibar", "patterns", "InternalError", "what a function of the host raised: zword")
    return engine


def _error(tenant: str, number: int) -> str:
    return f'{tenant}: invalid input syntax for type numeric: "zrun-{number}" (9021077)'


def _set_aside(conn: Connection, tenant: str, signal: str, error_class: str, error: str) -> None:
    times = dict.fromkeys(("first_failed_at", "last_failed_at", "retry_at"), func.now())
    row = {"signal": signal, "tenant_id": tenant, "failures": 1, "error_class": error_class, "error": error}
    conn.execute(insert(quarantine).values(**row, **times))


def _plant(conn: Connection, tenant: str, number: int) -> None:
    run, trace = f"zrun-{number}", f"ztrace-{number}"
    insert_run(conn, id=run, tenant_id=tenant, agent_id="zagent", state="LIVE", risk_level="AT_RISK")
    insert_trace(conn, trace_id=trace, run_id=run, tenant_id=tenant, started_at=func.now())
    insert_step(conn, trace, 0, skill_id="zskill", retry_count=5)
    create_key(conn, tenant, label="zlabel")
    asked = ledger.request(conn, RefreshRequest("cost", mode="manual", requested_by="zperson", tenants=[tenant]))
    ledger.mark_failed(conn, asked, ValueError(_error(tenant, number)), will_retry=False)


@pytest.fixture
def bundle(engine: Engine, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """Return the files of a bundle that was asked for with secrets in every setting that may have one."""
    url = engine.url.render_as_string(hide_password=False)
    secret = "?application_name=hunter2-secret&host="  # noqa: S105  # planted
    for name, address in (
        ("", url),
        ("WORKER_", server.url_as(WORKER_ROLE, url)),
        ("READER_", server.url_as(READER_ROLE, url)),
    ):
        monkeypatch.setenv(f"ACTIVITY_{name}DATABASE_URL", address.replace("?host=", secret))
    monkeypatch.setenv("ACTIVITY_BROKER_URL", "redis://:broker-secret@127.0.0.1:1/0")
    monkeypatch.setenv("ACTIVITY_RATE_LIMIT_URL", "redis://:limit-secret@127.0.0.1:1/0")
    monkeypatch.setenv("ACTIVITY_JWT_ISSUER", "https://me:issuer-secret@issuer.example.com")
    monkeypatch.setenv("ACTIVITY_JWT_AUDIENCE", "activity")
    monkeypatch.setenv("ACTIVITY_JWT_JWKS", "https://issuer.example.com/jwks-secret")
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "worker.log").write_text(LOG)
    return unpacked(tmp_path)


def unpacked(folder: Path) -> dict[str, str]:
    """Ask for a bundle and return its files."""
    result = CliRunner().invoke(support_bundle, ["--output", f"{folder}/b.tar.gz", "--data-dir", str(folder)])
    assert result.exit_code == 0, result.exception
    with tarfile.open(folder / "b.tar.gz") as archive:
        return {
            member.name.removeprefix("activity-support/"): file.read().decode()
            for member in archive.getmembers()
            if (file := archive.extractfile(member))
        }


def section(bundle: dict[str, str], name: str) -> Any:  # noqa: ANN401  # JSON
    return json.loads(bundle[f"{name}.json"])


def test_nothing_that_was_planted_is_in_it(bundle: dict[str, str], server: Server) -> None:
    everything = "\n".join([*bundle, *bundle.values()])

    assert {word for word in (*PLANTED, server.password) if word in everything} == set()


def test_every_section_is_there_and_none_failed(bundle: dict[str, str]) -> None:
    assert sorted(bundle) == sorted([*(f"{name}.json" for name in FILES), "log/worker.log"])
    assert {name: section(bundle, name) for name in FILES if "failed" in section(bundle, name)} == {}


def test_it_says_what_helps(bundle: dict[str, str]) -> None:
    assert section(bundle, "settings")["database_url"] == "(set)"
    assert section(bundle, "settings")["auth_database_url"] is None
    assert section(bundle, "settings")["cost_period_s"] == 300
    assert section(bundle, "migrations")["revision"] == section(bundle, "migrations")["head"]
    assert section(bundle, "capture")["signals"]["patterns"] == {
        "is_captured": True,
        "losses": [],
        "marks_waiting": 0,
    }
    assert {"public.runs", "signals.snapshot"} <= {_unquoted(row["name"]) for row in section(bundle, "tables")}
    assert all(row["is_valid"] for row in section(bundle, "indexes"))
    assert section(bundle, "server")["version"].startswith("PostgreSQL")
    plans = section(bundle, "plans")
    assert plans["tenant"].startswith("tenant-")
    assert len(plans["queries"]) > 10


def _unquoted(name: str) -> str:
    return name if "." in name else f"public.{name}"


def test_errors_keep_their_words_and_lose_their_values(bundle: dict[str, str]) -> None:
    failed = [row for row in section(bundle, "ledger") if row["state"] == "failed"]

    assert {row["error_class"] for row in failed} == {"ValueError"}
    assert all("invalid input syntax for type numeric:" in row["error"] for row in failed)
    assert {row["tenants_asked"] for row in failed} == {1}


def test_what_a_host_s_function_raised_is_told_nowhere(bundle: dict[str, str]) -> None:
    errors = [(each["error_class"], each["error"]) for each in section(bundle, "status")["quarantine"]]

    assert len(errors) == len(TENANTS) + 1
    assert {error for name, error in errors if name == "InternalError"} == {HIDDEN}
    assert all("invalid input syntax for type numeric:" in error for name, error in errors if name == "DataError")


def test_a_failure_of_a_host_s_function_is_not_told_as_the_last_one_either(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ACTIVITY_DATABASE_URL", engine.url.render_as_string(hide_password=False))
    with engine.begin() as conn:
        last = select(func.max(ledger_rows.c.refresh_id)).where(ledger_rows.c.signal == "cost").scalar_subquery()
        raised = {"state": "failed", "error_class": "InternalError", "error": "zword"}
        conn.execute(update(ledger_rows).where(ledger_rows.c.refresh_id == last).values(**raised))

    bundle = unpacked(tmp_path)

    assert {each["last_error"] for each in section(bundle, "status")["signals"]} == {None, f"InternalError: {HIDDEN}"}
    assert "zword" not in str(bundle)


def test_logs_keep_what_is_ours(bundle: dict[str, str]) -> None:
    lines = bundle["log/worker.log"].splitlines()

    assert lines[0] == LOG.splitlines()[0]
    assert lines[1].startswith("2026-01-17T12:00:01Z ERROR worker.engine.refresh refresh of tenant-")
    assert lines[2].endswith(f"ERROR: invalid input syntax for type numeric: {HIDDEN}")
    assert json.loads(lines[3]) == {
        "time": "2026-01-17T12:00:03.000Z",
        "event": "request",
        "status": 200,
        "duration_ms": 1.5,
        "bytes": 9,
    }
    assert len(lines) == 5


def test_without_a_database_the_rest_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ACTIVITY_DATABASE_URL", "postgresql://owner:hunter2-secret@127.0.0.1:1/activity")

    bundle = unpacked(tmp_path)

    assert section(bundle, "tables")["failed"] == "OperationalError"
    assert section(bundle, "versions")["sqlalchemy"]
    assert "hunter2-secret" not in str(bundle)


def test_while_detached_it_says_so(engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ACTIVITY_DATABASE_URL", engine.url.render_as_string(hide_password=False))
    detach(make_url(engine.url))

    bundle = unpacked(tmp_path)

    assert section(bundle, "migrations")["detached_since"]
    assert section(bundle, "plans")["failed"] == "ProgrammingError"
    assert [word for word in PLANTED if word in str(bundle)] == []


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "b.tar.gz").write_text("mine")

    result = CliRunner().invoke(support_bundle, ["--output", f"{tmp_path}/b.tar.gz"])

    assert "cannot be written" in str(result.exception)
    assert (tmp_path / "b.tar.gz").read_text() == "mine"


def test_a_bundle_that_does_not_come_to_its_end_leaves_no_file(tmp_path: Path) -> None:
    class Interrupted(Bundle):
        def _files(self) -> Iterator[tuple[str, str]]:
            yield "versions.json", "{}"
            raise KeyboardInterrupt

    target = tmp_path / "b.tar.gz"

    with pytest.raises(KeyboardInterrupt):
        write(Interrupted(settings.load(), tmp_path), target)

    assert not target.exists()


def test_a_disk_that_is_full_is_told_and_leaves_no_file(tmp_path: Path) -> None:
    class Full(Bundle):
        def write(self, target: BufferedIOBase) -> list[str]:
            target.write(b"some of it")
            raise OSError(errno.ENOSPC, "No space left on device")

    target = tmp_path / "b.tar.gz"

    with pytest.raises(ActivityError, match=r"b.tar.gz: cannot be written \(No space left on device\)"):
        write(Full(settings.load(), tmp_path), target)

    assert not target.exists()


def test_a_log_that_cannot_be_read_says_so_in_its_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ACTIVITY_DATABASE_URL", "postgresql://owner@127.0.0.1:1/activity")
    (tmp_path / "log" / "api.log").mkdir(parents=True)
    (tmp_path / "log" / "worker.log").write_text(LOG)

    bundle = unpacked(tmp_path)

    assert bundle["log/api.log"] == "cannot be read: Is a directory"
    assert bundle["log/worker.log"].startswith(LOG.splitlines()[0])


def test_tenants_of_the_source_are_replaced_where_ours_cannot_be_asked_for(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ACTIVITY_DATABASE_URL", engine.url.render_as_string(hide_password=False))
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "worker.log").write_text(LOG)
    with engine.begin() as conn:
        conn.execute(text("drop table signals.quarantine"))

    assert "zanzibar" not in unpacked(tmp_path)["log/worker.log"]


def test_a_tenant_has_one_pseudonym_in_a_bundle_and_another_in_the_next() -> None:
    masks, others = Masks(tenants=["acme"]), Masks(tenants=["acme"])

    assert masks.known("acme, acmeology") == f"{masks.tenant('acme')}, acmeology"
    assert masks.tenant("acme") != others.tenant("acme")


def test_every_text_of_json_is_masked_in_its_place() -> None:
    masks = Masks(secret=["hunter2"], tenants=["acme", "null", "7"])
    told = {"a": ["acme", 7, None, True, ""], "b": {"c": "x://u:p@h", "d": "of acme: hunter2"}, "e\0": "7 @ null"}

    assert masks.known_in(told) == {
        "a": [masks.tenant("acme"), 7, None, True, ""],
        "b": {"c": "x://h", "d": f"of {masks.tenant('acme')}: {HIDDEN}"},
        "e\0": f"7 @ {masks.tenant('null')}",
    }
    assert masks.known_in([]) == []
    assert masks.known_in("acme") == masks.tenant("acme")
    assert masks.known_in(["x://", "a@b", "a\0cme"]) == ["x://", "a@b", masks.tenant("acme")]
