"""Loads that the server ends on the way: by a lock, with their session, in a COPY, at the commit."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError

from ingest.exports.load_spans import SpanLoadOptions, load_spans
from ingest.files.load_rows import load_rows
from ingest.files.report import LoadError, Silence
from snapshots import database
from tests.ingest.spans import TENANT, chat, request, write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine

RUNS = "run_id,tenant_id,status\nr1,acme,succeeded\nr2,acme,succeeded\n"
#: Two attempts more, at once.
AT_ONCE = (0.0, 0.0)
PATIENCE_S = 30.0
END = text(
    "select count(pg_terminate_backend(pid)) from pg_stat_activity"
    " where application_name = 'activity load' and datname = current_database()"
)
#: Ends the session that commits a run.
ENDS_AT_COMMIT = """
create function end_session() returns trigger language plpgsql as $$
begin
    perform pg_terminate_backend(pg_backend_pid());
    return null;
end
$$;
create constraint trigger end_session after insert on runs deferrable initially deferred
for each row execute function end_session();
"""


class Heard(Silence):
    """Keeps what it hears."""

    def __init__(self) -> None:
        """Begin with nothing heard."""
        self.heard: list[str] = []

    def begin(self, words: str) -> None:
        """Keep it."""
        self.heard.append(words)


class Ending(Heard):
    """Ends the load's session when it begins what `words` say, so many times."""

    def __init__(self, engine: Engine, words: str, times: int) -> None:
        """Use an engine of the same user."""
        super().__init__()
        self._engine = engine
        self._words = words
        self._times = times

    def begin(self, words: str) -> None:
        """Keep it, and end the session when it is time."""
        super().begin(words)
        if words == self._words and self._times:
            self._times -= 1
            with self._engine.begin() as conn:
                assert conn.execute(END).scalar_one() == 1


def wait_for_another_attempt(progress: Heard) -> None:
    end = time.monotonic() + PATIENCE_S
    while not any("beginning again" in words for words in progress.heard):
        assert time.monotonic() < end, "the load never begins again"
        time.sleep(0.01)


@pytest.fixture
def engine(fresh_database: str) -> Iterator[Engine]:
    engine = database.connect(fresh_database)
    yield engine
    engine.dispose()


def stored(engine: Engine) -> list[tuple[str, str]]:
    with engine.connect() as conn:
        return [tuple(row) for row in conn.execute(text("select id, status from runs order by id"))]


def test_a_load_whose_session_is_ended_begins_again(engine: Engine, fresh_database: str, tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text(RUNS)
    progress = Ending(engine, "storing runs", times=2)

    report = load_rows(fresh_database, tmp_path, progress=progress, waits_s=AT_ONCE)

    assert report.tables["runs"].inserted == 2
    assert stored(engine) == [("r1", "succeeded"), ("r2", "succeeded")]
    again = [words for words in progress.heard if "beginning again" in words]
    assert len(again) == 2
    assert progress.heard.count("storing runs") == 3


def test_a_load_that_is_ended_every_time_says_that_nothing_was_stored(
    engine: Engine, fresh_database: str, tmp_path: Path
) -> None:
    (tmp_path / "runs.csv").write_text(RUNS)

    with pytest.raises(LoadError) as caught:
        load_rows(fresh_database, tmp_path, progress=Ending(engine, "storing runs", times=3), waits_s=AT_ONCE)

    assert str(caught.value).startswith("the database ended the load 3 times, at last with: ")
    assert str(caught.value).endswith("; nothing was stored, and loading the same again is safe")
    assert stored(engine) == []


def test_a_load_whose_rows_stay_locked_begins_again(engine: Engine, fresh_database: str, tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text(RUNS)
    load_rows(fresh_database, tmp_path)
    (tmp_path / "runs.csv").write_text(RUNS.replace("succeeded", "failed"))
    progress = Heard()

    with engine.connect() as conn, ThreadPoolExecutor(1) as pool:
        conn.execute(text("update runs set goal = 'x' where id = 'r2'"))
        loading = pool.submit(load_rows, fresh_database, tmp_path, progress=progress, waits_s=AT_ONCE)
        wait_for_another_attempt(progress)
        conn.execute(text("update runs set goal = 'x' where id = 'r1'"))
        conn.commit()
        report = loading.result(PATIENCE_S)

    assert report.tables["runs"].updated == 2
    assert stored(engine) == [("r1", "failed"), ("r2", "failed")]
    assert 'could not obtain lock on row in relation "runs"; beginning again in 0 s' in progress.heard


def test_a_load_whose_commit_is_cut_off_does_not_claim_that_nothing_was_stored(
    engine: Engine, fresh_database: str, tmp_path: Path
) -> None:
    (tmp_path / "runs.csv").write_text(RUNS)
    with engine.begin() as conn:
        conn.exec_driver_sql(ENDS_AT_COMMIT)

    with pytest.raises(LoadError, match="whether it was stored is not known, and loading the same again is safe"):
        load_rows(fresh_database, tmp_path, waits_s=AT_ONCE)

    with engine.begin() as conn:
        conn.exec_driver_sql("drop trigger end_session on runs")
    assert load_rows(fresh_database, tmp_path).tables["runs"].inserted == 2


def test_what_does_not_pass_is_tried_once(engine: Engine, fresh_database: str, tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text(RUNS)
    progress = Heard()
    with engine.begin() as conn:
        conn.exec_driver_sql("alter table runs rename to gone")
        conn.exec_driver_sql("create view runs as select id, tenant_id, status, 1 / 0 as one from gone")

    with pytest.raises(DBAPIError):
        load_rows(fresh_database, tmp_path, progress=progress, waits_s=AT_ONCE)

    assert not [words for words in progress.heard if "beginning again" in words]


def test_a_server_that_was_never_there_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text(RUNS)

    with pytest.raises(OperationalError):
        load_rows("postgresql://nobody@/nothing?host=/nowhere", tmp_path, waits_s=(3600.0,))


def test_a_load_of_spans_begins_again_too(engine: Engine, fresh_database: str, tmp_path: Path) -> None:
    path = write(tmp_path / "spans.jsonl", request(chat(2, 0)))
    progress = Ending(engine, "writing traces", times=1)

    report = load_spans(fresh_database, path, SpanLoadOptions(TENANT), progress, waits_s=AT_ONCE)

    assert (report.kept, report.written.traces, report.skipped) == (1, 1, 0)
