"""JSON web tokens: what is accepted, and all that is not."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import urlsafe_b64encode
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from falcon.testing import TestClient
from joserfc.jws import JWSRegistry

from api.app import AppDependencies, create_app
from api.auth.tokens import MAX_CHARS, VERIFIED_TTL_S, Tokens, tokens_of
from api.auth.web_keys import FILE_PERIOD_S, JsonWebKeys
from snapshots.errors import SettingsError
from snapshots.settings import Settings
from tests.api.arrange import NOW, OTHER_TENANT, PREFIX, TENANT, Api, Moment, bearer
from tests.api.contract import assert_problem
from tests.api.issuer import AUDIENCE, ISSUER, claims, elliptic, key_set, rsa, settings_for, token

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

PATH = f"{PREFIX}/summary/by-status"
LEEWAY_S = Settings().jwt_leeway_s
SECONDS = int(NOW.timestamp())
#: Keys cost time to make, and no test changes one.
RSA = rsa("rsa")
EC = elliptic("ec")


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Return the file of the issuer's public keys."""
    path = tmp_path / "jwks.json"
    path.write_bytes(key_set(RSA, EC))
    return path


@pytest.fixture
def moment() -> Moment:
    """Return a clock that stands still."""
    return Moment()


@pytest.fixture
def tokens(published: Path, moment: Moment) -> Tokens:
    """Return the tokens of an issuer with an RSA key and one on a curve."""
    made = tokens_of(settings_for(published), moment.clock, moment.timer)
    assert made is not None
    return made


def segment(document: object) -> str:
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def signed_with_secret(header: dict[str, object], secret: bytes) -> str:
    """Return a token whose signature is an HMAC, made by hand since libraries refuse to."""
    content = f"{segment(header)}.{segment(claims())}"
    return f"{content}.{segment(hmac.digest(secret, content.encode(), hashlib.sha256))}"


@pytest.mark.parametrize("key", [RSA, EC], ids=["RS256", "ES256"])
def test_a_token_names_tenant_capabilities_and_end(tokens: Tokens, key: Any) -> None:  # noqa: ANN401  # either type
    caller = tokens.caller(token(key))

    assert caller is not None
    assert (caller.tenant_id, caller.capabilities) == (TENANT, frozenset({"activity.patterns"}))
    assert caller.valid_until == NOW + timedelta(seconds=600)


def test_a_token_is_named_by_who_it_was_given_to_not_by_itself(tokens: Tokens) -> None:
    given = [claims(), claims(jti="another"), claims(sub="other"), claims(sub=None), claims(tenant_id=OTHER_TENANT)]

    names = [caller.key_id for caller in (tokens.caller(token(EC, said)) for said in given) if caller is not None]

    assert names[0] == names[1]
    assert len(names) == 5
    assert len(set(names)) == 4
    assert all(name.startswith("jwt:") and len(name) == 16 for name in names)


def test_a_token_without_a_signature_is_refused(tokens: Tokens) -> None:
    for algorithm in ("none", "None", "NONE"):
        for kid in ({"kid": "rsa"}, {}):
            header = {"alg": algorithm, **kid}
            assert tokens.caller(f"{segment(header)}.{segment(claims())}.") is None


def test_the_public_key_is_no_secret_that_signs(tokens: Tokens, published: Path) -> None:
    for secret in (RSA.as_pem(private=False), RSA.as_der(private=False), published.read_bytes(), b""):
        for algorithm in ("HS256", "RS256"):
            assert tokens.caller(signed_with_secret({"alg": algorithm, "kid": "rsa"}, secret)) is None


def test_symmetric_algorithms_are_refused_even_when_settings_name_them(published: Path, moment: Moment) -> None:
    keys = JsonWebKeys(str(published), moment.timer)
    unchecked = settings_for(published).model_copy(update={"jwt_algorithms": "none,HS256"})

    with pytest.raises(SettingsError, match=r"^ACTIVITY_JWT_ALGORITHMS: expected"):
        Tokens(unchecked, keys, moment.clock, moment.timer)

    mixed = unchecked.model_copy(update={"jwt_algorithms": "HS256,ES256"})
    accepted = Tokens(mixed, keys, moment.clock, moment.timer)
    assert accepted.caller(token(EC)) is not None
    assert accepted.caller(signed_with_secret({"alg": "HS256", "kid": "ec"}, b"secret")) is None


def test_an_algorithm_that_was_not_allowed_is_refused(published: Path, moment: Moment) -> None:
    accepted = tokens_of(settings_for(published, jwt_algorithms="ES256"), moment.clock, moment.timer)

    assert accepted is not None
    assert accepted.caller(token(EC)) is not None
    assert accepted.caller(token(RSA)) is None


