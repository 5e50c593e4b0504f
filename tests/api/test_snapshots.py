"""Snapshots as read; the rows are arranged as the worker would have published them.

Source: docs/specification-notes.md#content-and-confirmation, docs/specification-notes.md#unready-and-empty-snapshots.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from api.queries.published import CACHE_TTL_S
from tests.api.arrange import EMPTY, NOW, OTHER_TENANT, SNAPSHOT_PATHS, TENANT, Api, queue_of
from tests.api.contract import assert_problem

QUEUE = SNAPSHOT_PATHS["attention"]
PATTERNS = SNAPSHOT_PATHS["patterns"]
AGES = ("snapshot-as-of", "snapshot-verified-at", "snapshot-stale")


@pytest.mark.parametrize(("signal", "path"), SNAPSHOT_PATHS.items())
def test_a_signal_that_was_never_computed_is_not_ready(api: Api, signal: str, path: str) -> None:
    result = api.get(path)

    assert signal in assert_problem(result, 503, "snapshot_not_ready")["detail"]
    assert int(result.headers["retry-after"]) > 0


@pytest.mark.parametrize(("signal", "path"), SNAPSHOT_PATHS.items())
def test_a_tenant_without_findings_is_served_the_empty_content(api: Api, signal: str, path: str) -> None:
    api.verify(signal)

    body = api.get(path).json

    assert list(body)[-1] == "snapshot"
    assert ("window" in body) == (signal != "attention")
    assert {name: body[name] for name in body if name not in {"window", "snapshot"}} == json.loads(EMPTY[signal])
    assert (body["snapshot"]["version"], body["snapshot"]["as_of"]) == (0, "2026-01-17T12:00:00.000000Z")


def test_the_stored_content_is_sent_byte_for_byte(api: Api) -> None:
    content = '{"patterns":[{"b":1.50,"a":"Zoë  "}],"x":1e2}'
    api.verify("patterns")
    api.publish("patterns", content, version=4)

    assert content[1:-1].encode() in api.get(PATTERNS).content


def test_the_window_and_as_of_are_the_newer_of_the_shard_s_and_the_tenant_s(api: Api) -> None:
    for minutes, window, as_of in ((-5, "shard", "12:00"), (0, "shard", "12:00"), (5, "tenant", "12:05")):
        api.verify("patterns", window_json='"shard"')
        api.publish("patterns", '{"patterns":[]}', as_of=NOW + timedelta(minutes=minutes), window_json='"tenant"')
        api.moment.pass_by(CACHE_TTL_S)

        result = api.get(PATTERNS)

        assert result.json["window"] == window
        assert result.json["snapshot"]["as_of"] == f"2026-01-17T{as_of}:00.000000Z"
        assert result.headers["snapshot-as-of"] == result.json["snapshot"]["as_of"]


def test_a_snapshot_is_stale_after_two_periods_and_half_a_minute(api: Api) -> None:
    api.verify("patterns", period_s=60)

    ages = []
    for seconds in (0, 150, 0.000001):
        api.moment.pass_by(seconds)
        ages.append(api.get(PATTERNS).headers["snapshot-stale"])

    assert ages == ["?0", "?0", "?1"]


def test_staleness_is_judged_at_the_request_even_when_the_row_is_remembered(api: Api) -> None:
    api.verify("patterns", period_s=60, verified_at=NOW - timedelta(seconds=150))
    assert api.get(PATTERNS).headers["snapshot-stale"] == "?0"

    api.moment.pass_by(CACHE_TTL_S / 2)

    assert api.get(PATTERNS).headers["snapshot-stale"] == "?1"


def test_a_snapshot_is_looked_up_once_a_second(api: Api, statements: list[str]) -> None:
    api.verify("patterns")
    api.get(PATTERNS)
    statements.clear()

    api.moment.pass_by(CACHE_TTL_S * 0.9)
    api.get(PATTERNS)
    assert statements == []

    api.moment.pass_by(CACHE_TTL_S * 0.2)
    api.get(PATTERNS)
    assert len(statements) == 1


@pytest.mark.parametrize(
    "form",
    ['W/"{0}"', '"{0}"', '"other", W/"{0}"', "*", 'W/"a",W/"{0}",W/"b"'],
    ids=["weak", "strong", "list", "any", "tight"],
)
def test_a_client_that_holds_the_content_gets_304_with_the_ages(api: Api, form: str) -> None:
    api.verify("attention")
    content, items = queue_of(30)
    api.publish("attention", content, items=items)
    first = api.get(QUEUE)
    held = form.format(first.headers["etag"].removeprefix("W/").strip('"'))

    second = api.get(QUEUE, headers={"If-None-Match": held})

    assert (second.status_code, second.content) == (304, b"")
    assert second.headers["etag"] == first.headers["etag"]
    assert second.headers["cache-control"] == "private, max-age=1"
    assert all(second.headers[name] == first.headers[name] for name in AGES)


@pytest.mark.parametrize("held", ['W/"other"', "nonsense", ""])
def test_a_client_that_holds_something_else_gets_the_content(api: Api, held: str) -> None:
    api.verify("patterns")

    assert api.get(PATTERNS, headers={"If-None-Match": held}).status_code == 200


def test_a_confirmation_keeps_the_tag_and_moves_the_ages(api: Api) -> None:
    api.verify("patterns")
    api.publish("patterns", '{"patterns":[]}')
    before = api.get(PATTERNS)

    later = NOW + timedelta(minutes=1)
    api.verify("patterns", as_of=later, verified_at=later, window_json='"moved"')
    api.moment.pass_by(CACHE_TTL_S)
    after = api.get(PATTERNS)

    assert after.headers["etag"] == before.headers["etag"]
    assert after.headers["snapshot-verified-at"] == "2026-01-17T12:01:00.000000Z"
    assert after.json["window"] == "moved"


def test_the_tag_differs_by_content_rule_limit_and_tenant(api: Api) -> None:
    content, items = queue_of(30)
    api.verify("attention")
    tags = {api.get(QUEUE).headers["etag"]}
    arranged: list[dict[str, Any]] = [
        {"version": 1},
        {"version": 2},
        {"version": 2, "rule_version": "1.1"},
        {"version": 2, "computed_at": NOW},
    ]
    for overrides in arranged:
        api.publish("attention", content, items=items, **overrides)
        api.moment.pass_by(CACHE_TTL_S)
        tags.add(api.get(QUEUE).headers["etag"])
    tags.add(api.get(f"{QUEUE}?limit=5").headers["etag"])
    api.publish("attention", content, items=items, tenant=OTHER_TENANT, version=2, computed_at=NOW)
    tags.add(api.get(QUEUE, tenant=OTHER_TENANT).headers["etag"])

    assert len(tags) == 7
    assert all(tag.startswith('W/"') for tag in tags)


@pytest.mark.parametrize(("query", "shown"), [("", 20), ("?limit=20", 20), ("?limit=1", 1), ("?limit=100", 30)])
def test_a_limit_shows_the_first_runs_of_the_queue(api: Api, query: str, shown: int) -> None:
    content, items = queue_of(30)
    api.verify("attention")
    api.publish("attention", content, items=items)

    body = api.get(f"{QUEUE}{query}").json

    assert [item["rank"] for item in body["queue"]] == list(range(1, shown + 1))
    assert body["total_attention_items"] == 30
    assert "window" not in body


@pytest.mark.parametrize("path", [SNAPSHOT_PATHS["patterns"], SNAPSHOT_PATHS["cost"]])
def test_only_the_queue_takes_a_limit(api: Api, path: str) -> None:
    assert_problem(api.get(f"{path}?limit=5"), 400, "unknown_parameter")


def test_a_head_request_has_the_headers_of_the_content(api: Api) -> None:
    api.verify("patterns")
    etag = api.get(PATTERNS).headers["etag"]

    result = api.client.simulate_head(PATTERNS, headers={"Authorization": f"Bearer {api.add_key(TENANT)}"})

    assert (result.status_code, result.content, result.headers["etag"]) == (200, b"", etag)


def test_a_queue_answers_for_the_instant_of_its_scores_whatever_confirmed_it_since(api: Api) -> None:
    content, items = queue_of(3)
    api.verify("attention")
    api.publish("attention", content, items=items, as_of=NOW - timedelta(minutes=3))

    result = api.get(QUEUE)

    assert result.json["snapshot"]["as_of"] == "2026-01-17T11:57:00.000000Z"
    assert result.headers["snapshot-verified-at"] == "2026-01-17T12:00:00.000000Z"


def test_the_etag_of_no_findings_names_what_is_served(api: Api) -> None:
    tags = []
    for parameters in ('{"slow_step_ms":5000}', '{"slow_step_ms":9000}'):
        api.verify("patterns", empty_content=f'{{"patterns":[],"parameters":{parameters}}}')
        api.moment.pass_by(CACHE_TTL_S)
        tags.append(api.get(PATTERNS).headers["etag"])

    assert tags[0] != tags[1]
