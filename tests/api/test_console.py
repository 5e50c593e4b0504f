"""The console's files as the API serves them."""

from __future__ import annotations

import gzip
import re
from typing import TYPE_CHECKING

import pytest
import zstandard

from api import bundle
from api.resources.console import POLICY
from tests.api.contract import assert_problem

if TYPE_CHECKING:
    from tests.api.arrange import Api

FILES = bundle.load()
SCRIPT = next(name for name in FILES if name.endswith(".js"))
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize("name", sorted(FILES))
def test_every_file_of_the_bundle_is_served_as_it_is(api: Api, name: str) -> None:
    result = api.client.simulate_get(f"/console/{name}")

    assert result.status_code == 200
    assert result.content == (bundle.FOLDER / name).read_bytes()
    assert result.headers["content-type"] == FILES[name].media_type
    assert result.headers["x-content-type-options"] == "nosniff"
    assert result.headers["content-security-policy"] == POLICY


def test_the_policy_allows_no_inline_script_and_no_other_host() -> None:
    allowed = dict(part.split(" ", 1) for part in POLICY.split("; "))

    assert allowed.pop("img-src") == "'self' data:"
    assert allowed.pop("require-trusted-types-for") == "'script'"
    assert set(allowed.values()) == {"'self'", "'none'"}
    assert {"script-src", "style-src", "connect-src"} <= allowed.keys()
    assert {allowed[name] for name in ("default-src", "base-uri", "form-action", "frame-ancestors")} == {"'none'"}


def test_the_page_holds_no_inline_script_or_style_and_no_other_address() -> None:
    page = (bundle.FOLDER / bundle.INDEX).read_text()

    assert re.findall(r"<script[^>]*>([^<]*)</script>", page) == [""]
    assert "<style" not in page
    assert " style=" not in page
    assert not re.search(r" on[a-z]+=", page)
    assert all(link.startswith("/console/") for link in re.findall(r'(?:src|href)="([^"]*)"', page))


def test_other_answers_keep_the_policy_that_allows_nothing(api: Api) -> None:
    for path in ("/", "/livez", "/openapi.json", "/console/none.js"):
        policy = api.client.simulate_get(path).headers["content-security-policy"]
        assert policy == "default-src 'none'; frame-ancestors 'none'"


def test_the_folder_is_the_page(api: Api) -> None:
    assert api.client.simulate_get("/console/").text.startswith("<!doctype html>")
    moved = api.client.simulate_get("/console")
    assert (moved.status_code, moved.headers["location"]) == (308, "/console/")


def test_named_by_content_is_kept_for_ever_and_the_page_is_asked_for_again(api: Api) -> None:
    script = api.client.simulate_get(f"/console/{SCRIPT}").headers
    page = api.client.simulate_get("/console/").headers

    assert script["cache-control"] == "public, max-age=31536000, immutable"
    assert page["cache-control"] == "no-cache"


def test_a_browser_that_holds_a_file_gets_304(api: Api) -> None:
    etag = api.client.simulate_get("/console/").headers["etag"]

    result = api.client.simulate_get("/console/", headers={"If-None-Match": etag})

    assert (result.status_code, result.content) == (304, b"")


@pytest.mark.parametrize(
    ("coding", "decode"),
    [("gzip", gzip.decompress), ("zstd", lambda body: zstandard.ZstdDecompressor().decompress(body)), (None, bytes)],
)
def test_a_file_is_sent_in_a_coding_that_the_browser_takes(api: Api, coding: str | None, decode: object) -> None:
    result = api.client.simulate_get(f"/console/{SCRIPT}", headers={"Accept-Encoding": coding or "br"})

    assert callable(decode)
    assert result.headers.get("content-encoding") == coding
    assert result.headers["vary"] == "Accept-Encoding"
    assert decode(result.content) == FILES[SCRIPT].codings[None]
    assert coding is None or len(result.content) < len(FILES[SCRIPT].codings[None]) / 2


def test_the_whole_console_is_under_its_budget() -> None:
    assert sum(len(file.codings["gzip"]) for file in FILES.values()) < 100_000


@pytest.mark.parametrize(
    "name",
    [
        "none.js", "manifest.json", "../bundle.py", "..%2fbundle.py", "%2e%2e/bundle.py", "/etc/passwd",
        "a/../index.html", f"{SCRIPT}/", "index.html%00", "..\\bundle.py",
    ],
)  # fmt: skip
def test_a_name_that_is_no_file_of_the_console_leads_nowhere(api: Api, name: str) -> None:
    assert_problem(api.client.simulate_get(f"/console/{name}"), 404, "not_found")


def test_a_head_request_has_the_headers_and_no_body(api: Api) -> None:
    result = api.client.simulate_head("/console/")

    assert (result.status_code, result.content) == (200, b"")
    assert result.headers["content-security-policy"] == POLICY


@pytest.mark.parametrize("accepted", ["*/*", "text/plain", "application/json", ""])
def test_a_tool_that_asks_for_the_start_gets_the_endpoints(api: Api, accepted: str) -> None:
    result = api.client.simulate_get("/", headers={"Accept": accepted})

    assert (result.status_code, result.headers["vary"]) == (200, "Accept")


def test_a_browser_that_asks_for_the_start_is_sent_to_the_console(api: Api) -> None:
    result = api.client.simulate_get("/", headers={"Accept": BROWSER})

    assert (result.status_code, result.headers["location"]) == (302, "/console/")
