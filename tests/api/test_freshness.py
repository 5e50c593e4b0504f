"""Freshness of each signal as the API reports it; and kept versions.

Source: docs/specification-notes.md#kept-versions.
"""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import func, insert, select

from snapshots.signals import SIGNALS
from snapshots.tables import quarantine, refresh, snapshot_history
from tests.api.arrange import NOW, PREFIX, SNAPSHOT_PATHS, TENANT, Api, bearer
from tests.api.contract import assert_problem

FRESHNESS = f"{PREFIX}/freshness"
PATTERNS = SNAPSHOT_PATHS["patterns"]


def attempt(api: Api, signal: str, state: str, **more: object) -> None:
    """Arrange a row of the ledger."""
    row = {"signal": signal, "mode": "tick", "requested_by": "beat", "state": state, **more}
    row |= {"finished_at": NOW, "started_at": NOW, "error": "secret of globex"}
    with api.owner.begin() as conn:
        conn.execute(insert(refresh).values(row))


def shard_of(api: Api, shards: int) -> int:
    """Return the shard that the tenant falls into."""
    with api.owner.connect() as conn:
        return int(conn.execute(select(func.signals.slot_of(TENANT))).scalar_one()) % shards


def test_each_signal_tells_its_age_and_when_it_is_refreshed(api: Api) -> None:
    api.verify("patterns", as_of=NOW - timedelta(seconds=1))
    api.moment.pass_by(100)

    told = {each["signal"]: each for each in api.get(FRESHNESS).json["signals"]}

    assert list(told) == list(SIGNALS)
    assert told["patterns"] == {
        "signal": "patterns",
        "as_of": "2026-01-17T11:59:59.000000Z",
        "verified_at": "2026-01-17T12:00:00.000000Z",
        "age_s": 100,
        "stale_after": "2026-01-17T12:02:30.000000Z",
        "next_refresh_at": "2026-01-17T12:01:00.000000Z",
        "rule_version": "1.0",
        "stale": False,
        "failing": False,
        "last_attempt": None,
    }


@pytest.mark.parametrize(("seconds", "stale"), [(149.9, False), (150, False), (150.1, True)])
def test_a_signal_is_stale_after_two_periods_and_half_a_minute(api: Api, seconds: float, stale: bool) -> None:  # noqa: FBT001  # a case
    api.verify("patterns")
    api.moment.pass_by(seconds)

    assert api.get(FRESHNESS).json["signals"][0]["stale"] is stale


def test_a_signal_that_was_never_computed_is_stale_and_has_no_age(api: Api) -> None:
    told = api.get(FRESHNESS).json["signals"][1]

    assert (told["signal"], told["stale"], told["age_s"], told["as_of"]) == ("cost", True, None, None)


def test_the_last_attempt_is_told_by_its_class_and_nothing_it_quotes(api: Api) -> None:
    attempt(api, "cost", "succeeded")
    attempt(api, "cost", "failed", error_class="QueryCanceled")
    attempt(api, "cost", "coalesced")

    result = api.get(FRESHNESS)

    last = result.json["signals"][1]["last_attempt"]
    assert last == {"state": "failed", "error_class": "QueryCanceled", "finished_at": "2026-01-17T12:00:00.000000Z"}
    assert "secret" not in result.text


def test_attempts_of_shards_that_the_tenant_is_not_in_do_not_count(api: Api) -> None:
    own = shard_of(api, 4)
    attempt(api, "cost", "succeeded", shard=own, shards=4)
    attempt(api, "cost", "failed", shard=(own + 1) % 4, shards=4, error_class="OtherShard")

    assert api.get(FRESHNESS).json["signals"][1]["last_attempt"]["state"] == "succeeded"


def test_any_valid_key_may_ask_and_nobody_else(api: Api) -> None:
    bare = api.add_key(capabilities=[])

    assert api.client.simulate_get(FRESHNESS, headers=bearer(bare)).status_code == 200
    assert_problem(api.client.simulate_get(FRESHNESS), 401, "unauthorized")


def keep(api: Api, version: int, minutes: int, until: int) -> None:
    """Arrange a kept version of some minutes ago."""
    row = {
        "tenant_id": TENANT,
        "signal": "patterns",
        "version": version,
        "content": f'{{"patterns":[],"n":{version}}}',
        "window_json": f'"window {version}"',
        "as_of": NOW - timedelta(minutes=minutes),
        "computed_at": NOW - timedelta(minutes=minutes),
        "rule_version": "1.0",
        "replaced_at": NOW - timedelta(minutes=until),
    }
    with api.owner.begin() as conn:
        conn.execute(insert(snapshot_history).values(row))


