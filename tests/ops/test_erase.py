"""`activity erase`: asks a person, refuses where there is none, and says what went and what stays."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from sqlalchemy import func, select

from ops.cli import main
from ops.commands.erase import erase
from ops.keys import create_key
from snapshots.database import connect
from snapshots.tables import api_key
from tests.factories import insert_run

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]


@pytest.fixture
def count_keys(fresh_database: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Return a function that counts the keys of a database with one run and one key, which the command is told of."""
    monkeypatch.setenv("ACTIVITY_DATABASE_URL", fresh_database)
    engine = connect(fresh_database)
    with engine.begin() as conn:
        insert_run(conn, tenant_id="acme")
        create_key(conn, "acme")

    def count() -> int:
        with engine.connect() as conn:
            found: int = conn.execute(select(func.count()).select_from(api_key)).scalar_one()
            return found

    return count


def test_without_a_terminal_it_refuses_and_does_nothing(
    count_keys: Callable[[], int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Path(os.devnull).open() as nobody:
        monkeypatch.setattr(sys, "stdin", nobody)
        with pytest.raises(SystemExit) as ended:
            main(["erase", "--tenant", "acme"])

    assert ended.value.code == 1
    assert "repeat with --yes" in capsys.readouterr().err
    assert count_keys() == 1


def test_with_yes_it_says_what_went_and_what_the_host_has(count_keys: Callable[[], int]) -> None:
    first = CliRunner().invoke(erase, ["--tenant", "acme", "--yes"])
    second = CliRunner().invoke(erase, ["--tenant", "acme", "--yes"])

    assert (first.exit_code, second.exit_code) == (0, 0)
    assert first.output.splitlines() == [
        "tenant 'acme': removed api_key 1",
        "still in the host's tables: 1 runs, 0 traces, 0 steps; the next refresh computes the tenant anew from them",
    ]
    assert second.output.startswith("tenant 'acme': nothing was there\n")
    assert count_keys() == 0


@pytest.mark.parametrize(("answer", "code", "left"), [(b"n\n", 1, 1), (b"y\n", 0, 0)])
def test_on_a_terminal_it_asks(count_keys: Callable[[], int], answer: bytes, code: int, left: int) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "ops.cli", "erase", "--tenant", "acme"]
    os.write(ours, answer)

    done = subprocess.run(command, stdin=theirs, capture_output=True, cwd=ROOT, check=False)

    os.close(ours)
    os.close(theirs)
    assert b"Forget tenant 'acme'" in done.stderr
    assert (done.returncode, count_keys()) == (code, left)


def test_a_tenant_without_a_name_is_refused(count_keys: Callable[[], int]) -> None:
    result = CliRunner().invoke(erase, ["--tenant", "", "--yes"])

    assert "expected the name of a tenant" in str(result.exception)
    assert count_keys() == 1
