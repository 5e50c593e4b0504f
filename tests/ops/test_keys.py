"""`activity keys`: keys are made, listed, rotated and revoked, and a secret is shown once."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, select, update

from ops.cli import main
from ops.keys import KeyRequestError, create_key, list_keys, parse_duration, revoke_key, rotate_key
from snapshots import keys
from snapshots.database import connect
from snapshots.signals import READING
from snapshots.tables import api_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, RowMapping

    Activity = Callable[..., tuple[int, str, str]]


@pytest.fixture
def activity(fresh_database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Activity:
    """Return a function that runs the command and returns its exit code, output and errors."""
    monkeypatch.setenv("ACTIVITY_DATABASE_URL", fresh_database)

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        output = capsys.readouterr()
        return int(ended.value.code or 0), output.out, output.err

    return run


def test_a_new_key_may_read_everything_and_has_no_end(conn: Connection) -> None:
    made = create_key(conn, "acme")

    row = conn.execute(select(api_key).where(api_key.c.key_id == made.key_id)).one()
    assert row.capabilities == list(READING)
    assert (row.tenant_id, row.expires_at, row.revoked_at) == ("acme", None, None)


def test_what_is_stored_matches_the_token_and_does_not_contain_it(conn: Connection) -> None:
    made = create_key(conn, "acme")

    row = conn.execute(select(api_key).where(api_key.c.key_id == made.key_id)).one()
    parts = keys.parse(made.token)
    assert parts is not None
    assert keys.matches(parts[1], row.secret_sha256)
    assert parts[1] not in str(tuple(row))


def test_a_key_can_be_limited_in_time_and_capabilities(conn: Connection) -> None:
    created = create_key(
        conn, "acme", capabilities=["activity.patterns", "activity.patterns"], expires_in=timedelta(days=30), label="ci"
    )

    row = conn.execute(select(api_key).where(api_key.c.key_id == created.key_id)).one()
    assert row.capabilities == ["activity.patterns"]
    assert row.expires_at - row.created_at == timedelta(days=30)
    assert row.label == "ci"


@pytest.mark.parametrize(("words", "hours"), [("90m", 1.5), ("12h", 12), ("30d", 720), ("2w", 336)])
def test_a_duration_names_its_unit(words: str, hours: float) -> None:
    assert parse_duration(words) == timedelta(hours=hours)


@pytest.mark.parametrize("words", ["", "30", "d", "0d", "-1d", "1.5d", "30 d", "999999w", "٣d"])
def test_a_bad_duration_is_refused(words: str) -> None:
    with pytest.raises(KeyRequestError, match="expires-in: expected a duration like 12h, 30d or 8w"):
        parse_duration(words)


@pytest.mark.parametrize("tenant", ["", "  ", "a\0b", "\udcff"])
def test_a_tenant_without_a_name_is_refused(conn: Connection, tenant: str) -> None:
    with pytest.raises(KeyRequestError, match="tenant: expected"):
        create_key(conn, tenant)


def test_an_unknown_capability_is_refused_by_name(conn: Connection) -> None:
    with pytest.raises(
        KeyRequestError, match=r"'activity\.everything' does not exist; expected some of activity\.summary"
    ):
        create_key(conn, "acme", capabilities=["activity.everything"])


def test_keys_are_listed_by_tenant_without_secrets(conn: Connection) -> None:
    mine, other = create_key(conn, "acme"), create_key(conn, "globex")

    assert [row["key_id"] for row in list_keys(conn, "acme")] == [mine.key_id]
    assert {row["key_id"] for row in list_keys(conn)} >= {mine.key_id, other.key_id}
    assert "secret_sha256" not in list_keys(conn, "acme")[0]


def test_a_revoked_key_keeps_its_first_time(conn: Connection) -> None:
    made = create_key(conn, "acme")

    assert revoke_key(conn, made.key_id)
    first = list_keys(conn, "acme")[0]["revoked_at"]
    assert not revoke_key(conn, made.key_id)
    assert list_keys(conn, "acme")[0]["revoked_at"] == first


@pytest.mark.parametrize("key_id", ["nobody", "a\0b"])
def test_a_key_that_does_not_exist_cannot_be_revoked(conn: Connection, key_id: str) -> None:
    with pytest.raises(KeyRequestError, match="does not exist; `activity keys list` names"):
        revoke_key(conn, key_id)


def stored(conn: Connection, key_id: str) -> RowMapping:
    return conn.execute(select(api_key).where(api_key.c.key_id == key_id)).mappings().one()


def test_a_rotated_key_has_a_successor_like_it(conn: Connection) -> None:
    old = create_key(conn, "acme", capabilities=["activity.patterns"], label="ci")

    made = rotate_key(conn, old.key_id).made

    row = stored(conn, made.key_id)
    assert (row["tenant_id"], row["capabilities"], row["label"]) == ("acme", ["activity.patterns"], "ci")
    assert (row["expires_at"], row["revoked_at"]) == (None, None)
    assert made.secret_sha256 != old.secret_sha256


def test_a_rotated_key_ends_after_the_grace(conn: Connection) -> None:
    old = create_key(conn, "acme")

    done = rotate_key(conn, old.key_id, grace=timedelta(hours=2))

    began = stored(conn, done.made.key_id)["created_at"]
    assert stored(conn, old.key_id)["revoked_at"] == done.old_ends_at == began + timedelta(hours=2)


def test_a_key_without_an_end_that_is_rotated_twice_has_successors_without_one(conn: Connection) -> None:
    old = create_key(conn, "acme")
    first = rotate_key(conn, old.key_id, grace=timedelta(hours=2))

    second = rotate_key(conn, old.key_id, grace=timedelta(days=3))

    assert second.old_ends_at == first.old_ends_at
    assert [stored(conn, done.made.key_id)["expires_at"] for done in (first, second)] == [None, None]


def test_a_key_in_its_grace_can_be_revoked_at_once(conn: Connection) -> None:
    old = create_key(conn, "acme")
    rotate_key(conn, old.key_id)

    assert revoke_key(conn, old.key_id)
    assert not revoke_key(conn, old.key_id)
    with pytest.raises(KeyRequestError, match="was revoked"):
        rotate_key(conn, old.key_id)


def test_a_rotated_key_never_ends_later_than_it_would_have(conn: Connection) -> None:
    old = create_key(conn, "acme", expires_in=timedelta(hours=1))
    end = stored(conn, old.key_id)["expires_at"]

    done = rotate_key(conn, old.key_id, grace=timedelta(days=1))

    assert stored(conn, old.key_id)["revoked_at"] == done.old_ends_at == end


def test_the_successor_of_a_key_that_ends_lives_as_long_as_that_one(conn: Connection) -> None:
    old = create_key(conn, "acme", expires_in=timedelta(days=30))

    rotations = [rotate_key(conn, old.key_id) for _ in range(2)]

    for row in (stored(conn, done.made.key_id) for done in rotations):
        assert row["expires_at"] - row["created_at"] == timedelta(days=30)


def test_a_key_that_ended_has_no_successor(conn: Connection) -> None:
    revoked, expired = create_key(conn, "acme"), create_key(conn, "acme")
    revoke_key(conn, revoked.key_id)
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    past = {"created_at": long_ago, "expires_at": long_ago + timedelta(days=1)}
    conn.execute(update(api_key).where(api_key.c.key_id == expired.key_id).values(past))

    with pytest.raises(KeyRequestError, match="was revoked; `activity keys create` makes"):
        rotate_key(conn, revoked.key_id)
    with pytest.raises(KeyRequestError, match="expired; `activity keys create` makes"):
        rotate_key(conn, expired.key_id)
    with pytest.raises(KeyRequestError, match="does not exist"):
        rotate_key(conn, "nobody")
    assert len(list_keys(conn, "acme")) == 2


def test_the_command_rotates_and_prints_the_new_token_alone(activity: Activity) -> None:
    old = activity("keys", "create", "--tenant", "acme")[1].strip()
    old_id = old.split("_")[1]

    code, out, err = activity("keys", "rotate", old, "--grace", "90m")

    parts = keys.parse(out.strip())
    assert code == 0
    assert parts is not None
    assert out == out.strip() + "\n"
    assert parts[0] in err
    assert old_id in err
    assert parts[1] not in err
    assert old.split("_")[2] not in err
    listed = json.loads(activity("keys", "list", "--json")[1])
    assert {key["key_id"]: key["revoked_at"] is None for key in listed} == {old_id: False, parts[0]: True}


def test_a_bad_grace_is_named(activity: Activity) -> None:
    assert activity("keys", "rotate", "0" * 12, "--grace", "soon")[2].startswith("activity: grace: expected a duration")


def test_the_list_says_when_a_key_was_last_used(activity: Activity, fresh_database: str) -> None:
    used, unused = (activity("keys", "create", "--tenant", "acme")[1].split("_")[1] for _ in range(2))
    engine = connect(fresh_database)
    with engine.begin() as conn:
        at = datetime(2026, 1, 17, 12, 3, tzinfo=UTC)
        times = {"created_at": at - timedelta(days=1), "last_used_at": at}
        conn.execute(update(api_key).where(api_key.c.key_id == used).values(times))
    engine.dispose()

    listed = json.loads(activity("keys", "list", "--json")[1])
    assert {key["key_id"]: key["last_used_at"] for key in listed} == {used: "2026-01-17T12:03:00.000000Z", unused: None}
    assert "2026-01-17T12:03:00.000000Z" in activity("keys", "list")[1]


def test_no_key_was_used_before_it_was_made(conn: Connection) -> None:
    made = create_key(conn, "acme").key_id
    begun = func.date_trunc("minute", api_key.c.created_at) - timedelta(seconds=1)
    conn.execute(update(api_key).where(api_key.c.key_id == made).values(last_used_at=begun))

    [row] = list_keys(conn, "acme")

    assert row["last_used_at"] == row["created_at"]


def test_the_command_prints_the_token_alone_on_standard_output(activity: Activity) -> None:
    code, out, err = activity("keys", "create", "--tenant", "acme", "--expires-in", "30d", "--label", "ci")

    assert code == 0
    parts = keys.parse(out.strip())
    assert parts is not None
    assert out == out.strip() + "\n"
    assert parts[0] in err
    assert parts[1] not in err


def test_the_command_lists_and_revokes(activity: Activity) -> None:
    parts = keys.parse(activity("keys", "create", "--tenant", "acme")[1].strip())
    assert parts is not None
    key_id = parts[0]

    assert activity("keys", "revoke", key_id)[1] == f"key {key_id}: revoked\n"
    assert activity("keys", "revoke", key_id)[1] == f"key {key_id}: was revoked before\n"
    listed = json.loads(activity("keys", "list", "--tenant", "acme", "--json")[1])
    assert [(key["key_id"], key["revoked_at"] is None) for key in listed] == [(key_id, False)]
    assert key_id in activity("keys", "list")[1]


def test_the_command_explains_a_wrong_call_in_one_line(activity: Activity) -> None:
    code, out, err = activity("keys", "create", "--tenant", "acme", "--expires-in", "soon")

    assert (code, out) == (2, "")
    assert err == "activity: expires-in: expected a duration like 12h, 30d or 8w, got 'soon'\n"
