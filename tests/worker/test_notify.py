"""Webhooks: told at least once, in order, signed, and never where they may not lead."""

from __future__ import annotations

import json
import ssl
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from freezegun import freeze_time
from sqlalchemy import delete, insert, select, update
from standardwebhooks import Webhook

from ops import webhooks
from snapshots import settings
from snapshots.movement import change_counter, signal_change
from snapshots.webhooks import dead_letter, webhook
from worker.housekeeping.erase import erase
from worker.housekeeping.retention import prune
from worker.webhooks.deliver import BATCH, BUDGET_S, Means, Told, notify, pause_s
from worker.webhooks.sending import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import Engine

HERE = settings.load(notify_private="true", notify_attempts=3)
PUBLIC_ONLY = settings.load()


@dataclass
class Receiver:
    """A real HTTP server: what it was sent, and the statuses that it answers with, the last one for ever."""

    url: str = ""
    statuses: list[int] = field(default_factory=lambda: [204])
    headers: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    def bodies(self) -> list[Any]:
        """Return what was sent."""
        return [json.loads(body) for _, body in self.requests]

    def numbers(self) -> list[int]:
        """Return the changes that it was told of."""
        return [change["change_no"] for body in self.bodies() for change in body["data"]["changes"]]

    def ids(self) -> list[str]:
        """Return the ids of the messages."""
        return [headers["webhook-id"] for headers, _ in self.requests]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Yield a receiver on a port of its own."""
    received = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            received.requests.append(({name.lower(): value for name, value in self.headers.items()}, body))
            statuses = received.statuses
            self.send_response(statuses.pop(0) if len(statuses) > 1 else statuses[0])
            for name, value in received.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    received.url = f"http://127.0.0.1:{server.server_port}/hook?token=hunter2"
    yield received
    server.shutdown()
    server.server_close()
    thread.join()


def record(engine: Engine, first: int, last: int, tenant: str = "acme", **overrides: object) -> None:
    """Record changes as publication numbers them."""
    row: dict[str, Any] = {"tenant_id": tenant, "signal": "cost", "fingerprint": "0" * 32, "key": {"agent_id": "a<b"}}
    row |= {"kind": "rose", "at": datetime.now(UTC), "version": 1, "value": 2, "rank": 1}
    with engine.begin() as conn:
        conn.execute(insert(signal_change), [row | {"change_no": no} | overrides for no in range(first, last + 1)])
        conn.execute(delete(change_counter).where(change_counter.c.tenant_id == tenant))
        conn.execute(insert(change_counter).values(tenant_id=tenant, last_no=last, stream="s"))


def add(engine: Engine, receiver: Receiver, tenant: str = "acme", **options: Any) -> tuple[int, str]:  # noqa: ANN401  # add's own
    with engine.begin() as conn:
        return webhooks.add(conn, HERE, tenant, receiver.url, **options)


def due_again(engine: Engine) -> None:
    """Let the pause after a failure pass."""
    with engine.begin() as conn:
        conn.execute(update(webhook).values(retry_at=datetime.now(UTC) - timedelta(seconds=1)))


def state(engine: Engine) -> Any:  # noqa: ANN401  # a row
    with engine.connect() as conn:
        return conn.execute(select(webhook)).one()


def test_a_webhook_is_told_of_what_changes_after_it_was_added(engine: Engine, receiver: Receiver) -> None:
    record(engine, 1, 2)
    _, secret = add(engine, receiver)
    record(engine, 3, 5)

    assert notify(engine, HERE) == Told(delivered=1)

    headers, body = receiver.requests[0]
    assert Webhook(secret).verify(body.decode(), headers) == json.loads(body)
    assert receiver.numbers() == [3, 4, 5]
    assert receiver.bodies()[0]["type"] == "activity.changes"
    assert receiver.bodies()[0]["data"]["tenant_id"] == "acme"
    assert notify(engine, HERE) == Told()


def test_messages_follow_each_other_in_order_and_are_bounded(engine: Engine, receiver: Receiver) -> None:
    add(engine, receiver)
    record(engine, 1, 2 * BATCH + 1)

    assert notify(engine, HERE) == Told(delivered=3)

    assert receiver.numbers() == list(range(1, 2 * BATCH + 2))
    assert len(set(receiver.ids())) == 3


def test_a_message_that_failed_is_sent_again_under_its_id_and_nothing_overtakes_it(
    engine: Engine, receiver: Receiver
) -> None:
    add(engine, receiver)
    record(engine, 1, 2)
    receiver.statuses = [500, 204]
    assert notify(engine, HERE) == Told(failed=1)
    record(engine, 3, 3)
    assert notify(engine, HERE) == Told()
    due_again(engine)

    assert notify(engine, HERE) == Told(delivered=2)

    assert receiver.ids()[0] == receiver.ids()[1]
    assert receiver.numbers() == [1, 2, 1, 2, 3]
    assert (state(engine).attempts, state(engine).error) == (0, None)


def test_a_worker_that_dies_after_sending_sends_the_same_again(engine: Engine, receiver: Receiver) -> None:
    add(engine, receiver)
    record(engine, 1, 2)
    notify(engine, HERE)
    with engine.begin() as conn:
        conn.execute(update(webhook).values(last_no=0, pending_no=2))
    record(engine, 3, 4)

    notify(engine, HERE)

    assert receiver.ids()[0] == receiver.ids()[1] != receiver.ids()[2]


def test_what_cannot_be_told_is_a_dead_letter_and_the_next_is_told(engine: Engine, receiver: Receiver) -> None:
    add(engine, receiver)
    record(engine, 1, 2)
    receiver.statuses = [500]
    for _ in range(3):
        notify(engine, HERE)
        due_again(engine)
    receiver.statuses = [200]
    record(engine, 3, 3)

    assert notify(engine, HERE) == Told(delivered=1)

    with engine.connect() as conn:
        letter = conn.execute(select(dead_letter)).one()
        health = webhooks.health(conn)
    assert (letter.first_no, letter.last_no, letter.attempts) == (1, 2, 3)
    assert letter.error == "the receiver answered 500"
    assert letter.message_id == receiver.ids()[0]
    assert health == {"webhooks": 1, "failing": 0, "disabled": 0, "dead_letters_24h": 1}


@pytest.mark.parametrize(("kept", "told"), [(3, Told(dead=1)), (2, Told(delivered=1))])
def test_changes_that_retention_removed_are_a_dead_letter_and_no_silence(
    engine: Engine, receiver: Receiver, kept: int, told: Told
) -> None:
    add(engine, receiver)
    record(engine, 1, 3)
    with engine.begin() as conn:
        conn.execute(delete(signal_change).where(signal_change.c.change_no <= kept))

    assert notify(engine, HERE) == told

    assert receiver.numbers() == list(range(kept + 1, 4))
    with engine.connect() as conn:
        assert conn.execute(select(dead_letter.c.error)).scalars().all() == ["changes are no longer kept"]


def overtake(engine: Engine) -> None:
    """Deliver the message as another worker that took it over when its lease had passed."""
    with engine.begin() as conn:
        conn.execute(update(webhook).values(last_no=1, pending_no=None, attempts=0))


@pytest.mark.parametrize(("meanwhile", "left"), [(overtake, [(1, None)]), (lambda engine: erase(engine, "acme"), [])])
def test_what_is_delivered_or_erased_during_the_last_attempt_is_no_dead_letter(
    engine: Engine, receiver: Receiver, meanwhile: Callable[[Engine], object], left: list[tuple[int, None]]
) -> None:
    add(engine, receiver)
    record(engine, 1, 1)
    receiver.statuses = [500]

    def find(_host: str, _port: int) -> Sequence[str]:
        meanwhile(engine)
        return ["127.0.0.1"]

    notify(engine, settings.load(notify_private="true", notify_attempts=1), Means(find))

    with engine.connect() as conn:
        assert conn.execute(select(dead_letter)).all() == []
        assert conn.execute(select(webhook.c.last_no, webhook.c.error)).all() == left


def test_receivers_that_let_a_worker_wait_do_not_keep_it_from_its_other_work(
    engine: Engine, receiver: Receiver
) -> None:
    """The next call tells the remaining changes."""
    for _ in range(3):
        add(engine, receiver)
    record(engine, 1, 1)

    with freeze_time(datetime.now(UTC)) as frozen:

        def slow(_host: str, _port: int) -> Sequence[str]:
            frozen.tick(BUDGET_S + 1)
            return ["127.0.0.1"]

        told = [notify(engine, HERE, Means(slow)) for _ in range(4)]

    assert told == [*[Told(delivered=1)] * 3, Told()]


def test_a_receiver_that_is_gone_is_told_no_more(engine: Engine, receiver: Receiver) -> None:
    add(engine, receiver)
    record(engine, 1, 1)
    receiver.statuses = [410]

    for _ in range(2):
        notify(engine, HERE)
        due_again(engine)

    assert len(receiver.requests) == 1
    assert state(engine).disabled_at is not None


def test_only_what_was_asked_for_is_told(engine: Engine, receiver: Receiver) -> None:
    add(engine, receiver, signals=["attention"], kinds=["worsened"])
    record(engine, 1, 1)
    record(engine, 2, 2, signal="attention")
    record(engine, 3, 3, signal="attention", kind="worsened")
    record(engine, 1, 1, tenant="globex", signal="attention", kind="worsened")

    notify(engine, HERE)

    assert receiver.numbers() == [3]
    assert state(engine).last_no == 3


def test_slack_reads_no_markup_in_an_id(engine: Engine, receiver: Receiver) -> None:
    add(engine, receiver, written="slack")
    record(engine, 1, 30, key={"agent_id": "<!channel>"})

    notify(engine, HERE)

    lines = receiver.bodies()[0]["text"].splitlines()
    assert lines[0] == "acme: rose in cost: &lt;!channel&gt;"
    assert lines[-1] == "and 10 more"


def test_a_redirect_is_a_failure_and_is_not_followed(engine: Engine, receiver: Receiver) -> None:
    add(engine, receiver)
    record(engine, 1, 1)
    receiver.statuses, receiver.headers = [302], {"location": receiver.url}

    assert notify(engine, HERE) == Told(failed=1)

    assert len(receiver.requests) == 1
    assert state(engine).error == "the receiver answered 302"


def test_neither_url_nor_secret_is_logged(engine: Engine, receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    _, secret = add(engine, receiver)
    record(engine, 1, 1)
    receiver.statuses = [500]
    caplog.set_level("DEBUG")
    for _ in range(3):
        notify(engine, HERE)
        due_again(engine)

    assert "dead letter" in caplog.text
    assert not any(word in caplog.text for word in (secret, "hunter2", "127.0.0.1"))


def test_a_private_address_is_not_spoken_to(engine: Engine, receiver: Receiver) -> None:
    add(engine, receiver)
    record(engine, 1, 1)
    with engine.begin() as conn:
        conn.execute(update(webhook).values(url=receiver.url.replace("http:", "https:")))

    assert notify(engine, PUBLIC_ONLY) == Told(failed=1)

    assert receiver.requests == []
    assert "not public" in state(engine).error


def test_the_address_that_was_checked_is_the_one_that_is_spoken_to(engine: Engine, receiver: Receiver) -> None:
    """A name that answers anew for each question is asked once, and the server still hears its name."""
    asked: list[str] = []

    def rebinding(host: str, port: int) -> Sequence[str]:
        del port
        asked.append(host)
        return ["127.0.0.1"]

    receiver.url = receiver.url.replace("127.0.0.1", "hooks.example.com")
    add(engine, receiver)
    record(engine, 1, 1)

    assert notify(engine, HERE, Means(rebinding)) == Told(delivered=1)

    assert asked == ["hooks.example.com"]
    assert receiver.requests[0][0]["host"].startswith("hooks.example.com:")


def test_a_certificate_of_another_name_is_refused(engine: Engine, receiver: Receiver) -> None:
    """The address is connected to, and the certificate must still be the name's."""
    receiver.url = receiver.url.replace("http:", "https:")
    add(engine, receiver)
    record(engine, 1, 1)

    assert notify(engine, HERE, Means(trusted=ssl.create_default_context())) == Told(failed=1)

    assert state(engine).error.startswith("no answer: ")
    assert receiver.requests == []


