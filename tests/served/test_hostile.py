"""Hostile requests at a real server: nothing of another tenant, nothing without a credential, nothing of the inside."""

from __future__ import annotations

import json
import logging
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.api.arrange import PREFIX
from tests.api.contract import INSIDE
from tests.served import credentials
from tests.served.attacks import Attack, Attacker
from tests.served.serving import Served, end, serving
from tests.served.wire import Line, Reply, alone

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.postgres import Server
    from tests.served.tenants import Estate, Tenant

SMALL: Final = 2_000
FULL: Final = 100_000
THREADS: Final = 6
#: Of all answers, at most this part may be a refusal for want of a free slot.
OVERLOADED: Final = 0.01
#: What may be said to somebody without a valid credential.
_SHUT: Final = frozenset({400, 401, 404, 405, 413, 414, 431})
_OPEN_PATHS: Final = frozenset({"/", "/livez", "/readyz", "/metrics", "/openapi.json"})
#: Members of a problem document that repeat what the client sent.
_ECHOES: Final = ("instance", "received", "parameter", "detail")
_INSIDE: Final = (*INSIDE, "site-packages", ".py", "pg_catalog", "signals.api")

_log = logging.getLogger(__name__)


@pytest.fixture(scope="module")
def served(server: Server, estate: Estate, private_folder: Path) -> Iterator[Served]:
    settings = estate.tokens_accepted() | {"api_threads": 2 * THREADS, "api_live_concurrency": 2 * THREADS}
    with serving(server, estate.database, private_folder, **settings, log_level="DEBUG") as started:
        yield started


@dataclass
class Judge:
    """Holds every answer against what an answer may be, and counts what it saw."""

    estate: Estate
    secrets: list[bytes]
    seen: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def judge(self, attack: Attack, reply: Reply) -> None:
        """Judge the answer to a request that keeps to the protocol."""
        self.seen[f"{attack.kind}: {reply.status}"] += 1
        self._check_words(attack, reply.everything)
        status, tenant = reply.status, attack.credential.tenant
        if status >= 500 and not self._is_overloaded(reply):
            self._fault(attack, f"status {status}")
        elif tenant is None and not self._is_shut(attack, reply):
            self._fault(attack, f"status {status} without a credential")
        elif tenant is not None and attack.is_plain and attack.credential.has_everything:
            self._check_own(attack, tenant, reply)
        if status >= 400 and attack.method != "HEAD":
            self._check_problem(attack, reply)
        if attack.kind in {"foreign run", "foreign cursor"} and status == 200 and attack.method in {"GET", "HEAD"}:
            self._fault(attack, "200 for what is another tenant's")
        if attack.wants_other and status == 200:
            self._check_empty(attack, json.loads(reply.body))

    def judge_odd(self, attack: Attack, statuses: list[int], everything: bytes) -> None:
        """Judge what came back for a request that breaks the protocol."""
        self.seen[f"odd {attack.kind}: {' '.join(map(str, statuses)) or 'nothing'}"] += 1
        self._check_words(attack, everything)
        if any(status >= 500 for status in statuses) and b'"overloaded"' not in everything:
            self._fault(attack, f"statuses {statuses}")
        if attack.credential.tenant is None and b'"items"' in everything:
            self._fault(attack, "rows without a credential")

    def _check_words(self, attack: Attack, everything: bytes) -> None:
        for tenant in (self.estate.first, self.estate.second):
            if tenant is attack.credential.tenant:
                continue
            if tenant.private.encode() in everything:
                self._fault(attack, f"an answer with rows of {tenant.tenant_id}")
            elif tenant.public.encode() in everything and not attack.says_other:
                self._fault(attack, f"an answer that names {tenant.tenant_id}")
        if any(secret in everything for secret in self.secrets):
            self._fault(attack, "an answer with a secret")

    def _is_overloaded(self, reply: Reply) -> bool:
        is_overloaded = reply.status == 503 and b'"overloaded"' in reply.body
        self.seen["overloaded"] += is_overloaded
        return is_overloaded

    def _is_shut(self, attack: Attack, reply: Reply) -> bool:
        path = attack.raw.split(b" ", 2)[1].decode("latin-1").partition("?")[0]
        if path in _OPEN_PATHS or reply.status in _SHUT:
            return True
        # OPTIONS tells the methods of a path, to anybody.
        return reply.status == 503 or (attack.method == "OPTIONS" and (reply.status, reply.body) == (200, b""))

    def _check_own(self, attack: Attack, tenant: Tenant, reply: Reply) -> None:
        if reply.status not in {200, 503}:
            self._fault(attack, f"status {reply.status} for a plain request")
        self.seen["answers with rows"] += tenant.private.encode() in reply.body

    def _check_problem(self, attack: Attack, reply: Reply) -> None:
        if reply.headers.get("content-type") != "application/problem+json":
            # Longer heads than it takes the server itself refuses, without a word.
            if reply.status not in {414, 431} or reply.body:
                self._fault(attack, f"{reply.status} without a problem document: {reply.body[:100]!r}")
            return
        document: dict[str, Any] = json.loads(reply.body)
        if document["status"] != reply.status or "error" not in document:
            self._fault(attack, f"{document}")
        own = json.dumps({name: value for name, value in document.items() if name not in _ECHOES})
        own += "" if document["error"] == "unknown_parameter" else document["detail"]
        if any(word in own for word in _INSIDE):
            self._fault(attack, f"the inside in {own}")

    def _check_empty(self, attack: Attack, body: dict[str, Any]) -> None:
        if body.get("items") or body.get("total") or body.get("total_runs"):
            self._fault(attack, "rows of a project of another tenant")

    def _fault(self, attack: Attack, what: str) -> None:
        """Note a fault with the request that reproduces it, without its credential."""
        first = attack.raw.split(b"\r\n")[0][:300].decode("latin-1")
        self.faults.append(f"{what}: {attack.kind}, {attack.credential.kind}: {first}")


