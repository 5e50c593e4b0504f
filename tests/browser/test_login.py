"""Login and logout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.browser.conftest import Profile
    from tests.browser.stack import Stack


def test_login_keeps_the_key_out_of_reach_of_scripts(new_profile: Callable[..., Profile], stack: Stack) -> None:
    profile = new_profile()
    page = profile.open()

    page.get_by_label("API key").fill(stack.demo_key)
    page.get_by_role("button", name="Log in").click()

    expect(page.get_by_role("heading", name="Needs attention")).to_be_visible()
    [cookie] = [each for each in profile.context.cookies(f"{stack.url}/api/") if each["name"] == "activity_session"]
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/api")
    seen = page.evaluate(
        "[document.cookie, location.href, ...Object.values(localStorage), ...Object.values(sessionStorage)]"
    )
    assert not any(stack.demo_key in words for words in seen)
    assert stack.demo_key not in page.content()
    assert not any(stack.demo_key in answer.url for answer in profile.answers)


def test_session_survives_reload_and_ends_at_logout(profile: Profile) -> None:
    page = profile.open()
    page.reload()
    expect(page.get_by_role("heading", name="Needs attention")).to_be_visible()

    page.get_by_role("button", name="Log out").click()

    expect(page.get_by_label("API key")).to_be_visible()
    page.reload()
    expect(page.get_by_label("API key")).to_be_visible()
    assert profile.context.cookies(f"{profile.stack.url}/api/") == []


def test_invalid_and_malformed_keys_have_own_messages(new_profile: Callable[..., Profile], stack: Stack) -> None:
    page = new_profile().open()
    field = page.get_by_label("API key")

    field.fill(f"act_0000000000000000_{'0' * 64}")
    field.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("not valid")
    expect(page.get_by_role("alert")).to_contain_text("Request ")
    expect(field).to_be_focused()
    field.fill("not a key")
    field.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("This is not a key")

    field.fill(stack.key())
    field.press("Enter")
    expect(page.get_by_role("heading", name="Needs attention")).to_be_visible()


def test_panel_names_the_capability_that_the_key_lacks(new_profile: Callable[..., Profile], stack: Stack) -> None:
    profile = new_profile()
    profile.log_in(stack.key(capabilities=["activity.patterns"]))

    page = profile.open()

    expect(page.locator("#patterns .card").first).to_be_visible()
    expect(page.locator("#cost")).to_contain_text("activity.cost_analysis")
    assert not any(answer.status == 403 for answer in profile.answers)


def test_revoked_key_returns_to_the_login_form(new_profile: Callable[..., Profile], stack: Stack) -> None:
    profile, key = new_profile(), stack.key(capabilities=["activity.attention_queue"])
    profile.log_in(key)
    page = profile.open()
    expect(page.locator("#queue .item").first).to_be_visible()

    stack.revoke(key)

    expect(page.get_by_text("Your session has ended")).to_be_visible()
    assert page.locator(".item").count() == 0
