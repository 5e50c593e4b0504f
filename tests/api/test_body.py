from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from snapshots.body import MalformedContentError, Provenance, instant, join, slice_items
from tests.api.arrange import queue_of

VERIFIED = datetime(2026, 1, 17, 12, 0, tzinfo=UTC)


def test_the_window_comes_first_and_the_snapshot_last() -> None:
    body = join('{"start":"a"}', '{"patterns":[],"n":1}', b'{"version":3}')

    assert body == b'{"window":{"start":"a"},"patterns":[],"n":1,"snapshot":{"version":3}}'


def test_without_a_window_there_is_no_such_member() -> None:
    assert join(None, '{"queue":[]}', b"{}") == b'{"queue":[],"snapshot":{}}'


@pytest.mark.parametrize("window", [None, "{}"])
def test_a_content_without_members_leaves_no_stray_comma(window: str | None) -> None:
    assert json.loads(join(window, "{}", b"{}"))["snapshot"] == {}


def test_text_beyond_ascii_is_sent_as_utf_8() -> None:
    assert json.loads(join(None, '{"agent_id":"Zoë 東京"}', b"{}"))["agent_id"] == "Zoë 東京"


@pytest.mark.parametrize("size", [1, 2, 19, 20, 21, 100])
@pytest.mark.parametrize("limit", [1, 19, 20, 21, 100])
def test_a_limit_takes_the_first_items_and_leaves_the_rest_of_the_content(size: int, limit: int) -> None:
    content, items = queue_of(size)

    sliced = json.loads(slice_items(content, items, limit))

    assert [item["rank"] for item in sliced["queue"]] == list(range(1, min(limit, size) + 1))
    assert sliced["total_attention_items"] == size
    assert list(sliced) == list(json.loads(content))


@pytest.mark.parametrize("items", [None, []])
def test_a_content_without_items_stays_as_it_is(items: list[str] | None) -> None:
    assert slice_items('{"queue":[]}', items, 5) == '{"queue":[]}'


def test_a_content_that_does_not_begin_with_its_items_is_an_error() -> None:
    with pytest.raises(MalformedContentError, match="expected the queue first"):
        slice_items('{"total":1,"queue":[{}]}', ["{}"], 5)


def test_the_snapshot_states_when_it_is_due_and_when_it_is_stale() -> None:
    provenance = Provenance(
        as_of=VERIFIED - timedelta(seconds=1),
        computed_at=VERIFIED - timedelta(hours=1),
        version=7,
        rule_version="1.0",
        verified_at=VERIFIED,
        period_s=60,
    )

    assert json.loads(provenance.as_json()) == {
        "as_of": "2026-01-17T11:59:59.000000Z",
        "computed_at": "2026-01-17T11:00:00.000000Z",
        "version": 7,
        "rule_version": "1.0",
        "stale_after": "2026-01-17T12:02:30.000000Z",
        "next_refresh_at": "2026-01-17T12:01:00.000000Z",
        "verified_at": "2026-01-17T12:00:00.000000Z",
    }


@pytest.mark.parametrize(
    "moment",
    [VERIFIED, VERIFIED.replace(tzinfo=None), VERIFIED.astimezone(timezone(timedelta(hours=5, minutes=30)))],
    ids=["aware", "naive", "another zone"],
)
def test_every_instant_prints_in_utc(moment: datetime) -> None:
    assert instant(moment) == "2026-01-17T12:00:00.000000Z"
