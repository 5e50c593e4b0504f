"""Fixtures of the browser tests: one shared installation and Chromium, one profile per test."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Response, Route, expect, sync_playwright

from tests.browser.stack import Stack, start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CHROMIUM: Final = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
#: Root has no sandbox, and the browser sends no requests of its own.
OPTIONS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
#: Logs violations of the content security policy.
_WATCH_POLICY: Final = """
addEventListener("securitypolicyviolation", (event) =>
  console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
"""
#: Chromium logs every failed request; the first one of a browser without a session is expected.
_EXPECTED: Final = "Failed to load resource: the server responded with a status of"
PATIENCE_MS: Final = 20_000

expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="session")
def stack(private_folder: Path) -> Iterator[Stack]:
    """Yield a running installation with demo data."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    started = start(private_folder)
    yield started
    started.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Yield the Chromium of the machine; no browser is downloaded."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=list(OPTIONS))
        yield launched
        launched.close()


@dataclass
class Profile:
    """A browser profile, with the responses, console errors and exceptions of its pages."""

    stack: Stack
    context: BrowserContext
    answers: list[Response] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def log_in(self, key: str | None = None) -> None:
        """Create a session without the form."""
        path = f"{self.stack.url}/api/v1/session"
        assert self.context.request.post(path, data={"api_key": key or self.stack.key()}).status == 204

    def record(self) -> list[str]:
        """Return a list that collects the bodies of all API responses from now on."""
        bodies: list[str] = []

        def pass_on(route: Route) -> None:
            answer = route.fetch()
            bodies.append(answer.text())
            route.fulfill(response=answer)

        self.context.route("**/api/**", pass_on)
        return bodies

    def open(self, route: str = "#/") -> Page:
        """Open a view in a new page and wait until it is shown."""
        page = self.context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.goto(f"{self.stack.url}/console/{route}")
        page.wait_for_selector("main")
        return page


@pytest.fixture
def new_profile(stack: Stack, browser: Browser) -> Iterator[Callable[..., Profile]]:
    """Return a factory of profiles. At the end no page may have logged an error or sent a request to another host."""
    made: list[Profile] = []

    def make(**options: Any) -> Profile:  # noqa: ANN401  # Playwright's options
        context = browser.new_context(viewport=options.pop("viewport", {"width": 1280, "height": 900}), **options)
        context.add_init_script(_WATCH_POLICY)
        profile = Profile(stack, context)
        # Playwright accepts only Python functions as handlers.
        context.on("response", lambda answer: profile.answers.append(answer))  # noqa: PLW0108  # see above
        context.on("console", lambda message: _note(profile, message.type, message.text))
        context.on("weberror", lambda error: profile.complaints.append(str(error.error)))
        made.append(profile)
        return profile

    yield make
    for profile in made:
        asked = {answer.url.partition("/console")[0].partition("/api")[0] for answer in profile.answers}
        profile.context.unroute_all(behavior="ignoreErrors")
        profile.context.close()
        assert profile.complaints == []
        assert asked <= {stack.url}


@pytest.fixture
def profile(new_profile: Callable[..., Profile]) -> Profile:
    """Return a profile with a session of the demo's tenant."""
    made = new_profile()
    made.log_in()
    return made


def _note(profile: Profile, kind: str, words: str) -> None:
    if kind in {"error", "warning"} and not words.startswith(_EXPECTED):
        profile.complaints.append(words)