def test_another_key_under_a_known_name_is_refused(tokens: Tokens) -> None:
    assert tokens.caller(token(rsa("rsa"))) is None
    assert tokens.caller(token(elliptic("ec"))) is None
    assert tokens.caller(token(EC, kid="rsa")) is None


def test_the_token_s_own_idea_of_a_key_does_not_count(tokens: Tokens) -> None:
    stranger = rsa("stranger")

    assert tokens.caller(token(stranger, jwk=stranger.as_dict(private=False))) is None
    assert tokens.caller(token(stranger, jku="https://stranger.example.com/jwks.json")) is None


def test_a_key_is_named_and_extensions_are_not_understood(tokens: Tokens) -> None:
    assert tokens.caller(token(EC, kid=None)) is None
    assert tokens.caller(token(EC, crit=["b64"], b64=True)) is None
    assert tokens.caller(token(EC, typ="at+jwt")) is not None


@pytest.mark.parametrize(
    "wrong",
    [
        {"iss": "https://other.example.com"},
        {"iss": f"{ISSUER}/"},
        {"iss": [ISSUER]},
        {"iss": None},
        {"aud": "other"},
        {"aud": ["other"]},
        {"aud": []},
        {"aud": None},
        {"exp": None},
        {"exp": "2030-01-01"},
        {"exp": True},
        {"exp": float("nan")},
        {"exp": 1e300},
        {"exp": 10**30},
        {"exp": SECONDS},
        {"exp": SECONDS - 1},
        {"nbf": SECONDS + LEEWAY_S + 1},
        {"iat": SECONDS + LEEWAY_S + 1},
        {"nbf": "soon"},
        {"sub": 5},
        {"sub": "\ud800"},
        {"tenant_id": None},
        {"tenant_id": ""},
        {"tenant_id": "  "},
        {"tenant_id": 5},
        {"tenant_id": [TENANT]},
        {"tenant_id": "a\0b"},
        {"tenant_id": "\ud800"},
        {"tenant_id": "x" * 257},
        {"scope": 5},
        {"scope": ["activity.patterns", 5]},
        {"scope": {"activity.patterns": True}},
    ],
    ids=str,
)
def test_a_token_with_a_wrong_or_missing_claim_is_refused(tokens: Tokens, wrong: dict[str, object]) -> None:
    assert tokens.caller(signed_by_hand(wrong)) is None


def signed_by_hand(overrides: dict[str, object]) -> str:
    """Return a token with claims that must reach the check as they are, half a surrogate pair included."""
    content = f"{segment({'alg': 'ES256', 'kid': 'ec'})}.{segment(claims(**overrides))}"
    return f"{content}.{segment(raw_signature(content.encode()))}"


def raw_signature(content: bytes) -> bytes:
    return JWSRegistry.algorithms["ES256"].sign(content, EC)


@pytest.mark.parametrize(
    "right",
    [
        {"aud": ["other", AUDIENCE]},
        {"nbf": SECONDS + LEEWAY_S},
        {"iat": SECONDS + LEEWAY_S},
        {"exp": SECONDS + 0.5},
        {"tenant_id": "x" * 256},
        {"tenant_id": "Zo\u00eb & co"},
    ],
    ids=str,
)
def test_a_token_at_the_edge_is_accepted(tokens: Tokens, right: dict[str, object]) -> None:
    assert tokens.caller(signed_by_hand(right)) is not None


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        ("activity.patterns activity.everything", {"activity.patterns"}),
        (["activity.patterns", "activity.cost_analysis"], {"activity.patterns", "activity.cost_analysis"}),
        ("", set()),
        ([], set()),
        (None, set()),
    ],
)
def test_only_capabilities_that_exist_count(tokens: Tokens, claim: object, expected: set[str]) -> None:
    caller = tokens.caller(token(EC, claims(scope=claim)))

    assert caller is not None
    assert caller.capabilities == expected


def test_the_claims_names_are_settings(published: Path, moment: Moment) -> None:
    named = settings_for(published, jwt_tenant_claim="org", jwt_capabilities_claim="roles")
    accepted = tokens_of(named, moment.clock, moment.timer)

    assert accepted is not None
    caller = accepted.caller(token(EC, claims(tenant_id=None, org="globex", roles=["activity.patterns"])))
    assert caller is not None
    assert (caller.tenant_id, caller.capabilities) == ("globex", frozenset({"activity.patterns"}))
    assert accepted.caller(token(EC)) is None


@pytest.mark.parametrize(
    "nonsense",
    [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "\u00e9.\u00e9.\u00e9",
        "\ud800.\ud800.\ud800",
        "x" * MAX_CHARS,
        f"{segment('alg')}.{segment({})}.",
        f"{segment(['alg'])}.{segment({})}.",
        f"{segment({'alg': 5, 'kid': []})}.{segment({})}.",
        f"{segment({'alg': 'RS256', 'kid': 'rsa', 'crit': 5})}.{segment({})}.",
        f"{segment(b'[' * 300)}.{segment({})}.",
    ],
    ids=range(13),
)
def test_nonsense_is_refused(tokens: Tokens, nonsense: str) -> None:
    assert tokens.caller(nonsense) is None


