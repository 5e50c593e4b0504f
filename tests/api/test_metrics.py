"""Contents of /metrics (see `api.http.metrics`)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from falcon.testing import TestClient, create_environ
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import create_engine

from api.app import create_app
from api.http.metrics import Metrics
from snapshots.settings import Settings
from tests.api.arrange import PREFIX, SNAPSHOT_PATHS, TENANT, Api

_ROOT = Path(__file__).parents[2]
#: A process that counts one request and prints what all processes have counted.
_PROCESS = """
from pathlib import Path
from api.http.metrics import Metrics
import os
metrics = Metrics(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
metrics.count("/route", "GET", "200", [0.01])
print(metrics.exposition().decode())
"""


def numbers(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return the samples of an exposition by name and labels."""
    families = text_string_to_metric_families(text)
    return {(each.name, frozenset(each.labels.items())): each.value for family in families for each in family.samples}


def test_requests_are_counted_by_route_method_and_status(api: Api) -> None:
    api.verify("patterns")
    for _ in range(3):
        api.get(SNAPSHOT_PATHS["patterns"])
    api.client.simulate_get("/made/up/by/a/client")

    found = numbers(api.client.simulate_get("/metrics").text)

    route = {("route", SNAPSHOT_PATHS["patterns"]), ("method", "GET"), ("status", "200")}
    assert found["activity_http_request_duration_seconds_count", frozenset(route)] == 3
    unknown = {("route", "none"), ("method", "GET"), ("status", "404")}
    assert found["activity_http_request_duration_seconds_count", frozenset(unknown)] == 1


@pytest.mark.parametrize("seconds", [[0.0], [0.0005], [0.00050001], [0.3, 0.3, 7.0], [5.0, 5.1, 100.0]])
def test_many_durations_are_counted_as_the_library_counts_each(seconds: list[float]) -> None:
    at_once, one_by_one = Metrics(), Metrics()

    at_once.count("/route", "GET", "200", seconds)
    child = one_by_one._durations.labels("/route", "GET", "200")  # noqa: SLF001  # the library's own way
    for each in seconds:
        child.observe(each)

    created = "_created"
    counted = {key: value for key, value in numbers(at_once.exposition().decode()).items() if created not in key[0]}
    expected = {key: value for key, value in numbers(one_by_one.exposition().decode()).items() if created not in key[0]}
    assert counted == pytest.approx(expected)


def test_the_ages_of_the_snapshots_are_read_when_asked(api: Api) -> None:
    api.verify("patterns")
    api.moment.pass_by(40)

    found = numbers(api.client.simulate_get("/metrics").text)

    assert found["activity_snapshot_verified_age_seconds", frozenset({("signal", "patterns")})] == 40
    assert found["activity_database_up", frozenset()] == 1


def test_no_label_names_a_tenant_or_what_a_client_made_up(api: Api) -> None:
    api.verify("patterns")
    api.get(SNAPSHOT_PATHS["patterns"])
    environ = create_environ(f"{PREFIX}/coffee") | {"REQUEST_METHOD": "REPORT"}
    list(api.client.app(environ, lambda *_: bytes))  # as a server would: the test client refuses such a method

    text = api.client.simulate_get("/metrics").text

    assert TENANT not in text
    assert "coffee" not in text
    assert "REPORT" not in text


def test_a_database_that_is_away_is_a_number_and_not_an_error() -> None:
    nowhere = create_engine("postgresql+psycopg2://nobody@127.0.0.1:1/none", connect_args={"connect_timeout": 1})

    result = TestClient(create_app(nowhere, nowhere, Settings())).simulate_get("/metrics")

    assert numbers(result.text)["activity_database_up", frozenset()] == 0


def test_a_deployment_may_leave_metrics_out() -> None:
    nowhere = create_engine("postgresql+psycopg2://nobody@127.0.0.1:1/none")
    client = TestClient(create_app(nowhere, nowhere, Settings(metrics=False)))

    assert client.simulate_get("/metrics").status_code == 404
    assert "/metrics" not in client.simulate_get("/openapi.json").json["paths"]


def test_processes_add_up_their_numbers(tmp_path: Path) -> None:
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PATH": ""}

    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", _PROCESS], cwd=_ROOT, env=environment, check=True, capture_output=True, text=True
        )

    labels = frozenset({("route", "/route"), ("method", "GET"), ("status", "200")})
    assert numbers(done.stdout)["activity_http_request_duration_seconds_count", labels] == 2
