from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from falcon.testing import TestClient
from sqlalchemy import create_engine, func, literal_column, select, update

from api.app import AppDependencies, create_app
from api.auth.authentication import KNOWN_TTL_S, UNKNOWN_TTL_S
from api.auth.last_use import NOTED_TTL_S, REFUSED_TTL_S, LastUse
from api.http.circuit_breaker import CircuitBreaker
from api.queries.published import CACHE_TTL_S
from snapshots import keys
from snapshots.database import normalise
from snapshots.settings import Settings
from snapshots.signals import AUTHENTICATOR_ROLE
from snapshots.tables import api_key
from tests.api.arrange import NOW, OTHER_TENANT, PREFIX, Api, bearer
from tests.api.contract import assert_problem

if TYPE_CHECKING:
    from falcon.testing import Result
    from sqlalchemy import Engine

    from tests.postgres import Server

PATH = f"{PREFIX}/summary/by-status"


def ask(api: Api, token: str) -> Result:
    return api.client.simulate_get(PATH, headers=bearer(token))


def test_the_key_alone_names_the_tenant(api: Api) -> None:
    assert ask(api, api.add_key(OTHER_TENANT)).json["tenant_id"] == OTHER_TENANT


def test_the_scheme_is_read_in_any_case(api: Api) -> None:
    token = api.add_key()

    assert api.client.simulate_get(PATH, headers={"Authorization": f"bEARER  {token}"}).status_code == 200


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Bearer nonsense", "Basic dXNlcjpwYXNz", "Bearer \u00e9"])
def test_a_header_that_carries_no_key_is_refused(api: Api, header: str) -> None:
    assert_problem(api.client.simulate_get(PATH, headers={"Authorization": header}), 401, "unauthorized")


def test_whatever_is_wrong_with_a_key_the_answer_is_the_same(api: Api) -> None:
    valid = api.add_key()
    wrong = [
        keys.generate().token,
        f"{valid.rpartition('_')[0]}_{'0' * 64}",
        api.add_key(expires_at=NOW - timedelta(seconds=1)),
        api.add_key(revoked_at=NOW - timedelta(seconds=1)),
        "not a key",
    ]

    answers = [ask(api, token) for token in wrong]

    assert len({(answer.text, answer.headers["www-authenticate"]) for answer in answers}) == 1
    assert_problem(answers[0], 401, "unauthorized")


def test_a_key_ends_with_its_expiry_even_when_it_is_remembered(api: Api) -> None:
    token = api.add_key(expires_at=NOW + timedelta(seconds=2))

    assert ask(api, token).status_code == 200
    api.moment.pass_by(1.999999)
    assert ask(api, token).status_code == 200
    api.moment.pass_by(0.000001)
    assert_problem(ask(api, token), 401, "unauthorized")


def test_a_key_that_was_rotated_works_until_its_grace_is_over(api: Api) -> None:
    ends_at = datetime.now(UTC) + timedelta(days=1)
    token = api.add_key(revoked_at=ends_at, expires_at=ends_at + timedelta(days=1))
    assert ask(api, token).status_code == 200

    api.moment.now = ends_at

    assert_problem(ask(api, token), 401, "unauthorized")


def test_a_revoked_key_is_refused_once_it_is_looked_up_again(api: Api) -> None:
    token = api.add_key()
    assert ask(api, token).status_code == 200

    with api.owner.begin() as conn:
        conn.execute(update(api_key).values(revoked_at=func.now()))
    api.moment.pass_by(KNOWN_TTL_S)

    assert_problem(ask(api, token), 401, "unauthorized")


def test_a_key_made_after_a_first_try_is_accepted_shortly(api: Api) -> None:
    made = keys.generate()
    assert_problem(ask(api, made.token), 401, "unauthorized")

    api.store_key(made)
    assert_problem(ask(api, made.token), 401, "unauthorized")
    api.moment.pass_by(UNKNOWN_TTL_S)

    assert ask(api, made.token).status_code == 200


def test_a_flood_of_unknown_keys_costs_the_known_ones_nothing(api: Api, statements: list[str]) -> None:
    token = api.add_key()
    ask(api, token)
    for _ in range(20):
        ask(api, keys.generate().token)
    statements.clear()

    ask(api, token)

    assert not [statement for statement in statements if "api_key" in statement]


def test_a_wrong_secret_of_a_remembered_key_reaches_no_database(api: Api, statements: list[str]) -> None:
    token = api.add_key()
    ask(api, token)
    statements.clear()

    ask(api, f"{token.rpartition('_')[0]}_{'0' * 64}")

    assert statements == []


