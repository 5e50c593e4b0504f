"""Every alert is raised by the state that it is about, as the real /metrics tell it.

`for:` and Prometheus' own evaluation are not covered here: promtool is not at hand, and tests/ops/promql.py evaluates
the expressions. The metric `up` is Prometheus' own, and planted as a number.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest
from sqlalchemy import create_engine, func, insert, select, text, update

from migrations import capture
from snapshots import settings
from snapshots.tables import freshness, quarantine, refresh
from tests.api.arrange import SNAPSHOT_PATHS
from tests.ingest.spans import agent, tool
from tests.ops.composition import SERVICES
from tests.ops.monitored import alerts, dashboard, load, rules
from tests.ops.promql import Scrapes, parse
from tests.ops.scraping import API_JOB, EXPORTER_JOB, RECEIVER_JOB
from worker.app import SENT_AT
from worker.engine import ledger
from worker.engine.tables import dirty_run
from worker.schedule import MANUAL_QUEUE, SCHEDULED_QUEUE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.ops.system import System

_NOWHERE: Final = "postgresql+psycopg2://nobody@127.0.0.1:1/none"


def one_slot_is_left_behind(system: System) -> None:
    system.run("cost")
    late = update(freshness).where(freshness.c.slot == 5)
    system.change(lambda conn: conn.execute(late.values(verified_at=text("verified_at - interval '631 seconds'"))))
    system.scrape()


def what_is_served_grows_old(system: System) -> None:
    api = system.api()
    api.verify("cost")
    system.moment.pass_by(901)
    system.scrape_api(api)


def three_refreshes_fail(system: System) -> None:
    system.run("cost")
    for _ in range(3):
        refresh_id = system.request()
        with system.owner.execution_options(isolation_level="AUTOCOMMIT").connect() as books:
            ledger.mark_failed(books, refresh_id, ValueError("planted"), will_retry=False)
    system.scrape()


def refreshes_meet_a_lock(system: System, error_class: str = "LockTimeoutError", since_s: int = 61) -> None:
    asked = text(f"now() - interval '{since_s} seconds'")
    system.run("cost")
    system.change(lambda conn: conn.execute(update(refresh).values(finished_at=text("now() - interval '1 hour'"))))
    system.request(requested_at=asked, error_class=error_class, error="cost is locked by pid 1")
    system.scrape()


def a_session_holds_a_shard(system: System) -> None:
    refreshes_meet_a_lock(system, "LocksHeldError", 901)


def a_comparison_repaired_something(system: System) -> None:
    refresh_id = system.run("cost")
    repaired = update(refresh).where(refresh.c.refresh_id == refresh_id).values(drift=1)
    system.change(lambda conn: conn.execute(repaired))
    system.scrape()


def a_tenant_is_set_aside(system: System) -> None:
    now = func.now()
    times = {"first_failed_at": now, "last_failed_at": now, "retry_at": now}
    row = {"signal": "cost", "tenant_id": "acme", "failures": 1, "error_class": "DataError", "error": "planted"}
    system.change(lambda conn: conn.execute(insert(quarantine).values(row | times)))
    system.scrape()


def marks_pile_up(system: System) -> None:
    runs = select(func.generate_series(1, 50_000).cast(dirty_run.c.run_id.type), text("'acme'"))
    system.change(lambda conn: conn.execute(insert(dirty_run).from_select(["run_id", "tenant_id"], runs)))
    system.scrape()


def capture_is_disabled_for_a_while(system: System) -> None:
    capture.install(system.owner)
    toggle = "alter table runs disable trigger all; alter table runs enable trigger all"
    system.change(lambda conn: conn.exec_driver_sql(toggle))
    system.scrape()


def the_clock_went_back(system: System) -> None:
    system.request(requested_at=text("now() + interval '1 hour'"))
    system.run("cost")
    system.scrape()


def nothing_runs(system: System) -> None:
    system.scrape()


def messages(system: System, count: int, *, queue: str = SCHEDULED_QUEUE, age_s: float = 0) -> None:
    message = json.dumps({"headers": {SENT_AT: time.time() - age_s}})
    system.broker.lpush(queue, *[message] * count)


def more_messages_come_than_go(system: System) -> None:
    messages(system, 5)
    system.scrape()
    messages(system, 40)
    system.scrape(after_s=300)


def a_message_is_not_fetched(system: System) -> None:
    messages(system, 1, queue=MANUAL_QUEUE, age_s=301)
    messages(system, 1, queue=MANUAL_QUEUE)
    system.scrape()


def a_request_is_not_begun(system: System) -> None:
    system.request(requested_at=text("now() - interval '901 seconds'"))
    system.scrape()


def a_message_is_not_finished(system: System) -> None:
    system.broker.zadd("unacked_index", {"a-tag": time.time() - 901})
    system.broker.hset("unacked", "a-tag", json.dumps([{}, "", SCHEDULED_QUEUE]))
    system.scrape()


def the_broker_drops_keys(system: System) -> None:
    system.broker.config_set("maxmemory", "1gb")
    system.broker.config_set("maxmemory-policy", "volatile-lru")
    system.scrape()


def a_job_is_down(job: str) -> Callable[[System], None]:
    return lambda system: system.store({("up", frozenset({("job", job)})): 0.0})


def the_database_is_away(system: System) -> None:
    nowhere = create_engine(_NOWHERE, connect_args={"connect_timeout": 1})
    replace(system, worker=nowhere).scrape()


def the_broker_is_away(system: System) -> None:
    replace(system, settings=settings.load(broker_url="redis://127.0.0.1:1/0")).scrape()


def requests_end_in_errors(system: System) -> None:
    nowhere = create_engine(_NOWHERE, connect_args={"connect_timeout": 1})
    api = replace(system, reader=nowhere).api()
    for _ in range(2):
        api.get(SNAPSHOT_PATHS["cost"])
        system.scrape_api(api, after_s=30)


def requests_are_refused(system: System) -> None:
    api = system.api(rate_limit_snapshots=1)
    api.verify("cost")
    for _ in range(2):
        for _ in range(3):
            api.get(SNAPSHOT_PATHS["cost"])
        system.scrape_api(api, after_s=30)


def a_right_is_taken_away(system: System) -> None:
    receiver = system.receiver()
    system.change(lambda conn: conn.execute(text("revoke insert on public.runs from activity_ingest")))
    system.scrape_receiver(receiver)


def a_span_is_not_written(system: System) -> None:
    receiver = system.receiver()
    assert receiver.send(agent()).status_code == 200
    late = "update signals.ingested_trace set pending_since = pending_since - interval '1201 seconds'"
    system.change(lambda conn: conn.execute(text(late)))
    system.scrape_receiver(receiver)


def rounds_fail(system: System) -> None:
    receiver = system.receiver()
    for _ in range(2):
        for _ in range(9):
            receiver.assembler.metrics.failed()
        system.scrape_receiver(receiver, after_s=30)


def spans_are_not_kept(system: System) -> None:
    receiver = system.receiver()
    system.change(lambda conn: conn.execute(text("revoke insert on signals.ingested_span from activity_ingest")))
    for _ in range(2):
        assert receiver.send(agent()).status_code == 500
        system.scrape_receiver(receiver, after_s=30)


def nobody_is_left_to_write_a_span(system: System) -> None:
    receiver = system.receiver()
    assert receiver.send(agent()).status_code == 200
    late = "update signals.ingested_trace set pending_since = pending_since - interval '1201 seconds'"
    system.change(lambda conn: conn.execute(text(late)))
    system.scrape()


def spans_are_refused(system: System) -> None:
    receiver = system.receiver()
    for number in range(2, 4):
        assert receiver.send(agent(), tool(number, "search", spanId="00")).status_code == 200
        system.scrape_receiver(receiver, after_s=30)


def a_trace_does_not_fit(system: System) -> None:
    receiver = system.receiver()
    system.change(lambda conn: conn.execute(text("alter table public.aos_traces add check (trace_id < '0af8')")))
    for trace_id in ("0" * 31 + "1", "f" * 32):
        assert receiver.send(agent(traceId=trace_id)).status_code == 200
        receiver.round(after_s=31)
        system.scrape_receiver(receiver, after_s=30)


#: For each alert, what it is about.
PLANTED: Final[Mapping[str, Callable[[System], None]]] = {
    "ActivitySignalStale": one_slot_is_left_behind,
    "ActivitySnapshotsNotConfirmed": what_is_served_grows_old,
    "ActivityRefreshFailing": three_refreshes_fail,
    "ActivityRefreshBlocked": refreshes_meet_a_lock,
    "ActivityShardHeld": a_session_holds_a_shard,
    "ActivityDrift": a_comparison_repaired_something,
    "ActivityQuarantine": a_tenant_is_set_aside,
    "ActivityCaptureBacklog": marks_pile_up,
    "ActivityCaptureLost": capture_is_disabled_for_a_while,
    "ActivityDatabaseClockSetBack": the_clock_went_back,
    "ActivityNoWorker": nothing_runs,
    "ActivityNoBeat": nothing_runs,
    "ActivityQueueGrowing": more_messages_come_than_go,
    "ActivityQueueStuck": a_message_is_not_fetched,
    "ActivityRequestWaits": a_request_is_not_begun,
    "ActivityMessageNotFinished": a_message_is_not_finished,
    "ActivityBrokerMayEvict": the_broker_drops_keys,
    "ActivityApiDown": a_job_is_down(API_JOB),
    "ActivityExporterDown": a_job_is_down(EXPORTER_JOB),
    "ActivityDatabaseDown": the_database_is_away,
    "ActivityBrokerDown": the_broker_is_away,
    "ActivityApiErrors": requests_end_in_errors,
    "ActivityApiRefusals": requests_are_refused,
    "ActivityReceiverDown": a_job_is_down(RECEIVER_JOB),
    "ActivityReceiverNotReady": a_right_is_taken_away,
    "ActivitySpansWait": a_span_is_not_written,
    "ActivityAssemblyFailing": rounds_fail,
    "ActivitySpansRefused": spans_are_refused,
    "ActivityTracesRefused": a_trace_does_not_fit,
    "ActivityReceiverErrors": spans_are_not_kept,
}


@pytest.mark.parametrize("name", PLANTED)
def test_an_alert_is_raised_by_what_it_is_about(system: System, name: str) -> None:
    PLANTED[name](system)

    assert system.stored.fires(alerts()[name], system.now_s)


def test_a_lock_that_a_refresh_met_before_it_succeeded_is_not_alerted_on(system: System) -> None:
    for error_class in ("LockTimeoutError", "LocksHeldError"):
        system.request(requested_at=text("now() - interval '1 hour'"), error_class=error_class, error="planted")
    system.run("cost")
    system.scrape()

    for name in ("ActivityRefreshBlocked", "ActivityShardHeld"):
        assert not system.stored.fires(alerts()[name], system.now_s)


def test_spans_that_nobody_writes_are_known_with_no_receiver_left(system: System) -> None:
    nobody_is_left_to_write_a_span(system)

    assert system.stored.fires(alerts()["ActivitySpansWait"], system.now_s)


@pytest.mark.parametrize("name", ["ActivityNoWorker", "ActivityNoBeat", "ActivityQueueStuck", "ActivitySignalStale"])
def test_what_cannot_be_known_is_not_alerted_on(system: System, name: str) -> None:
    """A broker or a database that is away is one alert, not all of them."""
    away = system.settings.model_copy(
        update={"broker_url": settings.load(broker_url="redis://127.0.0.1:1/0").broker_url}
    )
    nowhere = create_engine(_NOWHERE, connect_args={"connect_timeout": 1})
    replace(system, settings=away, worker=nowhere).scrape()

    assert not system.stored.fires(alerts()[name], system.now_s)


def test_an_alert_on_errors_is_silent_while_all_goes_well(system: System) -> None:
    api = system.api()
    api.verify("cost")
    for _ in range(3):
        api.get(SNAPSHOT_PATHS["cost"])
        system.scrape_api(api, after_s=30)

    for name in ("ActivityApiErrors", "ActivityApiRefusals", "ActivitySnapshotsNotConfirmed"):
        assert not system.stored.fires(alerts()[name], system.now_s)


def test_each_alert_is_planted_and_says_what_is_wrong() -> None:
    assert set(PLANTED) == set(alerts())
    for rule in rules():
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"]["summary"]


@pytest.mark.parametrize("is_installed", [True, False])
def test_capture_that_works_or_was_never_installed_is_not_alerted_on(system: System, *, is_installed: bool) -> None:
    if is_installed:
        capture.install(system.owner)
    system.scrape()

    assert not system.stored.fires(alerts()["ActivityCaptureLost"], system.now_s)


def test_an_alert_on_the_receiver_is_silent_while_all_goes_well(system: System) -> None:
    receiver = system.receiver()
    for _ in range(3):
        assert receiver.send(agent()).status_code == 200
        receiver.round()
        system.scrape_receiver(receiver, after_s=30)
    system.scrape()

    about = ("ActivityReceiver", "ActivitySpans", "ActivityTraces", "ActivityAssembly")
    names = [rule for rule in alerts() if rule.startswith(about)]
    assert [name for name in names if system.stored.fires(alerts()[name], system.now_s)] == []
    assert len(names) == 7


def test_prometheus_scrapes_each_container_and_reads_the_alerts() -> None:
    config = load("prometheus.yml")

    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    assert set(jobs) == {API_JOB, EXPORTER_JOB, RECEIVER_JOB}
    assert jobs[API_JOB]["static_configs"][0]["targets"] == ["api:8000"]
    assert jobs[EXPORTER_JOB]["static_configs"][0]["targets"] == ["exporter:9108"]
    assert jobs[RECEIVER_JOB]["dns_sd_configs"] == [{"names": ["receive"], "type": "A", "port": 4318}]
    for service in ("api", "exporter", "receive", "prometheus"):
        assert "monitoring" in SERVICES[service]["networks"]
    assert config["rule_files"] == ["alerts.yml"]


def test_every_panel_asks_the_data_source_that_is_provisioned() -> None:
    provisioned = load("grafana/datasources/prometheus.yml")["datasources"][0]["uid"]
    shown = [panel for panel in dashboard()["panels"] if panel["type"] != "row"]

    assert {panel["datasource"]["uid"] for panel in shown} == {provisioned}
    assert len({panel["id"] for panel in dashboard()["panels"]}) == len(dashboard()["panels"])


@pytest.mark.parametrize(
    ("expression", "fires"),
    [
        ("a == 1", True),
        ("a > 1", False),
        ('a{x="1"} == 1', True),
        ('a{x!="1"} == 1', False),
        ('a{x=~"1|2"} >= 1', True),
        ("b > 0 and a > 0", False),
        ("b > 0 or a > 0", True),
        ("sum(a) / sum(b) < 0.6", True),
        ("max by (x) (a) == 1", True),
        ("delta(c[1m]) > 29", True),
        ("delta(c[1m]) > 31", False),
        ("rate(c[1m]) == 0.5", True),
    ],
)
def test_expressions_mean_what_prometheus_says(expression: str, *, fires: bool) -> None:
    stored = Scrapes()
    for at_s, count in ((0, 0), (30, 15), (60, 30)):
        a, b, c = (("a", frozenset({("x", "1")})), ("b", frozenset({("y", "1")})), ("c", frozenset[tuple[str, str]]()))
        stored.add(at_s, {a: 1, b: 2, c: count})

    assert stored.fires(expression, 60) is fires


@pytest.mark.parametrize("expression", ["a ==", "a{x}", "sum(a", "a unless b", "topk(1, a) > 0", "a offset 5m > 0"])
def test_an_expression_beyond_what_is_understood_is_an_error(expression: str) -> None:
    with pytest.raises(ValueError, match=r"expected|not"):
        Scrapes().vector(parse(expression), 0)