def arrange_versions(api: Api) -> None:
    """Arrange versions 1 to 3: from 30, 20 and 10 minutes ago on."""
    api.verify("patterns")
    keep(api, 1, 30, 20)
    keep(api, 2, 20, 10)
    api.publish("patterns", '{"patterns":[],"n":3}', version=3, as_of=NOW - timedelta(minutes=10), window_json='"now"')


@pytest.mark.parametrize(("minutes", "version"), [(30, 1), (25, 1), (20, 2), (11, 2), (10, 3), (0, 3)])
def test_the_version_of_an_instant_is_the_one_that_was_current_then(api: Api, minutes: int, version: int) -> None:
    arrange_versions(api)
    as_of = (NOW - timedelta(minutes=minutes)).isoformat()

    result = api.get(PATTERNS, params={"as_of": as_of})

    assert (result.json["n"], result.json["snapshot"]["version"]) == (version, version)
    assert result.headers["snapshot-stale"] == "?0"
    assert result.json["snapshot"]["next_refresh_at"] is None


def test_a_kept_version_has_its_own_instant_window_and_successor(api: Api) -> None:
    arrange_versions(api)

    result = api.get(PATTERNS, params={"as_of": (NOW - timedelta(minutes=25)).isoformat()})

    assert result.json["window"] == "window 1"
    assert result.json["snapshot"]["as_of"] == result.headers["snapshot-as-of"] == "2026-01-17T11:30:00.000000Z"
    assert result.json["snapshot"]["replaced_at"] == "2026-01-17T11:40:00.000000Z"


def test_an_instant_before_the_oldest_kept_version_is_not_found(api: Api) -> None:
    arrange_versions(api)

    result = api.get(PATTERNS, params={"as_of": (NOW - timedelta(minutes=31)).isoformat()})

    assert_problem(result, 404, "snapshot_not_kept")


def test_the_kept_versions_of_another_tenant_are_not_found(api: Api) -> None:
    arrange_versions(api)

    result = api.get(PATTERNS, tenant="globex", params={"as_of": NOW.isoformat()})

    assert_problem(result, 404, "snapshot_not_kept")


def test_an_instant_in_the_future_is_refused(api: Api) -> None:
    later = (NOW + timedelta(seconds=1)).isoformat()

    document = assert_problem(api.get(PATTERNS, params={"as_of": later}), 400, "invalid_parameter")

    assert document["parameter"] == "as_of"


def test_a_kept_version_that_the_client_holds_is_not_sent_again(api: Api) -> None:
    arrange_versions(api)
    asked = {"as_of": (NOW - timedelta(minutes=25)).isoformat()}
    etag = api.get(PATTERNS, params=asked).headers["etag"]

    result = api.get(PATTERNS, params=asked, headers={"If-None-Match": etag})

    assert result.status_code == 304
    assert result.headers["snapshot-as-of"] == "2026-01-17T11:30:00.000000Z"


def set_aside(api: Api, signal: str, minutes: int, **more: object) -> None:
    """Arrange that the tenant's data has broken a signal for some minutes."""
    failed_at = NOW - timedelta(minutes=minutes)
    row = {"signal": signal, "tenant_id": TENANT, "failures": 5, "error_class": "DataError", "error": "quotes a row"}
    times = dict.fromkeys(("first_failed_at", "last_failed_at", "retry_at"), failed_at)
    with api.owner.begin() as conn:
        conn.execute(insert(quarantine).values(row | times | more))


def test_a_snapshot_whose_tenant_is_set_aside_was_confirmed_before_its_first_failure(api: Api) -> None:
    api.verify("patterns")
    api.publish("patterns", '{"patterns":[]}', as_of=NOW - timedelta(minutes=20), window_json='"own"')
    set_aside(api, "patterns", 10, as_of=NOW - timedelta(minutes=11), window_json='"last"')

    result = api.get(PATTERNS)

    # Neither before nor after its last confirmation does the instant go back.
    assert result.json["window"] == "last"
    assert result.json["snapshot"]["as_of"] == "2026-01-17T11:49:00.000000Z"
    assert result.json["snapshot"]["verified_at"] == "2026-01-17T11:50:00.000000Z"
    assert result.headers["snapshot-stale"] == "?1"
    told = api.get(FRESHNESS).json["signals"][0]
    assert (told["stale"], told["failing"], told["age_s"]) == (True, True, 600)
    assert "quotes" not in result.text


def test_a_tenant_that_was_never_published_and_is_set_aside_is_not_told_that_all_is_clear(api: Api) -> None:
    api.verify("patterns")
    set_aside(api, "patterns", 10)

    assert_problem(api.get(PATTERNS), 503, "snapshot_not_ready")
    assert api.get(PATTERNS, tenant="globex").status_code == 200