def cursors_of(served: Served, tenant: Tenant) -> list[tuple[str, str]]:
    """Return cursors that the tenant was given, each with the path that takes it."""
    runs, detail = f"{PREFIX}/runs?limit=2&", f"{PREFIX}/runs/{tenant.run_id(2)}?limit=2&"
    sorts = ("started_at", "completed_at", "duration_ms", "estimated_cost_usd")
    paths = [detail, runs, *(f"{runs}sort={sort}&order=asc&" for sort in sorts)]
    return [(path, json.loads(served.get(path.rstrip("&"), tenant.key)[1])["next_cursor"]) for path in paths]


def attack_with(seed: int, count: int, attacker: Attacker, judge: Judge, port: int) -> None:
    """Send `count` attacks that follow from `seed`, one after the other, and judge the answers."""
    chance = Random(seed)  # noqa: S311  # the same attacks each time
    with Line(port) as line:
        for _ in range(count):
            attack = attacker.next(chance)
            if attack.odd:
                judge.judge_odd(attack, *alone(port, attack.raw))
            else:
                judge.judge(attack, line.ask(attack.raw, attack.method))


def test_no_hostile_request_gets_through(served: Served, estate: Estate, *, is_full_size: bool) -> None:
    size = FULL if is_full_size else SMALL
    valid, invalid = credentials.valid(estate), credentials.invalid(estate)
    secrets = credentials.secrets_of(estate, [*valid, *invalid])
    attacker = Attacker(estate, valid, invalid)
    attacker.cursors = {each.tenant_id: cursors_of(served, each) for each in (estate.first, estate.second)}
    judges = [Judge(estate, [secret.encode() for secret in secrets]) for _ in range(THREADS)]
    shares = [size // THREADS + (number < size % THREADS) for number in range(THREADS)]

    with ThreadPoolExecutor(THREADS) as threads:
        work = (
            threads.submit(attack_with, seed, share, attacker, judge, served.port)
            for seed, (share, judge) in enumerate(zip(shares, judges, strict=True))
        )
        for done in list(work):
            done.result()

    seen = sum((judge.seen for judge in judges), Counter[str]())
    _log.info("%d requests: %s", size, dict(sorted(seen.items())))
    faults = [fault for judge in judges for fault in judge.faults]
    assert faults == [], "\n".join([f"{len(faults)} faults", *faults[:20]])
    assert seen["overloaded"] <= OVERLOADED * size
    assert seen["answers with rows"] > size / 50
    assert served.is_ready()
    end(served)
    log = served.log()
    assert "refused" in log
    assert [secret[:8] for secret in secrets if secret in log] == []
