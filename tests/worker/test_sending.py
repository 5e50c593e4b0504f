"""One request to a webhook, as a receiver that does not answer gets it."""

from __future__ import annotations

import socket
from time import monotonic

from worker.webhooks.addresses import Target
from worker.webhooks.sending import send


def test_a_receiver_that_never_answers_is_hung_up_on() -> None:
    """Long before a step's own limit of ten seconds: the limit of all steps together ends it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        begun = monotonic()

        outcome = send(Target("http", "localhost", port, "/hook", "127.0.0.1"), b"{}", {}, total_s=0.1)

    assert 0.1 <= monotonic() - begun < 5
    assert outcome.status is None
    assert outcome.error.startswith("no answer: ")
    assert not outcome.is_delivered
