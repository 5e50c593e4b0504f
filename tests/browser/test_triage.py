"""Triage in the console: decisions, undo, and visibility for other users of the tenant."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Final

import pytest
from playwright.sync_api import Page, expect

from snapshots.signals import READING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.browser.conftest import Profile
    from tests.browser.stack import Stack

_NUMBERS: Final = count()


@pytest.fixture
def tenant() -> str:
    """Return a tenant of this test alone, without triage decisions of other tests."""
    return f"decider-{next(_NUMBERS)}"


@pytest.fixture
def run_id(stack: Stack, tenant: str) -> Iterator[str]:
    """Yield a run that needs attention, of a tenant that has no other."""
    planted = stack.plant(tenant)
    stack.refreshed()
    yield planted
    stack.remove(tenant)


@pytest.fixture
def page(new_profile: Callable[..., Profile], stack: Stack, tenant: str, run_id: str) -> Page:
    """Return the overview for a key with the triage capability, with that run in the queue."""
    profile = new_profile()
    profile.log_in(stack.key(tenant))
    opened = profile.open()
    expect(opened.locator("#queue .item", has_text=run_id)).to_be_visible()
    return opened


def test_acknowledgement_is_seen_by_others_and_reopened(
    page: Page, new_profile: Callable[..., Profile], stack: Stack, tenant: str, run_id: str
) -> None:
    item = page.locator("#queue .item", has_text=run_id)
    item.hover()
    item.get_by_role("button", name=f"Acknowledge {run_id}").click()
    expect(item.locator(".triage-state")).to_contain_text("Acknowledged by ")
    expect(page.get_by_role("status")).to_contain_text(f"Acknowledged: {run_id}")

    reader = new_profile()
    reader.log_in(stack.key(tenant, READING))
    seen = reader.open().locator("#queue .item", has_text=run_id)
    expect(seen.locator(".triage-state")).to_contain_text("Acknowledged by ")
    expect(seen.get_by_role("button")).to_have_count(0)

    item.hover()
    item.get_by_role("button", name=f"Reopen {run_id}").click()
    expect(item.locator(".triage-state")).to_have_count(0)


def test_snoozed_item_is_hidden_until_shown(page: Page, run_id: str) -> None:
    item = page.locator("#queue .item", has_text=run_id)
    page.keyboard.press("j")
    expect(item.get_by_role("link", name=run_id)).to_be_focused()
    page.keyboard.press("s")

    expect(item).to_have_count(0)
    expect(page.locator(".verdict")).to_contain_text("0 runs need attention")
    expect(page.locator(".verdict")).to_contain_text("1 item snoozed")
    expect(page.locator("#queue")).to_contain_text("Only snoozed runs need attention")
    page.get_by_role("button", name="Show 1 snoozed run").click()
    expect(item.locator(".triage-state")).to_contain_text("Snoozed until ")
    item.hover()
    item.get_by_role("button", name=f"Reopen {run_id}").click()
    expect(item.locator(".triage-state")).to_have_count(0)


@pytest.mark.parametrize("way", ["key", "button"])
def test_snooze_can_be_undone(page: Page, run_id: str, way: str) -> None:
    item = page.locator("#queue .item", has_text=run_id)
    page.keyboard.press("j")
    page.keyboard.press("s")
    notice = page.get_by_role("status")
    expect(notice).to_contain_text(f"Snoozed for 1 h: {run_id}")
    assert notice.get_attribute("aria-live") == "polite"
    expect(item).to_have_count(0)

    if way == "key":
        page.keyboard.press("u")
    else:
        page.locator(".skip").press("Enter")
        page.keyboard.press("Tab")
        expect(notice.get_by_role("button", name="Undo")).to_be_focused()
        page.keyboard.press("Enter")

    expect(item).to_be_visible()
    expect(item.locator(".triage-state")).to_have_count(0)
    expect(notice).to_contain_text(f"Reopened: {run_id}")
    expect(notice.get_by_role("button")).to_have_count(0)


def test_notice_disappears_unless_hovered(page: Page, run_id: str) -> None:
    page.clock.install()
    page.keyboard.press("j")
    page.keyboard.press("a")
    notice = page.get_by_role("status")
    expect(notice).to_contain_text(f"Acknowledged: {run_id}")
    notice.hover()
    page.clock.run_for(60_000)
    expect(notice).to_contain_text(f"Acknowledged: {run_id}")

    page.mouse.move(0, 0)
    page.clock.run_for(11_000)

    expect(notice).to_be_empty()


def test_snoozed_items_are_not_counted_until_shown(
    new_profile: Callable[..., Profile], stack: Stack, tenant: str
) -> None:
    stack.add_runs(tenant, risk_level="AT_RISK", status="failed")
    stack.refreshed()
    profile = new_profile()
    profile.log_in(stack.key(tenant))
    page = profile.open()
    queue, items = page.locator("#queue"), page.locator("#queue .item")
    risk = queue.get_by_role("button", name="Risk")
    try:
        expect(items).to_have_count(3)
        page.keyboard.press("j")
        page.keyboard.press("s")

        expect(items).to_have_count(2)
        expect(items.first.get_by_role("link").first).to_be_focused()
        expect(page.locator(".verdict")).to_contain_text("2 runs need attention")
        expect(queue.locator(".note")).to_have_text("2 runs")
        expect(risk.locator(".amount")).to_have_text("2")
        expect(items.locator(".rank")).to_have_text(["1", "2"])

        queue.get_by_role("button", name="Show 1 snoozed run").click()
        expect(items).to_have_count(3)
        expect(queue.locator(".note")).to_have_text("3 runs")
        expect(risk.locator(".amount")).to_have_text("3")
        expect(items.locator(".rank")).to_have_text(["1", "2", "3"])
        queue.get_by_role("button", name="Hide 1 snoozed run").click()
        expect(items).to_have_count(2)
    finally:
        stack.remove(tenant)


def test_expect_requires_a_reason(page: Page) -> None:
    card = page.locator("#patterns .card", has_text="Retry loop")
    card.hover()
    card.get_by_role("button", name="More triage options for Retry loop").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Expected").check()
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_be_visible()

    dialog.get_by_label("Reason").fill("load test")
    dialog.get_by_role("combobox", name="For").select_option("1 week")
    dialog.get_by_role("button", name="Save").click()

    expect(dialog).to_have_count(0)
    expect(card.locator(".triage-state")).to_contain_text("Expected until ")
    expect(card.locator(".triage-state")).to_contain_text("load test")
    card.hover()
    card.get_by_role("button", name="Reopen Retry loop").click()
    expect(card.locator(".triage-state")).to_have_count(0)


def test_cross_site_request_cannot_use_the_session(page: Page, stack: Stack) -> None:
    fingerprint = page.evaluate(
        "fetch('/api/v1/activity/attention-queue').then((a) => a.json()).then((b) => b.queue[0].fingerprint)"
    )
    bare = page.evaluate(
        """(fingerprint) => fetch("/api/v1/activity/triage", {
            method: "POST",
            headers: { "Content-Type": "application/json" },
            body: JSON.stringify({ fingerprint, action: "acknowledge" }),
        }).then((answer) => answer.json())""",
        fingerprint,
    )

    assert bare["error"] == "cross_site_request"
    del stack
