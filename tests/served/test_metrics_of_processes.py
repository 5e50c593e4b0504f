"""Sums over several processes: their counts and logs equal the requests that were sent."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.api.arrange import ENDPOINTS, PREFIX
from tests.served.serving import PROCESSES, Served, end, serving, until
from tests.served.wire import alone

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.postgres import Server
    from tests.served.tenants import Estate

ROUNDS = 25
_COUNT = "activity_http_request_duration_seconds_count"


@pytest.fixture
def served(server: Server, estate: Estate, private_folder: Path) -> Iterator[Served]:
    with serving(server, estate.database, private_folder) as started:
        yield started


def counted(served: Served) -> dict[tuple[str, str], int]:
    """Return the requests by route and status, as one scrape has them; the scrapes themselves left out."""
    text = served.get("/metrics")[1].decode()
    samples = (each for family in text_string_to_metric_families(text) for each in family.samples)
    return {
        (each.labels["route"], each.labels["status"]): int(each.value)
        for each in samples
        if each.name == _COUNT and each.labels["route"] not in {"/metrics", "/readyz"}
    }


def requests_logged(served: Served) -> list[dict[str, Any]]:
    """Return the lines of the access log, without those of scrapes and of the wait for readiness."""
    lines = [json.loads(line) for line in served.log().splitlines() if '"event":"request"' in line]
    return [line for line in lines if line["path"] not in {"/metrics", "/readyz"}]


def send(served: Served, token: str) -> dict[tuple[str, str], int]:
    """Send requests on connections of their own, so that every process gets some; return what they should count."""
    expected: dict[tuple[str, str], int] = {}
    paths = {**dict.fromkeys(ENDPOINTS, 200), f"{PREFIX}/runs?made_up=1": 400, "/made/up": 404, "/livez": 200}
    for _ in range(ROUNDS):
        for path, status in paths.items():
            assert served.get(path, token)[0] == status
            route = "none" if path == "/made/up" else path.partition("?")[0]
            expected[route, str(status)] = expected.get((route, str(status)), 0) + 1
    return expected


def test_the_counters_and_the_log_hold_every_request_whichever_process_answered(served: Served, estate: Estate) -> None:
    expected = send(served, estate.first.key)

    until(lambda: counted(served) == expected, f"counted: {expected}")
    until(lambda: len(requests_logged(served)) == sum(expected.values()), f"logged: {sum(expected.values())}")

    assert len(served.pids()) == PROCESSES
    writers = {line["request_id"].partition("-")[0] for line in requests_logged(served)}
    assert len(writers) == PROCESSES


def test_every_process_tells_the_same_numbers(served: Served, estate: Estate) -> None:
    expected = send(served, estate.first.key)

    until(lambda: counted(served) == expected, f"counted: {expected}")

    assert [counted(served) for _ in range(10)] == [expected] * 10


def test_what_was_answered_just_before_the_end_is_in_the_log_too(served: Served, estate: Estate) -> None:
    sent = sum(send(served, estate.first.key).values())

    end(served)

    assert len(requests_logged(served)) == sent


def test_every_line_of_the_log_is_json(served: Served, estate: Estate) -> None:
    send(served, estate.first.key)

    end(served)

    assert [line for line in served.log().splitlines() if not is_json(line)] == []


def test_every_line_of_the_application_is_json(served: Served, estate: Estate) -> None:
    send(served, estate.first.key)

    end(served)

    own = [line for line in served.log().splitlines() if not line.startswith("[")]
    assert len(own) > ROUNDS
    assert [line for line in own if not is_json(line)] == []


def test_a_method_that_a_client_made_up_does_not_fill_the_log(served: Served) -> None:
    statuses, _ = alone(served.port, b"M" * 10_000 + b" /livez HTTP/1.1\r\nHost: api\r\nConnection: close\r\n\r\n")

    assert statuses == [400]
    until(lambda: '"path":"/livez"' in served.log(), "logged")
    assert max(map(len, served.log().splitlines())) < 2000


def is_json(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
