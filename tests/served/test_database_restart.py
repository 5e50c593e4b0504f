"""The database is killed and comes back under load: the API says 503 meanwhile, and needs no restart itself."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Final

import psutil
import pytest

from api.queries.published import CACHE_TTL_S
from tests.api.arrange import ENDPOINTS, PREFIX
from tests.postgres import Server
from tests.served.serving import Served, serving, until
from tests.served.tenants import Estate, furnish

if TYPE_CHECKING:
    from collections.abc import Iterator

SNAPSHOT: Final = f"{PREFIX}/patterns"
LIVE: Final = f"{PREFIX}/summary/by-status"
#: What the load asks for, all the time.
PATHS: Final = (SNAPSHOT, LIVE, "/readyz")
SMALL: Final = 1
FULL: Final = 6
#: No answer takes longer, and the API answers again within so long, seconds.
HANG_S: Final = 7.0
BACK_S: Final = 15.0
#: A request that started before the kill may end after it.
_SLACK_S: Final = 0.5
#: Refusals, and then good answers, of each path that are waited for.
_ENOUGH: Final = 20
_PACE_S: Final = 0.01

_log = logging.getLogger(__name__)


@pytest.fixture
def own_server(private_folder: Path) -> Iterator[Server]:
    """Yield a server that may be killed."""
    server = Server("pg18", Path(tempfile.mkdtemp(dir=private_folder)) / "mortal")
    yield server
    server.stop()


@pytest.fixture
def own_estate(own_server: Server, private_folder: Path) -> Estate:
    return furnish(own_server.create_migrated_database(), Path(tempfile.mkdtemp(dir=private_folder)))


@pytest.fixture
def served(own_server: Server, own_estate: Estate, private_folder: Path) -> Iterator[Served]:
    with serving(own_server, own_estate.database, private_folder, live_timeout_ms=1000) as started:
        yield started


@dataclass(frozen=True, slots=True)
class Seen:
    """An answer: when it was asked for, how long it took, both in seconds, its status and its error code."""

    path: str
    at: float
    took: float
    status: int
    error: str


@dataclass
class Load:
    """Threads that ask without end, each for one path, half of the time for what they already hold."""

    served: Served
    token: str
    seen: list[Seen] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    _stop: Event = field(default_factory=Event)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Keep asking meanwhile."""
        threads = [Thread(target=self._ask_on, args=(path,)) for path in PATHS]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def last(self, path: str) -> list[int]:
        """Return the last statuses of a path."""
        return [each.status for each in list(self.seen) if each.path == path][-_ENOUGH:]

    def _ask_on(self, path: str) -> None:
        etag = None
        while not self._stop.wait(_PACE_S):
            try:
                etag = None if etag else self._ask(path, etag)
            except (OSError, http.client.HTTPException) as ex:
                self.faults.append(f"{path}: {type(ex).__name__}: {ex}")

    def _ask(self, path: str, etag: str | None) -> str | None:
        began = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.served.port, timeout=2 * HANG_S)
        with contextlib.closing(connection):
            headers = {"Authorization": f"Bearer {self.token}"} | ({"If-None-Match": etag} if etag else {})
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            body = response.read()
        error = "" if response.status in {200, 304} else json.loads(body)["error"]
        self.seen.append(Seen(path, began, time.monotonic() - began, response.status, error))
        return response.getheader("ETag")


def kill(server: Server) -> None:
    """End the server as a power cut would: nobody is asked, and nothing is written any more."""
    process = server.cluster.process
    assert process is not None
    for each in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    process.wait(10)


def all_last(load: Load, *statuses: int) -> bool:
    return all(len(load.last(path)) == _ENOUGH and set(load.last(path)) <= {*statuses} for path in PATHS)


def test_a_database_that_is_killed_and_started_again_is_ridden_out(
    served: Served, own_server: Server, own_estate: Estate, *, is_full_size: bool
) -> None:
    pids = served.pids()
    for _ in range(FULL if is_full_size else SMALL):
        check_one_kill(Load(served, own_estate.first.key), own_server)

        answered = {path: served.get(path, own_estate.first.key)[0] for path in (*ENDPOINTS, "/readyz")}
        assert answered == dict.fromkeys(answered, 200)
        assert served.pids() == pids


def test_a_frozen_database_holds_nobody_for_long(
    served: Served, own_server: Server, own_estate: Estate, *, is_full_size: bool
) -> None:
    load = Load(served, own_estate.first.key)
    with load.running():
        until(lambda: all_last(load, 200, 304), "steady")
        with frozen(own_server):
            began = time.monotonic()
            until(lambda: all_last(load, 503), "refused")
            until(lambda: time.monotonic() > began + (30 if is_full_size else 0), "frozen for long enough")
            alive = served.get("/livez")[0]
            thawing = time.monotonic()
        until(lambda: all_last(load, 200, 304), "back")

    check_answers(load, began, thawing, time.monotonic())
    assert alive == 200
    assert served.get(SNAPSHOT, own_estate.first.key)[0] == 200


@contextlib.contextmanager
def frozen(server: Server) -> Iterator[None]:
    """Stop every process of the server, and let them go on afterwards: connections stay open, nobody answers."""
    process = server.cluster.process
    assert process is not None
    family = [process, *process.children(recursive=True)]
    for each in family:
        each.suspend()
    try:
        yield
    finally:
        for each in family:
            each.resume()


def check_one_kill(load: Load, server: Server) -> None:
    """Kill the database under load, start it again, and check what was answered meanwhile."""
    with load.running():
        until(lambda: all_last(load, 200, 304), "steady")
        killed = time.monotonic()
        kill(server)
        until(lambda: all_last(load, 503), "refused")
        restarting = time.monotonic()
        server.cluster.start()
        restarted = time.monotonic()
        until(lambda: all_last(load, 200, 304), "back")
    check_answers(load, killed, restarting, restarted)


def check_answers(load: Load, killed: float, restarting: float, restarted: float) -> None:
    """Hold what the load saw against what it may see while the database is away and coming back."""
    bad = [each for each in load.seen if each.status not in {200, 304}]
    slowest = max(each.took for each in load.seen)
    back = max(each.at + each.took for each in bad) - restarted
    _log.info("%d answers, %d refused, slowest %.2f s, back after %.2f s", len(load.seen), len(bad), slowest, back)
    assert load.faults == []
    assert {(each.status, each.error) for each in bad} == {(503, "database_unavailable")}
    assert slowest < HANG_S
    assert back < BACK_S
    known = {SNAPSHOT: CACHE_TTL_S, "/readyz": CACHE_TTL_S, LIVE: 0.0}
    away = [each for each in load.seen if killed < each.at and each.at + each.took < restarting and each.error == ""]
    late = [each for each in away if each.at - killed > known[each.path] + _SLACK_S]
    assert late == []
    assert min(each.at for each in bad) > killed - _SLACK_S
