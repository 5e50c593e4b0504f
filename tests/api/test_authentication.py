from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, update

from api.authentication import KNOWN_TTL_S, UNKNOWN_TTL_S
from snapshots import keys
from snapshots.tables import api_key
from tests.api.arrange import NOW, OTHER_TENANT, PREFIX, Api, bearer
from tests.api.contract import assert_problem

if TYPE_CHECKING:
    from falcon.testing import Result

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
