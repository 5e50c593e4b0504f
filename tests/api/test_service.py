from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from falcon.testing import TestClient, create_environ

from api.app import AppDependencies, create_app
from migrations import runner
from snapshots.settings import Settings
from snapshots.signals import SCHEMA_REVISION
from tests.api.arrange import ENDPOINTS, Api
from tests.api.contract import assert_problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine


def test_the_revision_that_the_api_needs_is_the_head_of_the_migrations() -> None:
    assert runner.head() == SCHEMA_REVISION


def test_a_migrated_database_is_ready(api: Api) -> None:
    result = api.client.simulate_get("/readyz")

    assert (result.status_code, result.json["schema_revision"]) == (200, SCHEMA_REVISION)


def test_a_database_at_another_revision_is_not_ready(reader: Engine, authenticator: Engine) -> None:
    client = TestClient(create_app(reader, authenticator, Settings(), AppDependencies(schema_revision="999_later")))

    document = assert_problem(client.simulate_get("/readyz"), 503, "schema_mismatch")

    assert "999_later" in document["detail"]
    assert SCHEMA_REVISION in document["detail"]


def test_readiness_does_not_depend_on_snapshots(api: Api) -> None:
    api.verify("patterns")
    api.moment.pass_by(86_400)

    assert api.client.simulate_get("/readyz").status_code == 200


def test_a_living_process_says_so(api: Api) -> None:
    assert api.client.simulate_get("/livez").json == {"status": "alive"}


def test_the_start_page_names_every_endpoint(api: Api) -> None:
    page = api.client.simulate_get("/").text

    assert all(endpoint.partition("?")[0] in page for endpoint in ENDPOINTS)


@pytest.mark.parametrize("path", ["/", "/livez", "/readyz"])
def test_a_head_request_has_the_headers_and_no_body(api: Api, path: str) -> None:
    result = api.client.simulate_head(path)

    assert (result.status_code, result.content) == (200, b"")
    assert result.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["//livez", "//api/v1/activity/patterns", "///livez"])
def test_a_path_that_a_proxy_would_read_as_another_is_none_of_ours(api: Api, path: str) -> None:
    seen: list[str] = []
    environ = create_environ("/livez") | {"PATH_INFO": path}

    def start_response(status: str, *_: object) -> Callable[[bytes], object]:
        seen.append(status)
        return bytes

    # Called as a server would: the test client takes the second word for a host.
    body = b"".join(api.client.app(environ, start_response))

    assert [status[:3] for status in seen] == ["404"]
    assert json.loads(body)["error"] == "not_found"
