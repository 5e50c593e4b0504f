"""The file of variables that `activity up` writes, sourced before another `activity up` starts."""

from __future__ import annotations

import os
import shlex
import shutil
from typing import TYPE_CHECKING

import pytest

from ops.local import exported
from tests.ops.up import Up, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FOLDER = "/srv/first"
FILE = {
    "ACTIVITY_URL": "http://127.0.0.1:8000",
    "ACTIVITY_DATABASE_URL": "postgresql://owner:secret@/activity?host=/srv/first",
    "ACTIVITY_BROKER_URL": "redis://:secret@127.0.0.1:1234/0",
    "ACTIVITY_RATE_LIMIT_URL": "redis://elsewhere/0",
}
EMBEDDED = ["ACTIVITY_DATABASE_URL", "ACTIVITY_BROKER_URL"]
SOURCED = {**FILE, **exported.marks(FILE, FOLDER, EMBEDDED)}


def test_the_urls_of_embedded_servers_are_recognised() -> None:
    assert exported.recognised(SOURCED) == EMBEDDED


def test_what_the_operator_sets_afterwards_counts() -> None:
    assert exported.recognised({**SOURCED, EMBEDDED[0]: "postgresql://host/own"}) == EMBEDDED[1:]


def test_variables_without_marks_count() -> None:
    assert exported.recognised(FILE) == []
    assert exported.marks(FILE, FOLDER, ()) == {}


@pytest.fixture
def folder(private_folder: Path) -> Iterator[Path]:
    """Yield a folder for data folders, removed afterwards."""
    made = private_folder / "exported"
    made.mkdir()
    yield made
    shutil.rmtree(made, ignore_errors=True)


def sourced(file: Path) -> dict[str, str]:
    """Return the environment of a shell that sourced `file`."""
    lines = (shlex.split(line)[1] for line in file.read_text().splitlines())
    return {**os.environ, **dict(line.split("=", 1) for line in lines)}  # noqa: TID251  # the child's own


def test_a_second_up_uses_its_own_servers(folder: Path) -> None:
    first = Up(folder / "first", free_port(), "--no-demo")
    second = None
    try:
        one = first.ready()
        second = Up(folder / "second", free_port(), "--no-demo", env=sourced(first.folder / "environment"))
        two = second.ready()

        assert str(second.folder) in two["database_url"]
        assert two["broker_url"] != one["broker_url"]
        assert (second.folder / "postgres").is_dir()
        [line] = [line for line in second.output.read_text().splitlines() if "ignoring" in line]
        assert f"exported by {first.folder}/environment" in line
    finally:
        for each in (first, second):
            if each is not None:
                each.stop()