def test_pauses_grow_up_to_an_hour() -> None:
    assert [pause_s(attempts) for attempts in range(1, 8)] == [10, 40, 160, 640, 2560, 3600, 3600]


def test_webhooks_are_tried_listed_and_removed(engine: Engine, receiver: Receiver) -> None:
    made, secret = add(engine, receiver)
    assert webhooks.try_out(engine, HERE, made) == Outcome(204)
    with engine.begin() as conn:
        shown = [dict(row) for row in webhooks.listed(conn, "acme")]
        assert shown[0]["host"].startswith("127.0.0.1:")
        assert not any(word in str(shown) for word in (secret, "hunter2"))
        assert receiver.bodies()[0]["type"] == "activity.test"
        webhooks.remove(conn, made)
        assert webhooks.listed(conn) == []
        with pytest.raises(webhooks.WebhookRequestError, match="does not exist"):
            webhooks.remove(conn, made)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"tenant": " "}, "tenant"),
        ({"written": "xml"}, "format"),
        ({"signals": ["x"]}, "signal"),
        ({"kinds": []}, "kind"),
    ],
)
def test_a_webhook_that_cannot_be_is_refused(engine: Engine, options: dict[str, Any], name: str) -> None:
    asked = {"tenant": "acme", "url": "https://example.com/", **options}
    with engine.begin() as conn, pytest.raises(webhooks.WebhookRequestError, match=f"^{name}: "):
        webhooks.add(conn, HERE, **asked)


def test_dead_letters_go_with_retention(engine: Engine, receiver: Receiver) -> None:
    made, _ = add(engine, receiver)
    letter = {"tenant_id": "acme", "webhook_id": made, "message_id": "m", "first_no": 1, "last_no": 1, "attempts": 1}
    with engine.begin() as conn:
        old = datetime.now(UTC) - timedelta(days=HERE.ledger_days + 1)
        conn.execute(insert(dead_letter).values(letter | {"error": "e", "died_at": old}))

    prune(engine, HERE)

    with engine.connect() as conn:
        assert conn.execute(select(dead_letter)).all() == []
