"""Clients that ask for everything, all the time, and note whatever no fault excuses."""

from __future__ import annotations

import http.client
import itertools
import json
import time
from contextlib import closing
from threading import Event
from typing import TYPE_CHECKING, Any, Final

from snapshots.signals import SIGNALS
from tests.chaos.notes import Answer, Notes
from tests.chaos.threads import Threads
from tests.chaos.world import HOST

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

_PREFIX: Final = "/api/v1/activity"
SNAPSHOTS: Final = {"patterns": "patterns", "cost": "cost-analysis", "attention": "attention-queue"}
_LIVE: Final = ("freshness", "summary/by-status", "runs/by-dimension?dim=source", "runs?limit=20")
_SNAPSHOT_PACE_S: Final = 0.25
_LIVE_PACE_S: Final = 0.2
#: No answer takes longer, whatever the fault, seconds: a live query has five, and half of one to begin.
_TIMEOUT_S: Final = 20.0
_OK: Final = 200


class Readers(Threads):
    """Two clients, one of snapshots and one of live endpoints, so that slow live queries do not hide the snapshots."""

    def __init__(self, port: int, keys: Mapping[str, str], runs: Mapping[str, str]) -> None:
        """Take the API's port, a key per tenant, and a run of the tenants that have some."""
        super().__init__(self._read_snapshots, self._read_live)
        self._port = port
        self._keys = keys
        self.runs = runs
        #: Set while a fault has the API itself down.
        self.api_is_down = Event()
        self.notes = Notes()

    def are_fresh(self, since: datetime, without: str = "") -> bool:
        """Tell whether the newest answer of every tenant and signal was confirmed after `since` and is not stale."""
        wanted = itertools.product([tenant for tenant in self._keys if tenant != without], SIGNALS)
        return all(self.notes.is_fresh(tenant, signal, since) for tenant, signal in wanted)

    def body(self, tenant: str, path: str) -> dict[str, Any] | None:
        """Return one body, asked for at once and not noted; None where the answer is no 200."""
        with closing(_Client(self._port)) as client:
            answer = client.get(f"{_PREFIX}/{path}", {"Authorization": f"Bearer {self._keys[tenant]}"})
        found: dict[str, Any] | None = json.loads(answer.body) if answer.status == _OK else None
        return found

    def _read_snapshots(self) -> None:
        with closing(_Client(self._port)) as client:
            tags: dict[str, str] = {}
            for turn in itertools.count():
                self._read_each(client, tags, is_conditional=bool(turn % 2))
                if self.over.wait(_SNAPSHOT_PACE_S):
                    return

    def _read_each(self, client: _Client, tags: dict[str, str], *, is_conditional: bool) -> None:
        for tenant, signal in itertools.product(self._keys, SIGNALS):
            name = f"{tenant}/{signal}"
            answer = self._ask(client, tenant, SNAPSHOTS[signal], tags.get(name) if is_conditional else None)
            if answer is not None:
                tags[name] = answer.headers.get("etag", "")
                self.notes.take_snapshot(tenant, signal, answer)

    def _read_live(self) -> None:
        with closing(_Client(self._port)) as client:
            for tenant, path in itertools.cycle(self._live_questions()):
                answer = self._ask(client, tenant, path, None)
                if answer is not None:
                    self.notes.take_live(path, answer)
                if self.over.wait(_LIVE_PACE_S):
                    return

    def _live_questions(self) -> Iterator[tuple[str, str]]:
        for tenant in self._keys:
            for path in (*_LIVE, *([f"runs/{self.runs[tenant]}"] if tenant in self.runs else [])):
                yield tenant, path

    def _ask(self, client: _Client, tenant: str, path: str, tag: str | None) -> Answer | None:
        """Return the answer; None, which is noted, when there is none."""
        was_down = self.api_is_down.is_set()
        headers = {"Authorization": f"Bearer {self._keys[tenant]}", **({"If-None-Match": tag} if tag else {})}
        try:
            return client.get(f"{_PREFIX}/{path}", headers)
        except (OSError, http.client.HTTPException) as ex:
            is_excused = was_down or self.api_is_down.is_set()
            self.notes.take_silence(path, ex, is_excused=is_excused)
            return None


class _Client:
    """A connection that is kept, and made anew after an error."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connection: http.client.HTTPConnection | None = None

    def get(self, path: str, headers: Mapping[str, str]) -> Answer:
        """Return the answer. Raises OSError or http.client.HTTPException when there is none."""
        if self._connection is None:
            self._connection = http.client.HTTPConnection(HOST, self._port, timeout=_TIMEOUT_S)
        begun = time.monotonic()
        try:
            self._connection.request("GET", path, headers=dict(headers))
            response = self._connection.getresponse()
            named = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, named, response.read(), time.monotonic() - begun)
        except (OSError, http.client.HTTPException):
            self.close()
            raise

    def close(self) -> None:
        """Close the connection; the next question opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
