"""Settings fail at the start of a process, by name, and never repeat a value that may be secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from snapshots import settings
from snapshots.errors import SettingsError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("pattern_window_hours", "abc", "valid integer"),
        ("pattern_window_hours", "0", "greater than or equal to 1"),
        ("pattern_window_hours", "169", "less than or equal to 168"),
        ("slow_step_ms", "nan", "finite number"),
        ("exclude_synthetic", "yes", "expected true or false"),
        ("exclude_synthetic", "False", "expected true or false"),
        ("database_url", "mysql://root:hunter2@localhost/x", "postgresql://"),
        ("database_url", "hunter2", "postgresql://"),
        ("broker_url", "amqp://guest:hunter2@localhost", "redis://"),
        ("database_url", "postgresql://app:hunter2", "postgresql://"),
        ("broker_url", "redis://:hunter2/x@localhost:6379/0", "redis://"),
        ("log_level", "LOUD", "'DEBUG'"),
        ("api_port", "65536", "less than or equal to 65535"),
        ("api_keys", "no", "expected true or false"),
        ("jwt_issuer", " ", "not empty"),
        ("jwt_audience", "", "not empty"),
        ("jwt_algorithms", "none", "some of RS256"),
        ("jwt_algorithms", "RS256,HS256", "some of RS256"),
        ("jwt_algorithms", "RS256,", "some of RS256"),
        ("jwt_algorithms", "rs256", "some of RS256"),
        ("jwt_jwks", "http://issuer.example.com/jwks.json", "http on loopback alone"),
        ("jwt_jwks", "ftp://127.0.0.1/jwks.json", "http on loopback alone"),
        ("jwt_jwks", "http://127.0.0.1@issuer.example.com/jwks.json", "http on loopback alone"),
        ("jwt_jwks", "https://reader:hunter2/jwks.json", "http on loopback alone"),
        ("jwt_jwks", "https:///jwks.json", "http on loopback alone"),
        ("jwt_leeway_s", "301", "less than or equal to 300"),
    ],
)
def test_a_malformed_variable_is_named_with_what_was_expected(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: str
) -> None:
    variable = f"ACTIVITY_{name.upper()}"
    monkeypatch.setenv(variable, value)

    with pytest.raises(SettingsError) as caught:
        settings.load()

    assert str(caught.value).startswith(f"{variable}: ")
    assert expected in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(("word", "meaning"), [("true", True), ("false", False)])
def test_a_flag_is_true_or_false(monkeypatch: pytest.MonkeyPatch, word: str, *, meaning: bool) -> None:
    monkeypatch.setenv("ACTIVITY_EXCLUDE_SYNTHETIC", word)

    assert settings.load().exclude_synthetic is meaning


TOKENS = {"jwt_issuer": "https://issuer.example.com", "jwt_audience": "activity", "jwt_jwks": "/etc/jwks.json"}


@pytest.mark.parametrize("missing", ["jwt_audience", "jwt_jwks"])
def test_an_issuer_needs_what_checks_its_tokens(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    for name in TOKENS.keys() - {missing}:
        monkeypatch.setenv(f"ACTIVITY_{name.upper()}", TOKENS[name])

    with pytest.raises(SettingsError) as caught:
        settings.load()

    assert str(caught.value) == f"ACTIVITY_{missing.upper()}: not set; ACTIVITY_JWT_ISSUER needs it"


def test_a_service_without_any_credential_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTIVITY_API_KEYS", "false")

    with pytest.raises(SettingsError, match=r"^ACTIVITY_API_KEYS: false leaves no credential at all"):
        settings.load()


def test_tokens_alone_are_enough() -> None:
    loaded = settings.load(api_keys=False, jwt_algorithms="ES256, Ed25519", **TOKENS)

    assert loaded.signature_algorithms() == ("ES256", "Ed25519")


@pytest.mark.parametrize(
    "source", ["jwks.json", "https://issuer.example.com/jwks.json", "http://localhost:8080/jwks", "http://[::1]/jwks"]
)
def test_public_keys_come_from_a_file_or_a_safe_url(source: str) -> None:
    assert settings.load(**{**TOKENS, "jwt_jwks": source}).jwt_jwks == source


def test_a_password_is_not_in_the_representation() -> None:
    loaded = settings.load(
        database_url="postgresql://owner:hunter2@localhost/activity", jwt_jwks="https://reader:hunter2@example.com/jwks"
    )

    assert "hunter2" not in repr(loaded)


def test_every_setting_is_in_the_example_file_with_its_default() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()

    for name, field in settings.Settings.model_fields.items():
        default = str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
        line = f"#ACTIVITY_{name.upper()}=" if field.default is None else f"ACTIVITY_{name.upper()}={default}"
        assert line in lines
        assert f"# {field.description}" in lines


def test_the_example_file_is_valid_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for line in (ROOT / ".env.example").read_text().splitlines():
        if line and not line.startswith("#"):
            monkeypatch.setenv(*line.split("=", 1))

    assert settings.load() == settings.Settings.model_construct(**settings.load().model_dump())
