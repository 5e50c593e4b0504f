"""Accessibility, themes, widths and transfer size of every view."""

from __future__ import annotations

import io
from importlib.resources import files
from typing import TYPE_CHECKING, Final

import pytest
from PIL import Image, ImageChops, ImageStat
from playwright.sync_api import Locator, Page, expect

from ops.local.demo.agents import DEMO_TENANT
from tests.browser.pictures import small

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.browser.conftest import Profile
    from tests.browser.stack import Stack

AXE: Final = files("axe_playwright_python").joinpath("axe.min.js").read_text()
RULES: Final = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
BUDGET_BYTES: Final = 150_000
#: Loopback, with other tests on the same cores; alone it is a fraction of this.
FIRST_PAINT_MS: Final = 1000
VIEWS: Final = ("overview", "run", "agent", "runs", "changes", "login", "help", "triage")


def show(profile: Profile, view: str) -> Page:
    """Open a view and wait for its content."""
    if view != "login":
        profile.log_in()
    if view == "run":
        page = profile.open("#/?pattern=retry_loop")
        page.locator("#patterns .card .run-links a").first.click()
        expect(page.locator("#steps .step").first).to_be_visible()
        page.get_by_text("Show as a table").click()
        return page
    routes = {"agent": "#/agent/refund-agent", "runs": "#/runs?status=failed", "changes": "#/changes"}
    page = profile.open(routes.get(view, "#/"))
    waits = {"agent": "#history .dot", "runs": "#runs tbody tr", "changes": "#changes .change", "login": "#key"}
    shown = waits.get(view, "#cost .agent")
    expect(page.locator(shown).first).to_be_visible()
    if view == "triage":
        page.locator("#queue .item").first.hover()
        page.locator("#queue .item").first.get_by_role("button", name="More triage options").click()
        expect(page.get_by_role("dialog")).to_be_visible()
    if view == "help":
        page.keyboard.press("?")
        expect(page.get_by_role("dialog")).to_be_visible()
    return page


def first_paint(page: Page) -> float:
    """Return the first contentful paint of the page, milliseconds."""
    return float(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))


