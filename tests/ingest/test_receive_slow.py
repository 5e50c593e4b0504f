"""Unknown senders cost little, and slow ones hold no other up."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from ingest.otlp.body import UNKNOWN_SENDER
from ops.keys import create_key
from snapshots.signals import INGEST_CAPABILITY
from tests.ingest.receiving import receiving
from tests.ingest.spans import TENANT, agent, body
from tests.served.serving import HOST, until
from tests.served.test_last_use import is_written_down

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

    from ingest.otlp.receiver import ReceiverApp
    from tests.ingest.receiver import Receiver
    from tests.postgres import Server
    from tests.served.serving import Served

PART = 16_384
MEBIBYTE = 1024 * 1024
UNKNOWN = "act_000000000000_" + "0" * 64


class Sender:
    """One request as a server hands it on: `parts` of a body, and then no more, though more was announced."""

    def __init__(self, token: str, *parts: bytes) -> None:
        """Take the key, and the parts that come."""
        self.parts = list(parts)
        self.sent = 0
        self.answer: list[dict[str, Any]] = []
        given = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        self.scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/traces",
            "query_string": b"",
            "http_version": "1.1",
            "scheme": "http",
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        }

    async def receive(self) -> dict[str, Any]:
        """Return the next part, or wait for ever."""
        if self.sent == len(self.parts):
            await asyncio.Event().wait()
        self.sent += 1
        return {"type": "http.request", "body": self.parts[self.sent - 1], "more_body": True}

    async def send(self, message: dict[str, Any]) -> None:
        """Keep what is answered."""
        self.answer.append(message)

    def ask(self, app: ReceiverApp) -> tuple[int, dict[bytes, bytes], bytes]:
        """Return the status, the headers and the body of the answer."""
        # In a thread of its own: another test's browser may have left a loop running in this one.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, app(self.scope, self.receive, self.send)).result()
        start, rest = self.answer
        return start["status"], dict(start["headers"]), rest["body"]


def test_of_an_unknown_senders_body_a_little_is_read_and_the_connection_closed(receiver: Receiver) -> None:
    sender = Sender(UNKNOWN, *[bytes(PART)] * 100)

    status, headers, _ = sender.ask(receiver.app)

    assert (status, headers[b"connection"]) == (401, b"close")
    assert sender.sent * PART == UNKNOWN_SENDER


def test_of_a_known_senders_body_the_rest_is_read_so_that_it_sees_the_answer(receiver: Receiver) -> None:
    sender = Sender(receiver.tokens[TENANT], *[bytes(PART)] * 600)

    status, _, _ = sender.ask(receiver.app)

    assert status == 413
    assert 8 * MEBIBYTE <= sender.sent * PART <= 9 * MEBIBYTE + PART


def test_a_body_that_does_not_come_in_time_is_408_and_the_connection_closed(receiver: Receiver) -> None:
    sender = Sender(receiver.tokens[TENANT], b"{")

    status, headers, content = sender.ask(receiver.app)

    assert (status, headers[b"connection"]) == (408, b"close")
    assert b"body: expected all of it within 1 s" in content


def test_an_unknown_sender_of_no_body_is_answered(receiver: Receiver) -> None:
    """It announced one, and nothing of it ever comes."""
    status, headers, _ = Sender(UNKNOWN).ask(receiver.app)

    assert (status, headers[b"connection"]) == (401, b"close")


def test_slow_senders_are_cut_off_and_hold_no_other_up(
    server: Server, fresh_database: str, engine: Engine, private_folder: Path
) -> None:
    """Of each a byte has come. A good sender that waits for the turn of a slow one loses none of its own time."""
    with engine.begin() as conn:
        token = create_key(conn, TENANT, capabilities=[INGEST_CAPABILITY]).token
    limits = {"ingest_threads": 1, "ingest_body_timeout_s": 1}
    with receiving(server, fresh_database, private_folder, **limits) as served, ExitStack() as ends:
        unknown = [ends.enter_context(begin(served, UNKNOWN)) for _ in range(10)]
        known = ends.enter_context(begin(served, token))
        content = body(agent())

        good = ends.enter_context(begin(served, token, content, len(content)))

        assert good.recv(12) == b"HTTP/1.1 200"
        assert answer(known) == (b"HTTP/1.1 408", True)
        assert {answer(each) for each in unknown} == {(b"HTTP/1.1 401", True)}
        assert "Traceback" not in served.log()


def test_the_use_of_a_sender_s_key_is_written_down_though_no_answer_waits_for_it(
    server: Server, fresh_database: str, engine: Engine, private_folder: Path
) -> None:
    with engine.begin() as conn:
        made = create_key(conn, TENANT, capabilities=[INGEST_CAPABILITY])
    with receiving(server, fresh_database, private_folder) as served, ExitStack() as ends:
        content = body(agent())
        good = ends.enter_context(begin(served, made.token, content, len(content)))
        assert good.recv(12) == b"HTTP/1.1 200"
        until(lambda: is_written_down(engine, made.key_id), "written down")


def begin(served: Served, token: str, content: bytes = b"{", length: int = 1_000_000) -> socket.socket:
    connection = socket.create_connection((HOST, served.port), timeout=30)
    head = (
        f"POST /v1/traces HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )
    connection.sendall(head.encode() + content)
    return connection


def answer(connection: socket.socket) -> tuple[bytes, bool]:
    """Return how an answer begins and whether it says that the connection closes, once it has closed."""
    whole = b"".join(iter(lambda: connection.recv(65_536), b""))
    return whole[:12], b"connection: close" in whole.lower()
