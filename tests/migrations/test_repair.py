"""Half a schema, as an aborted restore leaves it: named by every check, and made whole again by one command."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from falcon.testing import TestClient
from sqlalchemy import make_url, text

from api.app import AppDependencies, create_app
from migrations import repair, runner
from ops.adoption.leaving import attach, detach
from ops.commands.doctor import doctor
from ops.commands.migrate import migrate
from ops.commands.status import status
from ops.keys import create_key
from snapshots import catalogue, settings
from snapshots.errors import ActivityError
from snapshots.signals import AUTHENTICATOR_ROLE, READER_ROLE, SIGNALS, WORKER_ROLE
from snapshots.tables import SCHEMA
from tests.api.arrange import bearer
from tests.migrations.dumps import run
from tests.migrations.write_catalogue import FILE, as_text
from tests.postgres import BINARIES
from worker.engine.refresh import refresh

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy import Engine

    from tests.postgres import Server

    Open = Callable[[str], Engine]
    OpenAs = Callable[[str, str], Engine]

#: Part by part what a restore that was aborted can have taken away, each with what `catalogue` calls it.
DAMAGES = {
    "grant": "revoke select on signals.snapshot from activity_reader",
    "column grant": "revoke select (signal) on signals.quarantine from activity_reader",
    "policy": "drop policy webhook_worker on signals.webhook",
    "row security": "alter table signals.api_key no force row level security",
    "trigger": "drop trigger triage_event_applied on signals.triage_event",
    "function": "drop function signals.ensure_history_partition(date)",
    "index": "drop index signals.ix_refresh_requested_at",
    "constraint": "alter table signals.snapshot drop constraint pk_snapshot",
    "sequence": "drop sequence signals.fence",
    "view": "drop view signals.attempt",
    "host views": "drop view signals.tenant_step, signals.tenant_trace",
    "schema grant": "revoke usage on schema signals from activity_authenticator",
}


def test_the_catalogue_is_that_of_a_fresh_database(fresh_database: str, owner: Open) -> None:
    with owner(fresh_database).connect() as conn:
        found = catalogue.read(conn, with_repair=True)
        assert catalogue.faults(found) == []
        if conn.execute(text("select current_setting('server_version_num')::int >= 180000")).scalar_one():
            assert as_text(found) == FILE.read_text(encoding="utf-8"), "python -m tests.migrations.write_catalogue URL"


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_each_damage_is_found_and_repaired(fresh_database: str, owner: Open, damage: str) -> None:
    engine = owner(fresh_database)
    with engine.connect() as conn:
        before = sorted(map(str, catalogue.read(conn, with_repair=True)))
    with engine.begin() as conn:
        conn.execute(text(damage))
    with engine.connect() as conn:
        assert catalogue.faults(catalogue.read(conn))

    done = runner.repair(settings.load(database_url=fresh_database))

    assert done
    with engine.connect() as conn:
        assert sorted(map(str, catalogue.read(conn, with_repair=True))) == before
    assert runner.repair(settings.load(database_url=fresh_database)) == []


def test_a_table_that_is_gone_is_not_made_up(fresh_database: str, owner: Open) -> None:
    with owner(fresh_database).begin() as conn:
        conn.execute(text("drop table signals.webhook"))
        with pytest.raises(ActivityError, match=r"signals\.webhook: missing with all rows"):
            repair.repair(conn)


def test_a_policy_of_somebody_else_is_dropped_by_the_repair(fresh_database: str, owner: Open) -> None:
    with owner(fresh_database).begin() as conn:
        conn.execute(text("create policy open on signals.snapshot for select to activity_reader using (true)"))
        assert catalogue.faults(catalogue.read(conn)) == ["policy open on signals.snapshot is not ours"]
        assert repair.repair(conn) == ["dropped policy open on signals.snapshot"]


def test_a_detached_schema_lacks_nothing(host_database: str, owner: Open) -> None:
    runner.migrate(settings.load(database_url=host_database))
    detach(make_url(host_database))
    with owner(host_database).connect() as conn:
        assert catalogue.faults(catalogue.read(conn)) == []
    attach(make_url(host_database))
    with owner(host_database).connect() as conn:
        assert catalogue.faults(catalogue.read(conn)) == []


@pytest.fixture
def aborted(
    server: Server, fresh_database: str, owner: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> tuple[str, str]:
    """Return a database whose restore over itself was aborted among the drops, and a token of a key in it."""
    engine = owner(fresh_database)
    with engine.begin() as conn:
        token = create_key(conn, "acme").token
    for signal in SIGNALS:
        refresh(engine, signal, settings.load(), mode="manual")
    monkeypatch.setenv("ACTIVITY_DATABASE_URL", fresh_database)
    options = ("--format", "custom", "--enable-row-security", "--schema", SCHEMA)
    run(server, "pg_dump", "--dbname", fresh_database, *options, "--file", str(tmp_path / "ours"))
    # A reader's own view is what ends the drops, once the policies are gone.
    with engine.begin() as conn:
        conn.execute(text("create view public.of_a_colleague as select key_id from signals.api_key"))
    restore = [str(BINARIES[server.name] / "pg_restore"), "--clean", "--exit-on-error", "--dbname", fresh_database]
    done = subprocess.run([*restore, str(tmp_path / "ours")], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    with engine.begin() as conn:
        conn.execute(text("drop view public.of_a_colleague"))
    return fresh_database, token


def test_an_aborted_restore_is_told_by_every_check(aborted: tuple[str, str], open_as: OpenAs) -> None:
    url, token = aborted
    engines = open_as(READER_ROLE, url), open_as(AUTHENTICATOR_ROLE, url)
    client = TestClient(create_app(*engines, settings.load(), AppDependencies()))

    answer = client.simulate_get("/api/v1/activity/patterns", headers=bearer(token))
    ready = client.simulate_get("/readyz")
    told = CliRunner().invoke(status, ["--json"])
    examined = CliRunner().invoke(doctor, ["--json"])

    assert answer.status_code == 503, answer.text
    assert ready.status_code == 503, ready.text
    assert told.exit_code == 1
    assert "activity migrate --repair" in f"{told.output}{told.exception}"
    findings = {each["id"]: each for each in json.loads(examined.output)["findings"]}
    assert examined.exit_code == 1
    assert findings["schema.parts"]["level"] == "blocked"


def test_an_aborted_restore_is_repaired_or_says_what_cannot_be(
    aborted: tuple[str, str], open_as: OpenAs, owner: Open
) -> None:
    url, token = aborted
    done = CliRunner().invoke(migrate, ["--repair"])

    assert done.exit_code == 0, (done.output, done.exception)
    engines = open_as(READER_ROLE, url), open_as(AUTHENTICATOR_ROLE, url)
    client = TestClient(create_app(*engines, settings.load(), AppDependencies()))
    assert client.simulate_get("/api/v1/activity/patterns", headers=bearer(token)).status_code == 200
    assert client.simulate_get("/readyz").status_code == 200
    refresh(open_as(WORKER_ROLE, url), "cost", settings.load(), mode="manual")
    with owner(url).connect() as conn:
        assert catalogue.faults(catalogue.read(conn)) == []


def test_repair_and_check_exclude_each_other() -> None:
    assert CliRunner().invoke(migrate, ["--repair", "--check"]).exit_code == 2
