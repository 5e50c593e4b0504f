"""The access log with a slow or absent reader: no request waits, and no line is torn."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import select
import subprocess
import sys
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from api.http import logs
from api.http.answers import Answer, Asked
from api.http.log_writer import Descriptor, LogWriter
from api.http.metrics import Metrics
from api.http.request_recorder import RequestRecorder
from tests.api.arrange import Paper

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT = Path(__file__).parents[2]
ANSWER = Answer.of("200 OK", [], [], Asked("/livez", "GET", "/livez"))
#: The smallest pipe there is.
PIPE_BYTES = 4096
MOST = 100_000
#: LogWriter of several times what the pipe and the memory take.
ANSWERS = 5000
#: Longer than anything here takes that does not wait for a reader, seconds.
PATIENCE_S = 30
#: A process that writes lines of many lengths, as one of the API does.
_PROCESS = """
import sys
from api.http.log_writer import Descriptor, LogWriter
lines = LogWriter(Descriptor(int(sys.argv[1])), print)
for number in range(300):
    lines.put(b'{"request_id":"%s-%d","more":"%s"}\\n' % (sys.argv[2].encode(), number, b"x" * (number * 7 % 900)))
lines.write_waiting()
"""


class Pipe:
    """A real pipe, as small as it can be, that nobody reads yet."""

    def __init__(self) -> None:
        """Open it."""
        self.reader, self.writer = os.pipe()
        fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def read(self, until: str) -> list[dict[str, Any]]:
        """Read up to the request `until`, and return the lines; each has to be whole."""
        read = b""
        while f'"{until}"'.encode() not in read or not read.endswith(b"\n"):
            assert select.select([self.reader], [], [], PATIENCE_S)[0], "nothing more came"
            read += os.read(self.reader, 65_536)
        return [json.loads(line) for line in read.splitlines()]


class Log:
    """Log of a process: its records, its lines, and the counter of lost ones."""

    def __init__(self) -> None:
        """Begin to write to a pipe."""
        self.pipe = Pipe()
        self.metrics = Metrics()
        self.lines = LogWriter(Descriptor(self.pipe.writer), self.metrics.count_lost_lines, most=MOST)
        self.records = RequestRecorder(self.metrics, self.lines)
        self.lines.keep_writing()

    def answer(self, *request_ids: str) -> None:
        """Answer requests."""
        for request_id in request_ids:
            self.records.note((0.0, 1.0, request_id, ANSWER))
        self.records.flush()

    @property
    def lost(self) -> int:
        """Return what the metric says."""
        families = text_string_to_metric_families(self.metrics.exposition().decode())
        samples = (each for family in families for each in family.samples)
        return next(int(each.value) for each in samples if each.name == "activity_access_log_lines_lost_total")


@pytest.fixture
def log() -> Iterator[Log]:
    """Yield a log that nobody reads yet; a thread that waits to write to it is let go in the end."""
    made = Log()
    yield made
    os.close(made.pipe.reader)
    made.lines.wait(PATIENCE_S)
    os.close(made.pipe.writer)


def test_a_reader_that_stops_holds_nobody_up_and_what_waits_is_bounded(log: Log) -> None:
    answering = Thread(target=log.answer, args=map(str, range(ANSWERS)), daemon=True)
    answering.start()
    answering.join(PATIENCE_S)

    assert not answering.is_alive()
    assert ANSWERS // 2 < log.lost < ANSWERS
    assert 0 < log.lines.waiting <= MOST
    assert not log.records._notes  # noqa: SLF001  # what lies in memory


def test_a_reader_that_comes_back_gets_whole_lines_in_order_and_what_follows(log: Log) -> None:
    log.answer(*map(str, range(ANSWERS)))
    lost = log.lost
    lines: list[dict[str, Any]] = []
    reader = Thread(target=lambda: lines.extend(log.pipe.read(until="back")), daemon=True)

    reader.start()
    log.lines.wait(PATIENCE_S)
    log.answer("back")
    reader.join(PATIENCE_S)

    found = [line["request_id"] for line in lines]
    assert lost > 0
    assert found[-1] == "back"
    assert len(found) == ANSWERS - lost + 1
    assert found[:-1] == sorted(found[:-1], key=int)
    assert log.lost == lost


def test_a_process_that_ends_does_not_wait_for_a_reader_for_long(log: Log) -> None:
    log.answer(*map(str, range(ANSWERS)))

    ending = Thread(target=log.records._end, daemon=True)  # noqa: SLF001  # what the process calls
    ending.start()
    ending.join(PATIENCE_S)

    assert not ending.is_alive()


def test_processes_that_share_a_full_pipe_tear_none_of_each_others_lines() -> None:
    pipe = Pipe()
    command = [sys.executable, "-c", _PROCESS, str(pipe.writer)]
    writers = [subprocess.Popen([*command, name], cwd=_ROOT, pass_fds=[pipe.writer]) for name in "abc"]
    os.close(pipe.writer)

    read = b""
    while more := os.read(pipe.reader, 1000):
        read += more
    os.close(pipe.reader)

    assert [writer.wait() for writer in writers] == [0, 0, 0]
    found = [json.loads(line)["request_id"] for line in read.splitlines()]
    assert sorted(found) == sorted(f"{name}-{number}" for name in "abc" for number in range(300))


def test_a_pipe_that_somebody_has_made_not_wait_loses_no_line(log: Log) -> None:
    os.set_blocking(log.pipe.writer, False)

    log.answer(*map(str, range(200)), "last")

    assert len(log.pipe.read(until="last")) == 201
    assert log.lost == 0


class _Filling(Paper):
    """A disk with room for so many bytes: it takes what fits, then nothing."""

    room = 20

    def write(self, lines: bytes) -> int:  # type: ignore[override]  # bytes alone
        """Take what fits."""
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = super().write(lines[: self.room])
        self.room -= taken
        return taken


def test_a_line_that_was_begun_is_ended_when_there_is_room_again() -> None:
    disk, lost = _Filling(), list[int]()
    lines = LogWriter(disk, lost.append)
    lines.put(b'{"n":1}\n{"n":2}\n{"n":3}\n{"n":4}\n{"n":5}\n')
    lines.write_waiting()
    assert disk.getvalue() == b'{"n":1}\n{"n":2}\n{"n"'
    lines.put(b'{"n":6}\n')
    lines.write_waiting()
    disk.room = 1000
    lines.put(b'{"n":7}\n')
    lines.write_waiting()

    assert [line["n"] for line in disk.lines()] == [1, 2, 3, 7]
    assert lost == [2, 1]
    assert lines.waiting == 0


def test_a_reader_that_is_gone_costs_lines_and_nothing_else() -> None:
    pipe, lost = Pipe(), list[int]()
    lines = LogWriter(Descriptor(pipe.writer), lost.append)
    os.close(pipe.reader)

    lines.put(b"one\ntwo\n")
    lines.write_waiting()

    os.close(pipe.writer)
    assert (lost, lines.waiting) == ([2], 0)


def test_what_fails_unforeseen_does_not_end_the_writing(caplog: pytest.LogCaptureFixture) -> None:
    done = Event()

    class Failing(Paper):
        def write(self, lines: bytes) -> int:  # type: ignore[override]  # bytes alone
            """Fail at first as nobody expects."""
            if lines == b"first\n":
                raise RuntimeError("planted")
            done.set()
            return len(lines)

    lines = LogWriter(Failing(), print)
    lines.keep_writing()
    lines.put(b"first\n")
    lines.wait(PATIENCE_S)
    lines.put(b"second\n")

    assert done.wait(PATIENCE_S)
    assert "planted" in caplog.text


def test_events_wait_for_their_reader_too_and_say_how_many_were_lost() -> None:
    pipe = Pipe()
    handler = logs.LogWriterHandler(Descriptor(pipe.writer))
    logger = logging.getLogger(__name__)
    logger.propagate = False
    handler.setFormatter(logs.formatter())
    handler.lines.keep_writing()
    logger.addHandler(handler)
    lines: list[dict[str, Any]] = []
    reader = Thread(target=lambda: lines.extend(pipe.read(until="again")), daemon=True)

    def log_many() -> None:
        for number in range(ANSWERS):
            logger.warning("database_unavailable", extra={"request_id": str(number)})

    logging_thread = Thread(target=log_many, daemon=True)
    logging_thread.start()
    logging_thread.join(PATIENCE_S)
    assert not logging_thread.is_alive()
    reader.start()
    handler.lines.wait(PATIENCE_S)
    for request_id in ("back", "again"):
        logger.warning("database_unavailable", extra={"request_id": request_id})
    reader.join(PATIENCE_S)

    *before, loss, back, again = lines
    assert [line["request_id"] for line in before] == [str(number) for number in range(len(before))]
    assert [line["request_id"] for line in (back, again)] == ["back", "again"]
    assert 0 < loss["events"] == ANSWERS - len(before)
    logger.removeHandler(handler)
    os.close(pipe.reader)
    os.close(pipe.writer)
