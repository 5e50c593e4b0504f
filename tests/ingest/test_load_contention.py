"""Loads beside other loads and beside a host that writes the same rows: no statement of the host's fails."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.exc import DBAPIError

from ingest.files.load_rows import load_rows
from ingest.files.locking import PATIENCE_S
from ingest.files.report import LoadError, Silence
from snapshots import database
from tests.host_writer import A_MOMENT_S, change, host_session

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sqlalchemy import Engine

    from tests.postgres import Server

MANY = 3000
FEW = 40


class Heard(Silence):
    """Keeps what a load says of its progress."""

    def __init__(self) -> None:
        """Begin with nothing heard."""
        self.heard: list[str] = []

    def begin(self, words: str) -> None:
        """Keep it."""
        self.heard.append(words)


@pytest.fixture
def engine(fresh_database: str) -> Iterator[Engine]:
    engine = database.connect(fresh_database, pool_size=10)
    yield engine
    engine.dispose()


def write_runs(folder: Path, numbers: Sequence[int], status: str) -> Path:
    folder.mkdir(exist_ok=True)
    lines = [f"run-{number:05d},acme,{status}" for number in numbers]
    (folder / "runs.csv").write_text("\n".join(["run_id,tenant_id,status", *lines]) + "\n")
    return folder


@pytest.mark.parametrize("is_known", [False, True], ids=["new", "known"])
def test_two_loads_in_opposite_order_both_succeed_at_once(
    engine: Engine,
    tmp_path: Path,
    is_known: bool,  # noqa: FBT001  # a case
) -> None:
    if is_known:
        load_rows(engine, write_runs(tmp_path / "before", range(MANY), "running"))
    folders = [
        write_runs(tmp_path / "up", range(MANY), "succeeded"),
        write_runs(tmp_path / "down", range(MANY - 1, -1, -1), "failed"),
    ]

    for _ in range(3):
        with ThreadPoolExecutor(2) as pool:
            loading = [pool.submit(load_rows, engine, folder, waits_s=()) for folder in folders]
            reports = [each.result() for each in loading]

        assert all(report.tables["runs"].skipped == 0 for report in reports)


def test_a_load_lets_go_of_rows_before_the_host_deadlocks(
    engine: Engine, server: Server, fresh_database: str, tmp_path: Path
) -> None:
    load_rows(engine, write_runs(tmp_path / "before", range(2), "running"))
    after, heard = write_runs(tmp_path / "after", range(2), "succeeded"), Heard()

    with host_session(server, fresh_database) as host, ThreadPoolExecutor(1) as pool:
        change(host, "run-00001")
        loading = pool.submit(load_rows, engine, after, progress=heard, waits_s=())
        time.sleep(A_MOMENT_S)
        change(host, "run-00000")
        host.commit()
        report = loading.result()

    assert report.tables["runs"].updated == 2
    assert not [words for words in heard.heard if "beginning again" in words]


def test_a_load_gives_up_rows_that_stay_locked_and_says_so(
    engine: Engine, server: Server, fresh_database: str, tmp_path: Path
) -> None:
    load_rows(engine, write_runs(tmp_path / "before", range(2), "running"))

    with host_session(server, fresh_database) as host:
        change(host, "run-00001")
        began = time.monotonic()
        with pytest.raises(LoadError, match=r"could not obtain lock on row .*; nothing was stored"):
            load_rows(engine, write_runs(tmp_path / "after", range(2), "succeeded"), waits_s=())

        assert time.monotonic() - began >= PATIENCE_S
        change(host, "run-00000")


def test_no_statement_of_a_host_that_writes_in_its_own_order_fails(
    engine: Engine, server: Server, fresh_database: str, tmp_path: Path
) -> None:
    load_rows(engine, write_runs(tmp_path / "before", range(FEW), "running"))
    stop, done, failures = threading.Event(), [0], list[DBAPIError]()

    def write() -> None:
        with host_session(server, fresh_database) as host:
            while not stop.is_set():
                try:
                    for number in range(FEW - 1, -1, -4):
                        change(host, f"run-{number:05d}")
                    host.commit()
                    done[0] += 1
                except DBAPIError as ex:
                    failures.append(ex)
                    host.rollback()
                stop.wait(0.005)

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        try:
            for turn in range(30):
                status = "succeeded" if turn % 2 else "failed"
                report = load_rows(engine, write_runs(tmp_path / "after", range(FEW), status))
                assert report.tables["runs"].updated == FEW
        finally:
            stop.set()
            writing.result()

    assert done[0] > 0
    assert failures == []