def test_a_signed_payload_that_is_no_object_is_refused(tokens: Tokens) -> None:
    for payload in (b"[]", b"[" * 5000, b"9" * 5000, b"\xff", b""):
        content = f"{segment({'alg': 'ES256', 'kid': 'ec'})}.{segment(payload)}"
        assert tokens.caller(f"{content}.{segment(raw_signature(content.encode()))}") is None


def test_a_token_may_be_so_long_and_no_longer(tokens: Tokens) -> None:
    bare = len(token(EC, claims(note="")))
    # Base64 makes four characters of three.
    longest = next(
        made for size in range((MAX_CHARS - bare) * 3 // 4 + 3, 0, -1)
        if len(made := token(EC, claims(note="x" * size))) <= MAX_CHARS
    )  # fmt: skip
    longer = token(EC, claims(note="x" * 8000))

    assert MAX_CHARS - len(longest) < 3
    assert tokens.caller(longest) is not None
    assert len(longer) > MAX_CHARS
    assert tokens.caller(longer) is None


def test_a_remembered_token_ends_with_its_expiry(tokens: Tokens, moment: Moment) -> None:
    made = token(EC, claims(exp=SECONDS + 2))

    assert tokens.caller(made) is not None
    moment.pass_by(1.999999)
    assert tokens.caller(made) is not None
    moment.pass_by(0.000001)
    assert tokens.caller(made) is None


def test_a_token_is_checked_again_after_a_moment(tokens: Tokens, moment: Moment, published: Path) -> None:
    made = token(EC)
    assert tokens.caller(made) is not None
    published.write_bytes(key_set(RSA))

    moment.pass_by(VERIFIED_TTL_S - 0.001)
    assert tokens.caller(made) is not None
    moment.pass_by(max(0.001, FILE_PERIOD_S - VERIFIED_TTL_S))

    assert tokens.caller(made) is None


def test_without_an_issuer_there_are_no_tokens(moment: Moment) -> None:
    assert tokens_of(Settings(), moment.clock, moment.timer) is None


def client_with(settings: Settings, reader: Engine, authenticator: Engine, moment: Moment) -> TestClient:
    around = AppDependencies(clock=moment.clock, timer=moment.timer)
    return TestClient(create_app(reader, authenticator, settings, around))


def test_a_token_opens_its_tenant_s_data_beside_keys(
    api: Api, reader: Engine, authenticator: Engine, published: Path
) -> None:
    client = client_with(settings_for(published), reader, authenticator, api.moment)
    opens = token(EC, claims(tenant_id=OTHER_TENANT, scope="activity.summary_by_status"))

    assert client.simulate_get(PATH, headers=bearer(opens)).json["tenant_id"] == OTHER_TENANT
    assert client.simulate_get(PATH, headers=bearer(api.add_key())).json["tenant_id"] == TENANT


def test_keys_are_refused_where_tokens_alone_are_accepted(
    api: Api, reader: Engine, authenticator: Engine, published: Path
) -> None:
    client = client_with(settings_for(published, api_keys=False), reader, authenticator, api.moment)
    opens = token(EC, claims(scope=["activity.summary_by_status"]))

    assert client.simulate_get(PATH, headers=bearer(opens)).status_code == 200
    assert_problem(client.simulate_get(PATH, headers=bearer(api.add_key())), 401, "unauthorized")


def test_tokens_are_refused_where_no_issuer_is_set(api: Api) -> None:
    assert_problem(api.client.simulate_get(PATH, headers=bearer(token(EC))), 401, "unauthorized")


def test_a_token_without_the_capability_is_told_so(
    api: Api, reader: Engine, authenticator: Engine, published: Path
) -> None:
    client = client_with(settings_for(published), reader, authenticator, api.moment)

    problem = assert_problem(client.simulate_get(PATH, headers=bearer(token(EC))), 403, "capability_missing")

    assert problem["capability"] == "activity.summary_by_status"


def test_whatever_is_wrong_with_a_token_the_answer_is_that_for_a_wrong_key(
    api: Api, reader: Engine, authenticator: Engine, published: Path
) -> None:
    client = client_with(settings_for(published), reader, authenticator, api.moment)
    wrong = [token(elliptic("ec")), token(EC, claims(exp=SECONDS)), token(EC, claims(aud="other")), "act_1_2"]

    answers = [client.simulate_get(PATH, headers=bearer(each)) for each in wrong]

    assert len({(answer.text, answer.headers["www-authenticate"]) for answer in answers}) == 1
    assert_problem(answers[0], 401, "unauthorized")
