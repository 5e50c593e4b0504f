"""`activity exporter` beside a real worker and a real beat, and while what it asks is away."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import psutil
import pytest
import redis
from click.testing import CliRunner
from falcon.testing import TestClient
from sqlalchemy import create_engine, func, select, text

from api.app import create_app as create_api
from migrations import capture
from migrations.ingest import open_source
from ops.commands.status import status
from ops.health.metrics import HealthCollector
from ops.health.watch import KEPT_S, Watch
from ops.local.embedded.valkey import ValkeyServer
from snapshots import settings
from snapshots.database import connect
from snapshots.settings import Settings
from snapshots.signals import AUTHENTICATOR_ROLE, INGEST_ROLE, READER_ROLE, SIGNALS, WORKER_ROLE
from snapshots.tables import refresh
from tests.api.arrange import SNAPSHOT_PATHS, Api, Moment
from tests.factories import insert_run
from tests.ingest.receiver import receiver_over
from tests.ingest.spans import agent
from tests.ops.monitored import alerts, panels
from tests.ops.processes import free_port, running, until
from tests.ops.promql import Scrapes, Selector, parse, parts
from tests.ops.scraping import API_JOB, EXPORTER_JOB, RECEIVER_JOB, fetch, samples, value
from worker.app import create_app
from worker.engine import ledger
from worker.engine.context import RefreshRequest
from worker.schedule import RECONCILE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from sqlalchemy import ColumnElement, Engine

    from tests.ops.promql import Series
    from tests.postgres import Server

TENANT = "a-tenant-of-the-test"
JOBS = (API_JOB, EXPORTER_JOB, RECEIVER_JOB)
NOWHERE = "postgresql://nobody@127.0.0.1:1/none"
_DISCONNECT = text(
    "select pg_terminate_backend(pid) from pg_stat_activity"
    " where datname = current_database() and pid <> pg_backend_pid() and usename = current_user"
)


@dataclass(frozen=True)
class Seen:
    """Output of a whole system: its scrapes, and `activity status`."""

    exporter: str
    api: str
    receiver: str
    status: Mapping[str, object]
    exit_code: int

    @property
    def samples(self) -> dict[Series, float]:
        """Return the scrapes as Prometheus would store them."""
        told = {EXPORTER_JOB: self.exporter, API_JOB: self.api, RECEIVER_JOB: self.receiver}
        return {key: found for job, words in told.items() for key, found in samples(words, job).items()}


@pytest.fixture(scope="module")
def seen(server: Server, valkey_url: str, private_folder: Path) -> Iterator[Seen]:
    """Return what a system shows whose worker compared every signal with a full recompute; it has ended by then."""
    database = server.create_migrated_database()
    owner = connect(database, name="activity tests")
    capture.install(owner)
    with owner.begin() as conn:
        now: datetime = conn.execute(select(func.now())).scalar_one()
        times = {"started_at": now - timedelta(hours=1), "completed_at": now}
        insert_run(conn, tenant_id=TENANT, risk_level="VIOLATED", estimated_cost_usd=1, **times)
    worker_url = server.url_as(WORKER_ROLE, database)
    variables = {"ACTIVITY_WORKER_DATABASE_URL": worker_url, "ACTIVITY_BROKER_URL": valkey_url}
    variables |= {f"ACTIVITY_{signal.upper()}_PERIOD_S": "2" for signal in SIGNALS}
    with redis.Redis.from_url(valkey_url) as client, pytest.MonkeyPatch.context() as patch:
        client.flushall()
        for name, variable in variables.items():
            patch.setenv(name, variable)
        found = _observe(owner, variables, private_folder / "exporter")
        client.flushall()
    yield replace(found, api=_api(server, database, owner), receiver=_receiver(server, database, owner))
    owner.dispose()
    server.drop_database(database)


def _observe(owner: Engine, variables: Mapping[str, str], folder: Path) -> Seen:
    """Run worker, beat and exporter, and note what they show once every signal was compared."""
    port = free_port()
    with (
        running(folder / "worker", variables, "worker"),
        running(folder / "beat", variables, "beat"),
        running(folder / "exporter", variables, "exporter", "--port", str(port)),
    ):
        _compare(owner, settings.load())
        until(lambda: _is_whole(port), "everything in one scrape")
        shown = CliRunner().invoke(status, ["--json"])
        assert shown.output, shown.exception
        return Seen(fetch(port)[1], "", "", json.loads(shown.output), shown.exit_code)


def _compare(owner: Engine, current: Settings) -> None:
    """Have the worker compare each signal; leave a request behind that nobody rings for."""
    app = create_app(current)
    until(lambda: _signals(owner, refresh.c.state == "succeeded") == set(SIGNALS), "a first refresh of each signal")
    for signal in SIGNALS:
        app.send_task(RECONCILE, args=[signal])
    until(lambda: _signals(owner, refresh.c.drift.is_not(None)) == set(SIGNALS), "a comparison of each signal")
    with owner.execution_options(isolation_level="AUTOCOMMIT").connect() as books:
        ledger.request(books, RefreshRequest("cost", mode="manual", requested_by="a test that never rings for it"))


def _signals(owner: Engine, condition: ColumnElement[bool]) -> set[str]:
    with owner.connect() as conn:
        return set(conn.execute(select(refresh.c.signal).where(condition)).scalars())


def _is_whole(port: int) -> bool:
    found = samples(fetch(port)[1], EXPORTER_JOB)
    drift = [value(found, "activity_reconcile_drift_tenants", signal=signal) for signal in SIGNALS]
    waiting = value(found, "activity_requests_waiting", mode="manual")
    alive = value(found, "activity_workers_alive"), value(found, "activity_beat_lock_held")
    ticks = value(found, "activity_refresh_attempts_last_hour", signal="cost", mode="tick", method="incremental")
    return (drift, waiting, alive) == ([0.0] * len(SIGNALS), 1, (1, 1)) and bool(ticks)


def _api(server: Server, database: str, owner: Engine) -> str:
    """Return the metrics of a read layer that has answered one request and refused another."""
    reader, authenticator = (connect(server.url_as(role, database)) for role in (READER_ROLE, AUTHENTICATOR_ROLE))
    api = Api(TestClient(create_api(reader, authenticator, Settings(rate_limit_snapshots=1))), owner, Moment())
    statuses = {api.get(SNAPSHOT_PATHS["cost"]).status_code for _ in range(3)}
    shown = api.client.simulate_get("/metrics").text
    for engine in (reader, authenticator):
        engine.dispose()
    assert statuses == {200, 429}
    return shown


def _receiver(server: Server, database: str, owner: Engine) -> str:
    """Return the metrics of a receiver that has taken a trace in and written it."""
    ingest, authenticator = (connect(server.url_as(role, database)) for role in (INGEST_ROLE, AUTHENTICATOR_ROLE))
    with owner.begin() as conn:
        open_source(conn)
    receiver = receiver_over(ingest, authenticator, owner)
    assert receiver.send(agent()).status_code == 200
    receiver.round(after_s=31)
    shown = receiver.client.simulate_get("/metrics").text
    for engine in (ingest, authenticator):
        engine.dispose()
    return shown


def test_a_healthy_system_says_so(seen: Seen) -> None:
    found = seen.samples

    for signal in SIGNALS:
        assert value(found, "activity_signal_stale", signal=signal) == 0
        assert value(found, "activity_signal_slots_confirmed", signal=signal) == 64
        assert value(found, "activity_signal_stale_after_seconds", signal=signal) == 34
        assert value(found, "activity_capture_installed", signal=signal) == 1
        oldest = value(found, "activity_signal_age_seconds", signal=signal, over="slots", quantile="1")
        assert oldest is not None
        assert 0 <= oldest < 34
    assert value(found, "activity_refresh_attempts_last_hour", signal="cost", mode="tick", outcome="failed") == 0
    assert value(found, "activity_signal_tenants", signal="attention") == 1


def test_no_alert_is_raised_over_a_healthy_system(seen: Seen) -> None:
    stored = Scrapes()
    for at_s in (0, 60):
        stored.add(at_s, seen.samples)
        stored.add(at_s, {("up", frozenset({("job", job)})): 1.0 for job in JOBS})

    assert [name for name, expression in alerts().items() if stored.fires(expression, 60)] == []


@pytest.mark.parametrize("expression", [*alerts().values(), *panels()])
def test_what_alerts_and_panels_name_is_there(seen: Seen, expression: str) -> None:
    known: dict[str, dict[str, set[str]]] = {"up": {"job": set(JOBS)}}
    for name, labels in seen.samples:
        for label, word in labels:
            known.setdefault(name, {}).setdefault(label, set()).add(word)

    for part in parts(parse(expression)):
        if isinstance(part, Selector):
            assert part.name in known
            for label, sign, wanted in part.matchers:
                assert label in known[part.name]
                assert sign == "=~" or wanted in known[part.name][label]


def test_no_label_names_a_tenant(seen: Seen) -> None:
    assert TENANT not in seen.exporter


def test_status_tells_the_same_and_ends_well(seen: Seen) -> None:
    assert seen.exit_code == 0, seen.status
    assert seen.status["problems"] == []
    assert seen.status["fresh"] is True


def scrape(watch: Watch) -> dict[Series, float]:
    """Return what a scrape brings, without the server between."""
    found: dict[Series, float] = {}
    for family in HealthCollector(watch).collect():
        found |= {(each.name, frozenset(each.labels.items())): each.value for each in family.samples}
    return found


def test_both_being_away_is_numbers_and_not_an_error() -> None:
    nowhere = create_engine("postgresql+psycopg2://nobody@127.0.0.1:1/none", connect_args={"connect_timeout": 1})

    found = scrape(Watch(nowhere, settings.load(broker_url="redis://127.0.0.1:1/0")))

    assert value(found, "activity_exporter_database_up") == 0
    assert value(found, "activity_exporter_broker_up") == 0
    assert value(found, "activity_workers_alive") is None


def test_without_a_broker_nothing_is_said_of_one(fresh_database: str) -> None:
    engine = connect(fresh_database)

    found = scrape(Watch(engine, settings.load()))

    engine.dispose()
    assert value(found, "activity_exporter_database_up") == 1
    assert value(found, "activity_exporter_broker_up") is None


def test_a_broker_and_a_database_that_come_back_are_seen_again(server: Server, tmp_path: Path) -> None:
    """The connections that were lost are not asked again."""
    database = server.create_migrated_database()
    valkey = ValkeyServer(tmp_path / "valkey")
    valkey.start()
    engine = connect(database, pool_size=1)
    passed = iter(range(0, 1000, 20))
    watch = Watch(engine, settings.load(broker_url=valkey.url), timer=lambda: float(next(passed)))
    up = [(value(found := scrape(watch), "activity_exporter_database_up"), value(found, "activity_exporter_broker_up"))]

    valkey.stop()
    with connect(database).connect() as other:
        other.execute(_DISCONNECT)
    up.append((1, value(scrape(watch), "activity_exporter_broker_up")))
    valkey.start()
    found = scrape(watch)
    up.append((value(found, "activity_exporter_database_up"), value(found, "activity_exporter_broker_up")))

    valkey.stop()
    engine.dispose()
    server.drop_database(database)
    assert up == [(1, 1), (1, 0), (1, 1)]


def test_what_was_read_is_told_again_for_some_seconds(fresh_database: str) -> None:
    passed = 0.0
    engine = connect(fresh_database)
    watch = Watch(engine, settings.load(), timer=lambda: passed)
    first = watch.readings()

    assert watch.readings() is first
    passed = KEPT_S
    assert watch.readings() is not first
    engine.dispose()


def test_the_exporter_ends_when_it_is_told_to(tmp_path: Path) -> None:
    port = free_port()
    with running(tmp_path / "log", {"ACTIVITY_DATABASE_URL": NOWHERE}, "exporter", "--port", str(port)) as process:
        until(lambda: "http://127.0.0.1" in (tmp_path / "log").read_text(), "it serves")
        assert fetch(port)[0] == 200
        process.terminate()
        assert process.wait(10) == 0
    assert psutil.pid_exists(process.pid) is False
