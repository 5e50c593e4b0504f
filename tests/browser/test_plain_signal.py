"""A signal that only the catalogue describes: the console shows it as a table."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Page, Route, expect

from api.openapi import examples
from tests.browser.test_appearance import violations

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.browser.conftest import Profile

[SIGNAL] = json.loads(json.dumps(examples.BODIES["SignalList"]))["signals"]
SIGNAL["columns"] += [
    {"name": "worst_run", "type": "text", "unit": "", "description": "A failed run"},
    {"name": "run_id", "type": "text", "unit": "", "description": "The last failed run"},
    {"name": "longest_ms", "type": "integer", "unit": "milliseconds", "description": "The longest run"},
    {"name": "last_failed_at", "type": "timestamp", "unit": "", "description": "The last failure"},
    {"name": "is_new", "type": "boolean", "unit": "", "description": "Whether the agent is new"},
]
ITEM = {
    "agent_id": "refund-agent",
    "failure_rate": 41.5,
    "worst_run": None,
    "run_id": "run_7f3a",
    "longest_ms": 90_000,
    "last_failed_at": "2026-01-17T11:58:00.000000Z",
    "is_new": False,
    "fingerprint": "3f2a9c0d5be14786a1c0de99b7f05d42",
    "movement": None,
    "triage": None,
}


def add_signal(profile: Profile, items: list[dict[str, Any]]) -> Page:
    """Open the overview with one more signal in the catalogue; its body has `items`."""

    def add(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json={"signals": [*answer.json()["signals"], SIGNAL]})

    body = {
        "agents": items,
        "parameters": {"min_runs": 25},
        "snapshot": examples.BODIES["Patterns"]["snapshot"],
    }
    profile.context.route("**/api/v1/activity/signals", add)
    profile.context.route(f"**{SIGNAL['route']}", lambda route: route.fulfill(json=body))
    return profile.open()


def test_new_signal_has_a_table_with_its_columns(profile: Profile) -> None:
    page = add_signal(profile, [ITEM])
    panel = page.locator("#signal-agent_failures")

    expect(panel.get_by_role("heading", name=SIGNAL["title"])).to_be_visible()
    expect(panel).to_contain_text("Lists agents with at least 25 runs whose failure rate rose.")
    assert panel.locator("thead th").all_inner_texts() == [
        "Agent id", "Failure rate\npercent", "Worst run", "Run id", "Longest ms\nmilliseconds", "Last failed at",
        "Is new", "Triage",
    ]  # fmt: skip
    cells = panel.locator("tbody td")
    expect(cells.nth(1)).to_have_text("41.5")
    expect(cells.nth(2)).to_have_text(re.compile("^.$"))
    expect(cells.nth(4)).to_have_text("1 min 30 s")
    expect(cells.nth(6)).to_have_text("no")
    expect(page.locator(".verdict")).to_contain_text("1 agents whose runs fail more often than before")
    expect(panel.get_by_role("link", name="run_7f3a")).to_have_attribute("href", "#/run/run_7f3a")
    panel.get_by_role("link", name="refund-agent").click()
    expect(page.get_by_role("heading", name="refund-agent")).to_be_visible()


def test_new_signal_without_items_shows_an_empty_state(profile: Profile) -> None:
    panel = add_signal(profile, []).locator("#signal-agent_failures")

    expect(panel).to_contain_text("No agents whose runs fail more often than before")


@pytest.mark.parametrize("width", [390, 1440])
def test_table_of_a_new_signal_is_accessible(new_profile: Callable[..., Profile], width: int) -> None:
    profile = new_profile(viewport={"width": width, "height": 900}, reduced_motion="reduce")
    profile.log_in()
    page = add_signal(profile, [ITEM])
    expect(page.locator("#signal-agent_failures tbody tr")).to_have_count(1)

    page.wait_for_function(f"document.documentElement.scrollWidth <= {width}")
    assert violations(page) == []
    page.emulate_media(color_scheme="dark")
    assert violations(page) == []


def test_help_states_the_thresholds_in_force(profile: Profile) -> None:
    page = add_signal(profile, [])
    expect(page.locator("#cost .agent").first).to_be_visible()
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog")

    expect(dialog).to_contain_text("Finds runs of the last 24 hours")
    expect(dialog).to_contain_text("Lists agents with at least 25 runs")
