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


def test_a_password_is_not_in_the_representation() -> None:
    loaded = settings.load(database_url="postgresql://owner:hunter2@localhost/activity")

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