def violations(page: Page) -> list[str]:
    """Return the violations that axe finds."""
    page.evaluate(AXE)
    found = page.evaluate("(rules) => axe.run(document, { runOnly: rules, resultTypes: ['violations'] })", RULES)
    return [
        f"{each['id']}: {node['target']} {node['failureSummary']}"
        for each in found["violations"]
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_no_violation_in_light_or_dark(new_profile: Callable[..., Profile], view: str) -> None:
    page = show(new_profile(color_scheme="light", reduced_motion="reduce"), view)
    assert violations(page) == []

    page.emulate_media(color_scheme="dark")

    assert violations(page) == []


def test_axe_detects_a_low_contrast(profile: Profile) -> None:
    page = show(profile, "overview")
    page.evaluate("document.querySelector('#queue .id').style.color = 'rgb(200, 200, 200)'")

    assert any(each.startswith("color-contrast") for each in violations(page))


@pytest.mark.parametrize("view", ["overview", "run", "agent", "runs", "changes", "login"])
def test_views_fit_a_width_of_360_pixels(new_profile: Callable[..., Profile], view: str) -> None:
    page = show(new_profile(viewport={"width": 360, "height": 740}, reduced_motion="reduce"), view)

    # Charts take their width after the first layout.
    page.wait_for_function("document.documentElement.scrollWidth <= 360")
    assert violations(page) == []


def test_phone_shows_four_items_below_the_header(new_profile: Callable[..., Profile]) -> None:
    page = show(new_profile(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True), "overview")

    page.locator("#queue .item").nth(4).wait_for()
    bottoms = [box["y"] + box["height"] for box in map(Locator.bounding_box, page.locator("#queue .item").all()) if box]
    header = page.locator("main").bounding_box()
    assert header is not None
    assert header["y"] <= 90
    assert len([bottom for bottom in bottoms if bottom <= 844]) >= 4

    page.get_by_role("button", name="Menu").click()
    expect(page.get_by_role("button", name="Log out")).to_be_visible()
    page.get_by_role("searchbox").fill("no such run")
    page.keyboard.press("Enter")
    expect(page.get_by_text("No run with this id.", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Log out")).to_be_hidden()


@pytest.mark.parametrize("width", [390, 1280])
def test_labels_of_the_agent_chart_do_not_overlap(new_profile: Callable[..., Profile], width: int) -> None:
    page = show(new_profile(viewport={"width": width, "height": 844}), "agent")

    overlaps = page.evaluate(
        """() => {
            const boxes = [...document.querySelectorAll(".history svg text")]
                .map((each) => [each.textContent, each.getBoundingClientRect()]);
            const meet = (one, other) => one.left < other.right && other.left < one.right
                && one.top + 2 < other.bottom && other.top + 2 < one.bottom;
            return boxes.flatMap(([words, box], at) => boxes.slice(at + 1)
                .filter(([, other]) => meet(box, other)).map(([others]) => `${words} / ${others}`));
        }"""
    )
    assert page.locator(".history .level text").all_text_contents() == ["usual", "p95"]
    assert overlaps == []


def test_click_targets_are_at_least_24_pixels(profile: Profile) -> None:
    page = show(profile, "overview")

    small = page.evaluate(
        """() => [...document.querySelectorAll("button, select, input, a, summary")]
            .filter((each) => each.offsetParent !== null && !each.closest(".skip"))
            .map((each) => [each.textContent, each.getBoundingClientRect()])
            .filter(([, box]) => box.height < 24 || box.width < 24)
            .map(([words, box]) => `${words} ${box.width} ${box.height}`)"""
    )

    assert small == []


def test_reduced_screenshot_is_small_and_similar(new_profile: Callable[..., Profile]) -> None:
    page = show(new_profile(viewport={"width": 2560, "height": 1300}), "overview")
    taken = page.screenshot()

    reduced = small(taken)

    with Image.open(io.BytesIO(taken)) as before, Image.open(io.BytesIO(reduced)) as after:
        assert before.size == after.size
        difference = ImageChops.difference(before.convert("RGB"), after.convert("RGB"))
        assert max(ImageStat.Stat(difference).mean) < 1
    # The largest picture of the documentation; all together may have 600 kB.
    assert len(reduced) < min(200_000, len(taken) / 2)


def test_wide_screen_has_three_columns(new_profile: Callable[..., Profile]) -> None:
    page = show(new_profile(viewport={"width": 2560, "height": 1300}), "overview")

    boxes = [page.locator(selector).bounding_box() for selector in ("#queue", "#patterns", "#cost")]
    lefts = [box["x"] for box in boxes if box]
    assert lefts == sorted(lefts)
    assert lefts[2] > 1400


def test_theme_follows_the_system_until_chosen(new_profile: Callable[..., Profile]) -> None:
    profile = new_profile(color_scheme="dark")
    page = show(profile, "overview")
    background = "getComputedStyle(document.documentElement).backgroundColor"
    dark = page.evaluate(background)

    page.get_by_role("button", name="Theme").click()
    page.get_by_role("button", name="Theme").click()

    light = page.evaluate(background)
    page.reload()
    page.wait_for_selector(".top")
    assert (dark, light, page.evaluate(background)) == ("rgb(14, 19, 24)", "rgb(243, 245, 247)", light)


def test_first_visit_stays_within_bytes_and_time(profile: Profile) -> None:
    page = show(profile, "overview")

    sizes = page.evaluate(
        """() => ["navigation", "resource"].flatMap((kind) => performance.getEntriesByType(kind))
            .map((each) => [each.name, each.transferSize])"""
    )
    # Other tests share the cores: the best of three visits is measured.
    paint = min(first_paint(each) for each in (page, show(profile, "overview"), show(profile, "overview")))
    total = sum(size for _, size in sizes)
    print(f"{total} bytes in {len(sizes)} answers, first contentful paint after {paint:.0f} ms")  # noqa: T201  # shown with -s
    assert 0 < total < BUDGET_BYTES
    assert paint < FIRST_PAINT_MS


def test_two_tenants_never_see_ids_of_the_other(new_profile: Callable[..., Profile], stack: Stack) -> None:
    tenants = (DEMO_TENANT, "globex-research")
    profiles = {tenant: new_profile() for tenant in tenants}
    bodies = {tenant: profile.record() for tenant, profile in profiles.items()}
    for tenant, profile in profiles.items():
        profile.log_in(stack.key(tenant))
    for _ in range(2):
        for tenant, profile in profiles.items():
            page = profile.open()
            expect(page.locator(".tenant")).to_have_text(tenant)
            page.locator("#queue .item a").first.click()
            expect(page.locator("#why")).to_be_visible()
            page.goto(f"{stack.url}/console/#/runs")
            expect(page.locator("#runs tbody tr").first).to_be_visible()

    for mine, other in (tenants, tenants[::-1]):
        seen = "\n".join(bodies[mine])
        assert any(run_id in seen for run_id in stack.run_ids(mine))
        foreign = stack.run_ids(other) | stack.agent_ids(other) | {other}
        assert [each for each in foreign if each in seen] == []
