"""Triage: what people say of an item, for the whole tenant, append-only, beside the snapshots."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from falcon.testing import TestClient
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from api.app import PREFIX, AppDependencies, create_app
from snapshots.body import ITEM_LISTS
from snapshots.settings import Settings
from snapshots.signals import CAPABILITIES, READING
from snapshots.tables import snapshot
from snapshots.triage import triage, triage_event
from tests.api.arrange import NOW, OTHER_TENANT, SNAPSHOT_PATHS, TENANT, Api, bearer
from tests.api.contract import assert_problem
from tests.api.test_overlay import items_of, plant, publish
from tests.ops.documents import ROOT, documented, words_of

if TYPE_CHECKING:
    from falcon.testing import Result
    from sqlalchemy import Engine

PATH = f"{PREFIX}/triage"
QUEUE = SNAPSHOT_PATHS["attention"]
UNKNOWN = "0" * 32


def say(api: Api, tenant: str = TENANT, key: str | None = None, **body: Any) -> Result:  # noqa: ANN401  # any member
    """POST a decision with a key of `tenant` that may."""
    headers = bearer(api.token(tenant)) | ({} if key is None else {"Idempotency-Key": key})
    written = json.dumps(body)
    return api.client.simulate_post(PATH, body=written, headers=headers | {"Content-Type": "application/json"})


@pytest.fixture
def busy(api: Api) -> Api:
    """Return the application over runs that every signal has found and published."""
    arrange(api, 3)
    return api


def arrange(api: Api, runs: int) -> None:
    with api.owner.begin() as conn:
        for number in range(runs):
            plant(conn, number, api.moment.now)
    publish(api, api.moment.now)


def test_what_is_said_of_an_item_stands_at_it_for_the_whole_tenant(busy: Api) -> None:
    fingerprint = items_of(busy, "attention")[0]["fingerprint"]

    result = say(busy, fingerprint=fingerprint, action="acknowledge", comment="  on it ")

    said = result.json["triage"]
    assert result.status_code == 201
    assert (said["state"], said["until"], said["comment"]) == ("acknowledged", None, "on it")
    busy.moment.pass_by(2)
    assert items_of(busy, "attention")[0]["triage"] == said
    assert {item["triage"] for item in items_of(busy, "attention")[1:]} == {None}


def test_the_request_of_the_documentation_does_what_it_says(busy: Api) -> None:
    [line] = [each for each in documented(ROOT / "docs" / "triage.md") if each.startswith("curl ")]
    known = {"KEY": busy.token(), "3f2a...": items_of(busy, "attention")[0]["fingerprint"]}
    for name, value in known.items():
        assert name in line
        line = line.replace(name, value)  # a line with what it stands for

    *options, url = words_of(line)[1:]
    pairs = list(zip(options[::2], options[1::2], strict=True))
    headers = dict(value.split(": ", 1) for option, value in pairs if option == "-H")
    [body] = [value for option, value in pairs if option == "-d"]
    result = busy.client.simulate_post(urlsplit(url).path, body=body, headers=headers)

    assert result.status_code == 201
    assert (result.json["triage"]["state"], result.json["triage"]["comment"]) == ("snoozed", "being repaired")


def test_the_stored_snapshot_knows_nothing_of_it(busy: Api) -> None:
    def stored() -> object:
        with busy.owner.connect() as conn:
            return conn.execute(select(snapshot).order_by(snapshot.c.signal)).all()

    before = stored()
    say(busy, fingerprint=items_of(busy, "cost")[0]["fingerprint"], action="snooze", minutes=60)

    assert stored() == before


def test_the_tag_changes_with_what_is_said_and_with_its_end(busy: Api) -> None:
    fingerprint = items_of(busy, "cost")[0]["fingerprint"]
    tags = [busy.get(SNAPSHOT_PATHS["cost"]).headers["etag"]]
    say(busy, fingerprint=fingerprint, action="snooze", minutes=15)
    for seconds in (2, 15 * 60):
        busy.moment.pass_by(seconds)
        tags.append(busy.get(SNAPSHOT_PATHS["cost"]).headers["etag"])

    assert len({*tags[:2]}) == 2
    assert tags[2] == tags[0]
    assert items_of(busy, "cost")[0]["triage"] is None


@pytest.mark.parametrize("signal", SNAPSHOT_PATHS)
def test_hiding_takes_out_what_is_snoozed_and_nothing_else(busy: Api, signal: str) -> None:
    items = items_of(busy, signal)
    say(busy, fingerprint=items[0]["fingerprint"], action="snooze", minutes=60)
    say(busy, fingerprint=items[1]["fingerprint"], action="acknowledge")
    busy.moment.pass_by(2)

    body = busy.get(SNAPSHOT_PATHS[signal], params={"snoozed": "hide"}).json
    shown = [item["fingerprint"] for item in body[ITEM_LISTS[signal]]]

    assert shown == [item["fingerprint"] for item in items[1:]]
    assert body["snoozed_hidden"] == 1
    everything = busy.get(SNAPSHOT_PATHS[signal]).json
    assert [item["fingerprint"] for item in everything[ITEM_LISTS[signal]]] == [item["fingerprint"] for item in items]
    assert "snoozed_hidden" not in everything


def test_a_page_is_full_although_a_hundred_are_snoozed_and_their_number_stays(api: Api) -> None:
    with api.owner.begin() as conn:
        for number in range(330):
            plant_queued(conn, number, api)
    publish(api, api.moment.now, ("attention",))
    for first in (0, 100):
        for item in items_of(api, "attention", limit="100", snoozed="hide"):
            say(api, fingerprint=item["fingerprint"], action="snooze", minutes=60)
        api.moment.pass_by(2)
        body = api.get(QUEUE, params={"snoozed": "hide", "limit": "100"}).json
        assert [item["rank"] for item in body["queue"]] == list(range(first + 101, first + 201))
        assert (body["snoozed_hidden"], body["total_attention_items"]) == (first + 100, 330)
        publish(api, api.moment.now + timedelta(minutes=5 * (first + 1)), ("attention",))
    assert [item["rank"] for item in items_of(api, "attention")] == list(range(1, 21))


def plant_queued(conn: Any, number: int, api: Api) -> None:  # noqa: ANN401  # a connection
    statement = text(
        "insert into runs (id, tenant_id, state, risk_level, started_at) values (:id, 'acme', 'LIVE', 'AT_RISK', :at)"
    )
    conn.execute(statement, {"id": f"run-{number:03}", "at": api.moment.now - timedelta(hours=1)})


def test_a_worsening_item_is_open_again(busy: Api) -> None:
    first = items_of(busy, "attention")[0]
    say(busy, fingerprint=first["fingerprint"], action="snooze", minutes=600)
    with busy.owner.begin() as conn:
        conn.execute(text("update runs set risk_level = 'VIOLATED' where id = :id"), {"id": first["run_id"]})
    publish(busy, NOW + timedelta(minutes=1), ("attention",))
    busy.moment.pass_by(60)

    assert items_of(busy, "attention", snoozed="hide")[0] == items_of(busy, "attention")[0]
    assert items_of(busy, "attention")[0]["triage"] is None
    events = busy.get(PATH, params={"fingerprint": first["fingerprint"]}).json["events"]
    assert [(each["action"], each["reason"]) for each in events] == [("reopen", "worsened"), ("snooze", None)]
    assert events[0]["actor"] == "system"


@pytest.mark.parametrize("better", ["risk_level = 'NEAR_THRESHOLD'", "status = 'queued'"])
def test_an_item_that_is_no_worse_stays_snoozed(busy: Api, better: str) -> None:
    first = items_of(busy, "attention")[0]
    say(busy, fingerprint=first["fingerprint"], action="snooze", minutes=600)
    with busy.owner.begin() as conn:
        conn.execute(text(f"update runs set {better} where id = :id"), {"id": first["run_id"]})  # noqa: S608  # ours
    publish(busy, NOW + timedelta(minutes=1), ("attention",))
    busy.moment.pass_by(60)

    triaged = {item["run_id"]: item["triage"] for item in items_of(busy, "attention")}
    assert triaged[first["run_id"]]["state"] == "snoozed"


@pytest.mark.parametrize(("action", "stays"), [("acknowledge", False), ("snooze", True)])
def test_what_was_acknowledged_and_comes_back_is_open_again(busy: Api, action: str, *, stays: bool) -> None:
    first = items_of(busy, "attention")[0]
    say(busy, fingerprint=first["fingerprint"], action=action, minutes=600 if action == "snooze" else None)
    for minutes, level in ((1, "NORMAL"), (2, "AT_RISK")):
        with busy.owner.begin() as conn:
            conn.execute(text(f"update runs set risk_level = '{level}' where id = :id"), {"id": first["run_id"]})  # noqa: S608  # ours
        publish(busy, NOW + timedelta(minutes=minutes), ("attention",))
    busy.moment.pass_by(120)

    triaged = {item["run_id"]: item["triage"] for item in items_of(busy, "attention")}
    assert (triaged[first["run_id"]] is not None) == stays


def test_every_event_is_kept_with_its_actor_and_the_last_one_holds(busy: Api) -> None:
    fingerprint = items_of(busy, "cost")[0]["fingerprint"]
    until = "2026-02-01T00:00:00Z"
    say(busy, fingerprint=fingerprint, action="snooze", minutes=60)
    say(busy, fingerprint=fingerprint, action="expect", reason="load test", until=until)
    token = busy.add_key(label="night shift")
    busy.client.simulate_post(PATH, json={"fingerprint": fingerprint, "action": "acknowledge"}, headers=bearer(token))

    history = busy.get(PATH, params={"fingerprint": fingerprint}).json

    assert [each["action"] for each in history["events"]] == ["acknowledge", "expect", "snooze"]
    assert history["events"][0]["actor"].startswith("night shift (")
    assert history["events"][1]["until"] == "2026-02-01T00:00:00.000000Z"
    assert history["triage"]["state"] == "acknowledged"
    assert say(busy, fingerprint=fingerprint, action="reopen").json == {"triage": None}
    assert busy.get(PATH, params={"fingerprint": fingerprint}).json["triage"] is None


def test_a_request_that_is_repeated_is_written_once(busy: Api) -> None:
    fingerprint = items_of(busy, "cost")[0]["fingerprint"]
    body: dict[str, Any] = {"fingerprint": fingerprint, "action": "snooze", "minutes": 60}

    first = say(busy, key="a-1", **body)
    busy.moment.pass_by(30)
    again = say(busy, key="a-1", **body)

    assert (again.status_code, again.json) == (201, first.json)
    assert len(busy.get(PATH, params={"fingerprint": fingerprint}).json["events"]) == 1
    other = say(busy, key="a-1", **body | {"action": "acknowledge", "minutes": None})
    assert_problem(other, 409, "idempotency_key_reused")
    assert_problem(say(busy, key="a-1", **body | {"minutes": 1440}), 409, "idempotency_key_reused")
    assert say(busy, OTHER_TENANT, key="a-1", **body).status_code == 404


def test_a_service_without_a_role_that_writes_says_so(busy: Api, reader: Engine, authenticator: Engine) -> None:
    app = create_app(reader, authenticator, Settings(), AppDependencies(clock=busy.moment.clock))

    result = TestClient(app).simulate_post(PATH, json=VALID, headers=bearer(busy.token(TENANT)))

    assert_problem(result, 503, "triage_unavailable")


VALID: dict[str, Any] = {"fingerprint": UNKNOWN, "action": "snooze", "minutes": 60}


@pytest.mark.parametrize(
    ("changed", "member"),
    [
        ({"fingerprint": None}, "fingerprint"),
        ({"fingerprint": "x" * 32}, "fingerprint"),
        ({"fingerprint": 7}, "fingerprint"),
        ({"action": None}, "action"),
        ({"action": "mute"}, "action"),
        ({"action": ["snooze"]}, "action"),
        ({"minutes": None}, "minutes"),
        ({"minutes": 14}, "minutes"),
        ({"minutes": 1441}, "minutes"),
        ({"minutes": True}, "minutes"),
        ({"minutes": 60.0}, "minutes"),
        ({"minutes": 10**30}, "minutes"),
        ({"until": "2026-01-17T13:00:00Z"}, "minutes"),
        ({"minutes": None, "until": "2026-01-17T13:00:00"}, "until"),
        ({"minutes": None, "until": "2026-01-17T12:01:00Z"}, "until"),
        ({"minutes": None, "until": "2026-01-18T12:00:01Z"}, "until"),
        ({"minutes": None, "until": 7}, "until"),
        ({"action": "acknowledge"}, "minutes"),
        ({"action": "reopen"}, "minutes"),
        ({"action": "expect"}, "reason"),
        ({"action": "expect", "reason": "   "}, "reason"),
        ({"action": "expect", "reason": "r" * 201}, "reason"),
        ({"comment": "c" * 2001}, "comment"),
        ({"comment": "a\x00b"}, "comment"),
        ({"comment": "\ud800"}, "comment"),
        ({"tenant_id": "globex"}, "tenant_id"),
        ({"actor": "somebody"}, "actor"),
    ],
)
def test_a_body_at_fault_is_refused_by_its_member(api: Api, changed: dict[str, Any], member: str) -> None:
    problem = assert_problem(say(api, **VALID | changed), 400, "invalid_body")

    assert problem["member"] == member


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"nul", b'{"a":NaN}', b'{"action":"snooze","action":"reopen"}', b"\xff", b"[" * 9999]
)
def test_a_body_that_is_no_object_is_refused(api: Api, body: bytes) -> None:
    headers = bearer(api.token(TENANT)) | {"Content-Type": "application/json; charset=utf-8"}

    assert_problem(api.client.simulate_post(PATH, body=body, headers=headers), 400, "invalid_body")


def test_the_body_is_said_to_be_json_and_is_bounded(api: Api) -> None:
    headers = bearer(api.token(TENANT))

    plain = api.client.simulate_post(PATH, body="{}", headers=headers | {"Content-Type": "text/plain"})
    assert_problem(plain, 415, "unsupported_media_type")
    assert_problem(say(api, **VALID | {"comment": "c" * 70_000}), 413, "body_too_large")
    assert_problem(say(api, key="two words", **VALID), 400, "invalid_header")
    assert_problem(api.client.simulate_post(f"{PATH}?tenant_id=globex", headers=headers), 400, "tenant_id_rejected")


def test_an_item_that_nobody_knows_and_one_of_another_tenant_are_not_found(busy: Api) -> None:
    fingerprint = items_of(busy, "cost")[0]["fingerprint"]

    assert_problem(say(busy, **VALID), 404, "item_not_found")
    assert_problem(say(busy, OTHER_TENANT, **VALID | {"fingerprint": fingerprint}), 404, "item_not_found")
    foreign = busy.get(PATH, tenant=OTHER_TENANT, params={"fingerprint": fingerprint})
    assert_problem(foreign, 404, "item_not_found")


def test_writing_needs_its_own_capability_which_no_key_gets_unasked(busy: Api) -> None:
    token = busy.add_key(capabilities=[each for each in CAPABILITIES if each != "activity.triage"])

    result = busy.client.simulate_post(PATH, json=VALID, headers=bearer(token))

    assert assert_problem(result, 403, "capability_missing")["capability"] == "activity.triage"
    assert_problem(busy.client.simulate_post(PATH, json=VALID), 401, "unauthorized")
    assert "activity.triage" not in READING


@pytest.mark.parametrize(
    "statement",
    [
        "update signals.triage_event set actor = 'x'",
        "delete from signals.triage_event",
        "update signals.triage set state = 'open'",
        "insert into signals.triage values ('acme', 'cost', 'f', 'open', null, null, null, 'x', now(), 1)",
        "insert into signals.triage_event (tenant_id, at) values ('acme', now())",
        "select 1 from signals.snapshot",
        "select 1 from signals.api_key",
    ],
)
def test_the_writer_may_add_events_and_nothing_else(triager: Engine, statement: str) -> None:
    with triager.connect() as conn, pytest.raises(DBAPIError, match="permission denied"):
        conn.execute(text(statement))


@pytest.mark.parametrize("named", ["", "globex"])
def test_the_writer_adds_for_the_tenant_that_it_names_alone(triager: Engine, named: str) -> None:
    add = (
        "insert into signals.triage_event (tenant_id, signal, fingerprint, key, action, actor)"
        " values ('acme', 'cost', 'f', '{}', 'reopen', 'x')"
    )
    setting = text("select set_config('activity.tenant_id', :tenant, false)")
    with triager.connect() as conn:
        conn.execute(setting, {"tenant": named})
        with pytest.raises(DBAPIError, match="row-level security"):
            conn.execute(text(add))
        conn.execute(setting, {"tenant": ""})


def test_the_event_that_was_numbered_last_decides_whatever_commits_last(api: Api) -> None:
    add = text(
        "insert into signals.triage_event (tenant_id, signal, fingerprint, key, action, actor)"
        " values ('acme', 'cost', :fingerprint, '{}', :action, 'x')"
    )
    with api.owner.begin() as conn:
        conn.execute(add, {"fingerprint": UNKNOWN, "action": "acknowledge"})
        conn.execute(add, {"fingerprint": UNKNOWN, "action": "reopen"})
        conn.execute(text("update signals.triage set event_no = event_no + 10"))
        conn.execute(add, {"fingerprint": UNKNOWN, "action": "acknowledge"})
        assert conn.execute(select(triage.c.state)).scalars().all() == ["open"]
        assert len(conn.execute(select(triage_event)).all()) == 3
