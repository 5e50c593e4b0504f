"""The logs of child processes."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ops.local import children
from tests.ops.test_embedded_postgres import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_ENVIRONMENT = {"PATH": "/usr/bin:/bin"}


@contextmanager
def echo(log: Path) -> Iterator[Any]:
    """Run a child that writes what it reads."""
    child = children.spawn(["cat"], log, env=_ENVIRONMENT, stdin=subprocess.PIPE)
    yield child
    child.stdin.close()
    children.end([child])


def say(child: Any, log: Path, word: str) -> None:  # noqa: ANN401  # a Popen of psutil's
    child.stdin.write(f"{word}\n".encode())
    child.stdin.flush()
    until(lambda: word in log.read_text())


def test_a_log_that_grew_too_large_begins_anew_while_its_process_runs(tmp_path: Path) -> None:
    log = tmp_path / "log" / "echo.log"
    with echo(log) as child:
        say(child, log, "first")
        children.bound_log(log, limit=6)
        kept = log.read_text()
        say(child, log, "second")

        children.bound_log(log, limit=6)
        say(child, log, "third")

    assert kept == "first\n"
    assert log.read_text() == "third\n"
    assert log.with_name("echo.log.1").read_text() == "first\nsecond\n"


def test_a_log_whose_predecessor_cannot_be_kept_begins_anew_all_the_same(tmp_path: Path) -> None:
    log = tmp_path / "echo.log"
    log.write_text("too long")
    log.with_name("echo.log.1").mkdir()

    children.bound_log(log, limit=6)

    assert log.read_text() == ""


def test_a_log_that_is_not_there_is_none_too_large(tmp_path: Path) -> None:
    children.bound_log(tmp_path / "echo.log", limit=0)

    assert list(tmp_path.iterdir()) == []
