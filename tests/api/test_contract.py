"""The OpenAPI document against the application, both ways."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from falcon.inspect import inspect_routes
from jsonschema_rs import Draft202012Validator, meta

from api.http.problems import RETRY_AFTER_S
from api.openapi import examples
from api.openapi.document import ERRORS, OPERATIONS, document
from snapshots.signals import CAPABILITIES
from tests.api.arrange import ENDPOINTS, PREFIX, SNAPSHOT_PATHS, Api
from tests.api.contract import assert_problem

DOCUMENT = document()
ROOT = Path(__file__).parents[2]


def schema_of(name: str) -> dict[str, Any]:
    """Return the schema of a component, with the others beside it."""
    return {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}


def parameters_of(path: str) -> dict[str, dict[str, Any]]:
    """Return the query parameters of a path by name."""
    listed = DOCUMENT["paths"][path]["get"].get("parameters", [])
    return {each["name"]: each for each in listed if each["in"] == "query"}


def test_every_route_is_in_the_document_and_every_path_is_routed(api: Api) -> None:
    framework = api.client.app._application  # type: ignore[attr-defined]  # noqa: SLF001  # Falcon's routes

    routed = {route.path.replace(":path", "") for route in inspect_routes(framework)}

    assert routed == set(DOCUMENT["paths"])


def test_the_document_is_served_as_it_is(api: Api) -> None:
    result = api.client.simulate_get("/openapi.json")

    assert (result.status_code, result.json) == (200, json.loads(json.dumps(DOCUMENT)))
    assert result.json["openapi"].startswith("3.1")


@pytest.mark.parametrize("name", sorted(DOCUMENT["components"]["schemas"]))
def test_every_schema_is_one(name: str) -> None:
    meta.validate(schema_of(name))


@pytest.mark.parametrize("name", sorted(examples.BODIES))
def test_every_example_is_what_its_schema_says(name: str) -> None:
    Draft202012Validator(schema_of(name)).validate(examples.BODIES[name])


@pytest.mark.parametrize(("status", "code"), [(status, code) for status, codes in ERRORS.items() for code in codes])
def test_every_error_has_an_example_that_its_schema_allows(status: int, code: str) -> None:
    Draft202012Validator(schema_of("Problem")).validate(examples.problem(status, code))


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_every_parameter_of_the_document_is_taken_and_no_other(api: Api, operation: Any) -> None:  # noqa: ANN401  # an Operation
    path = PREFIX + operation.path.format(run_id="run_1", fingerprint="0" * 32)

    refused = assert_problem(api.get(path, params={"made_up": "1"}), 400, "unknown_parameter")

    assert refused["allowed"] == sorted(parameters_of(PREFIX + operation.path))


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_the_capability_of_the_document_is_the_one_that_is_asked_for(api: Api, operation: Any) -> None:  # noqa: ANN401  # an Operation
    path = PREFIX + operation.path.format(run_id="run_1", fingerprint="0" * 32)
    others = [each for each in CAPABILITIES if each != operation.capability]
    token = api.add_key(capabilities=others)

    result = api.client.simulate_get(path, headers={"Authorization": f"Bearer {token}"})

    if operation.capability is None:
        assert result.status_code == 200
    else:
        assert assert_problem(result, 403, "capability_missing")["capability"] == operation.capability


@pytest.mark.parametrize("path", sorted({path.partition("?")[0] for path in ENDPOINTS}))
def test_every_operation_lists_the_errors_that_any_request_may_meet(path: str) -> None:
    listed = set(DOCUMENT["paths"][path]["get"]["responses"])

    assert {"200", "400", "401", "403", "405", "413", "414", "429", "500", "503"} <= listed


def raised() -> set[tuple[object, object]]:
    """Return the statuses and codes of the errors that the read layer raises, from its source."""
    calls = [node for tree in sources() for node in ast.walk(tree) if isinstance(node, ast.Call)]
    named = [[each.value for each in call.args[:2] if isinstance(each, ast.Constant)] for call in calls if made(call)]
    return {(pair[0], pair[1]) for pair in named if len(pair) == 2}


def sources() -> list[ast.Module]:
    paths = [path for path in (ROOT / "api").rglob("*.py") if "openapi" not in path.parts]
    return [ast.parse(path.read_text()) for path in paths]


def made(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Name) and call.func.id == "ProblemError"


def test_every_code_that_is_raised_is_in_the_document_with_its_status_and_no_other_is() -> None:
    documented: set[tuple[object, object]] = {(status, code) for status, codes in ERRORS.items() for code in codes}
    words = {node.value for tree in sources() for node in ast.walk(tree) if isinstance(node, ast.Constant)}

    assert len(raised()) > 20
    assert raised() - documented == set()
    assert {code for _, code in documented} - words == set()
    assert set(RETRY_AFTER_S) <= {code for _, code in documented}


@pytest.mark.parametrize("path", sorted(SNAPSHOT_PATHS.values()))
def test_snapshots_promise_their_headers_with_200_and_304(path: str) -> None:
    answers = DOCUMENT["paths"][path]["get"]["responses"]

    for status in ("200", "304"):
        assert {"ETag", "Snapshot-As-Of", "Snapshot-Verified-At", "Snapshot-Stale"} <= set(answers[status]["headers"])
