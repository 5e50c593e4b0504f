"""Settings fail at the start of a process, by name, and never repeat a value that may be secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from snapshots import settings
from snapshots.errors import SettingsError
from snapshots.setting_files import URLS as FILE_URLS

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


URLS = {
    "database_url": "postgresql://owner:hunter2@db/activity",
    "worker_database_url": "postgresql://worker:hunter2@db/activity",
    "auth_database_url": "postgresql://auth:hunter2@db/activity",
    "reader_database_url": "postgresql://reader:hunter2@db/activity",
    "triage_database_url": "postgresql://triage:hunter2@db/activity",
    "ingest_database_url": "postgresql://ingest:hunter2@db/activity",
    "broker_url": "redis://:hunter2@broker:6379/0",
    "rate_limit_url": "rediss://:hunter2@limits:6379/1",
}


@pytest.mark.parametrize("name", URLS)
def test_a_url_may_be_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text(f"\n {URLS[name]} \n")
    monkeypatch.setenv(f"ACTIVITY_{name.upper()}_FILE", str(secret))

    assert getattr(settings.load(), name).get_secret_value() == URLS[name]


def test_every_secret_setting_may_be_in_a_file_and_no_other_setting_may(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secrets = {name for name, field in settings.Settings.model_fields.items() if "SecretStr" in str(field.annotation)}
    (tmp_path / "port").write_text("9000")
    monkeypatch.setenv("ACTIVITY_API_PORT_FILE", str(tmp_path / "port"))

    assert secrets == set(FILE_URLS) == set(URLS)
    assert settings.load().api_port == 8000


def refused(monkeypatch: pytest.MonkeyPatch, path: str) -> str:
    """Return the error when the broker's URL is to be read from `path`."""
    monkeypatch.setenv("ACTIVITY_BROKER_URL_FILE", path)
    with pytest.raises(SettingsError) as caught:
        settings.load()
    return str(caught.value)


@pytest.mark.parametrize("path", ["/nowhere/hunter2", "", "/", "redis://:hunter2@broker:6379/0", "hunter2" * 1000])
def test_a_file_that_cannot_be_read_is_named_by_its_variable_alone(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    message = refused(monkeypatch, path)

    assert message.startswith("ACTIVITY_BROKER_URL_FILE: the file cannot be read (")
    assert "hunter2" not in message


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b" \n", "ACTIVITY_BROKER_URL_FILE: the file is empty"),
        (b"\xffhunter2", "ACTIVITY_BROKER_URL_FILE: the file is not text"),
        (b"amqp://guest:hunter2@broker", "ACTIVITY_BROKER_URL: expected a URL like redis://"),
    ],
)
def test_a_file_without_a_url_is_refused_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes, expected: str
) -> None:
    (tmp_path / "secret").write_bytes(content)

    message = refused(monkeypatch, str(tmp_path / "secret"))

    assert message.startswith(expected)
    assert "hunter2" not in message


def test_a_url_and_a_file_for_it_are_one_too_many(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(URLS["broker_url"])
    monkeypatch.setenv("ACTIVITY_BROKER_URL", URLS["broker_url"])

    message = refused(monkeypatch, str(tmp_path / "secret"))

    assert message == "ACTIVITY_BROKER_URL_FILE: set beside ACTIVITY_BROKER_URL; expected one of the two"


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