def test_revocation_acts_within_five_seconds_with_one_spent_on_repeated_answers() -> None:
    assert KNOWN_TTL_S + CACHE_TTL_S <= 5


def test_two_keys_of_a_tenant_work_side_by_side_until_one_ends(api: Api) -> None:
    old, new = api.add_key(expires_at=NOW + timedelta(hours=24)), api.add_key()

    assert [ask(api, token).json["tenant_id"] for token in (old, new)] == ["acme", "acme"]
    api.moment.pass_by(24 * 3600)
    assert_problem(ask(api, old), 401, "unauthorized")
    assert ask(api, new).status_code == 200


def last_use_of(api: Api, token: str) -> datetime | None:
    api.aside.work_off()
    key_id = token.split("_")[1]
    with api.owner.connect() as conn:
        found: datetime | None = conn.execute(
            select(api_key.c.last_used_at).where(api_key.c.key_id == key_id)
        ).scalar_one()
        return found


def forget_use(api: Api) -> None:
    api.aside.work_off()
    with api.owner.begin() as conn:
        conn.execute(update(api_key).values(last_used_at=None))


def test_the_use_of_a_key_is_written_down_to_the_minute(api: Api) -> None:
    used, unused = api.add_key(), api.add_key()
    before = datetime.now(UTC).replace(second=0, microsecond=0)

    ask(api, used)

    found = last_use_of(api, used)
    assert found is not None
    assert before <= found <= datetime.now(UTC)
    assert (found.second, found.microsecond) == (0, 0)
    assert last_use_of(api, unused) is None


def test_a_refused_request_is_no_use_of_a_key(api: Api) -> None:
    valid = api.add_key()
    expired = api.add_key(expires_at=NOW - timedelta(seconds=1))

    ask(api, f"{valid.rpartition('_')[0]}_{'0' * 64}")
    ask(api, expired)

    assert (last_use_of(api, valid), last_use_of(api, expired)) == (None, None)


def test_use_is_written_down_once_a_minute(api: Api) -> None:
    token = api.add_key()
    ask(api, token)
    forget_use(api)

    api.moment.pass_by(NOTED_TTL_S - 0.001)
    ask(api, token)
    assert last_use_of(api, token) is None
    api.moment.pass_by(0.001)
    ask(api, token)
    assert last_use_of(api, token) is not None


def test_a_use_that_is_known_to_the_minute_is_not_written_again(api: Api, authenticator: Engine) -> None:
    key_id = api.add_key().split("_")[1]
    version = select(func.text(literal_column("xmin"))).select_from(api_key).where(api_key.c.key_id == key_id)
    later = datetime(2100, 1, 1, tzinfo=UTC)
    with api.owner.begin() as conn:
        conn.execute(update(api_key).values(last_used_at=later))
    with api.owner.connect() as conn:
        before = conn.execute(version).scalar_one()

    LastUse(authenticator, api.moment.timer, CircuitBreaker(), api.aside).note(key_id)
    api.aside.work_off()

    with api.owner.connect() as conn:
        assert conn.execute(version).scalar_one() == before


def test_a_database_that_takes_no_writes_serves_keys_all_the_same(
    api: Api, reader: Engine, server: Server, api_database: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As a read-only replica does: its sessions refuse every write."""
    options = {"options": "-c TimeZone=UTC -c default_transaction_read_only=on"}
    replica = create_engine(normalise(server.url_as(AUTHENTICATOR_ROLE, api_database)), connect_args=options)
    around = AppDependencies(clock=api.moment.clock, timer=api.moment.timer)
    client = TestClient(create_app(reader, replica, Settings(), around))
    tokens = [api.add_key() for _ in range(3)]

    for token in tokens:
        assert client.simulate_get(PATH, headers=bearer(token)).status_code == 200
    around.aside.work_off()
    assert caplog.text.count("last_used_at is not written") == 1
    api.moment.pass_by(REFUSED_TTL_S)
    assert client.simulate_get(PATH, headers=bearer(tokens[0])).status_code == 200
    around.aside.work_off()
    assert caplog.text.count("last_used_at is not written") == 2
    assert last_use_of(api, tokens[0]) is None
    replica.dispose()


def test_a_key_that_is_locked_elsewhere_holds_nothing_up_for_long(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    token = api.add_key()
    with api.owner.begin() as conn:
        conn.execute(update(api_key).values(label="held"))

        assert ask(api, token).status_code == 200
        api.aside.work_off()

    assert "last_used_at is not written" in caplog.text
