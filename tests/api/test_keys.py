from __future__ import annotations

import pytest

from snapshots import keys

#: A digit to Python, and none to a key.
ARABIC_ZERO = "\u0660"


def test_a_new_key_is_taken_apart_and_recognised() -> None:
    made = keys.generate()

    parts = keys.parse(made.token)

    assert parts is not None
    assert parts[0] == made.key_id
    assert keys.matches(parts[1], made.secret_sha256)


def test_the_secret_has_256_bits_and_differs_each_time() -> None:
    secrets = {made.token.split("_")[2] for made in (keys.generate() for _ in range(50))}

    assert len(secrets) == 50
    assert {len(bytes.fromhex(secret)) for secret in secrets} == {32}


def test_another_secret_does_not_match() -> None:
    assert not keys.matches("0" * 64, keys.generate().secret_sha256)


def test_a_key_does_not_print_its_secret() -> None:
    made = keys.generate()

    assert made.token not in repr(made)
    assert made.secret_sha256 not in repr(made)
    assert made.key_id in repr(made)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "act_",
        "act__",
        "act_0123456789ab_",
        f"act_0123456789ab_{'0' * 63}",
        f"act_0123456789ab_{'0' * 65}",
        f"act_0123456789AB_{'0' * 64}",
        f"act_0123456789ab_{'g' * 64}",
        f"ACT_0123456789ab_{'0' * 64}",
        f"act_0123456789ab_{'0' * 64}\n",
        f"act_0123456789ab_{ARABIC_ZERO * 64}",
        "ключ",
    ],
)
def test_what_has_not_the_form_of_a_key_is_none(token: str) -> None:
    assert keys.parse(token) is None
