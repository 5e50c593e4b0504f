"""Views of the console: overview, filters, drill-down, keyboard, and each state of the data."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Page, expect

from ops.local.demo.agents import DEMO_TENANT

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.browser.conftest import Profile
    from tests.browser.stack import Stack

SIGNALS = ("Attention", "Patterns", "Cost")


def strip(page: Page, signal: str) -> object:
    return page.locator(".age", has_text=signal)


def test_every_panel_of_the_demo_has_content(profile: Profile) -> None:
    page = profile.open()

    for selector in ("#queue .item", "#patterns .card", "#cost .agent", "#status .bars li"):
        expect(page.locator(selector).first).to_be_visible()
    page.get_by_role("combobox", name="Runs").select_option("COMPLETED")
    expect(page.locator("#dimension .bars li").first).to_be_visible()
    for signal in SIGNALS:
        expect(page.locator(".age", has_text=signal)).to_contain_text("fresh")
    expect(page.locator(".verdict")).to_contain_text("attention")
    score = page.locator("#queue .score-bar").first
    assert re.fullmatch(r"Score 0\.\d\d: (risk|impact|latency) 0\.\d\d.*", str(score.get_attribute("aria-label")))


def test_new_run_appears_in_each_signal_after_a_refresh(new_profile: Callable[..., Profile], stack: Stack) -> None:
    tenant = "newcomer"
    profile = new_profile()
    profile.log_in(stack.key(tenant))
    page = profile.open()
    for words in (
        "No run needs attention",
        "No run is stuck in a pattern",
        "No run with a cost",
        "No completed run yet",
    ):
        expect(page.get_by_text(words).first).to_be_visible()
    expect(page.locator(".verdict")).to_contain_text("All clear")

    run_id = stack.plant(tenant)
    try:
        expect(page.locator("#queue .item", has_text=run_id)).to_contain_text("Policy violation")
        expect(page.locator("#patterns .card", has_text="Retry loop")).to_contain_text(run_id)
        expect(page.locator("#patterns .card", has_text="Timeout cascade")).to_be_visible()
        expect(page.locator("#cost .agent", has_text=f"{tenant}-agent")).to_contain_text("Anomaly")
        expect(page.locator(".verdict")).to_contain_text("1 run needs attention")
    finally:
        stack.remove(tenant)


def test_filters_are_in_the_url(profile: Profile) -> None:
    page = profile.open()
    cards = page.locator("#patterns .card")
    expect(cards.first).to_be_visible()

    page.get_by_role("button", name=re.compile("^Timeout cascade")).click()
    page.locator("#queue").get_by_role("button", name=re.compile("^Impact")).click()

    expect(cards).to_have_count(1)
    for chip in page.locator("#queue .item-head").all():
        assert re.search("Policy violation|Incident", chip.inner_text())
    shared = profile.open(page.url.partition("/console/")[2])
    expect(shared.locator("#patterns .card")).to_have_count(1)
    expect(shared.get_by_role("button", name=re.compile("^Timeout cascade"))).to_have_attribute("aria-pressed", "true")


def test_run_shows_its_signals_and_steps(profile: Profile) -> None:
    page = profile.open("#/?pattern=retry_loop")
    link = page.locator("#patterns .card .run-links a").first
    run_id = link.inner_text()

    link.click()

    expect(page.get_by_role("heading", name=run_id)).to_be_focused()
    expect(page.locator("#why")).to_contain_text("Retry loop")
    expect(page.locator("#steps .mark").first).to_contain_text("↻")
    page.get_by_role("button", name="By order").click()
    assert page.url.endswith("axis=order")
    page.get_by_text("Show as a table").click()
    expect(page.locator("#steps tbody tr").first).to_be_visible()
    page.go_back()
    expect(page.get_by_role("heading", name="Stuck in a pattern")).to_be_visible()


def test_agent_shows_its_cost_over_time(profile: Profile) -> None:
    page = profile.open()
    page.locator("#cost .agent a").first.click()

    expect(page.locator("#verdict")).to_contain_text("the usual")
    page.get_by_text("How it was computed").click()
    expect(page.locator(".explain li").first).to_be_visible()
    expect(page.locator("#history .dot").first).to_be_visible()
    page.locator("#recent tbody a").first.click()
    expect(page.locator("#steps")).to_be_visible()


def test_differing_verdicts_show_their_reasons(new_profile: Callable[..., Profile], stack: Stack) -> None:
    tenant = "doubter"
    before = datetime.now(UTC) - timedelta(days=3)
    stack.add_runs(tenant, cost_usd=0.01, started_at=before, completed_at=before)
    stack.add_runs(tenant, cost_usd=0.05)
    stack.refreshed()
    profile = new_profile()
    profile.log_in(stack.key(tenant))
    page = profile.open()
    try:
        # The rules disagree, so the reasons are shown.
        says = page.locator("#cost .agent .verdicts li")
        expect(says.first).to_have_text("z rule Anomaly: above the 95th percentile ($0.0100); z 0.0 is under 2")
        expect(says.nth(1)).to_have_text(
            "robust rule Too few runs: 3 priced runs in the baseline window; 20 are needed"
        )
    finally:
        stack.remove(tenant)

    profile = new_profile()
    profile.log_in()
    page = profile.open("#/agent/refund-agent")
    says = page.locator("#verdict .verdicts li")
    expect(says.first).to_contain_text(
        re.compile(r"z rule Anomaly: above the 95th percentile \(.*\) and z \d.* is over 2")
    )
    robust = r"robust rule Anomaly: the median run costs [\d.]+. the usual; score .* is beyond ±3\.5"
    expect(says.nth(1)).to_contain_text(re.compile(robust))


def test_agent_without_costs_explains_prices(new_profile: Callable[..., Profile], stack: Stack) -> None:
    tenant = "unpriced"
    stack.add_runs(tenant)
    profile = new_profile()
    profile.log_in(stack.key(tenant))
    try:
        page = profile.open(f"#/agent/{tenant}-agent")
        expect(page.locator("#verdict")).to_contain_text("No cost recorded for 3 runs in the last 24 h")
        expect(page.locator("#verdict")).to_contain_text("ACTIVITY_PRICES_FILE")
        page.get_by_role("link", name="Overview").first.click()
        expect(page.locator("#cost")).to_contain_text("ACTIVITY_PRICES_FILE")
    finally:
        stack.remove(tenant)


def test_queue_shows_age_of_scores_and_of_last_check(profile: Profile) -> None:
    page = profile.open()

    expect(page.locator("#queue .ages")).to_have_text(re.compile(r"Scores .+ old; no changes as of .+\."))
    expect(page.locator(".strip")).to_contain_text("Last refresh")


def test_sparklines_are_drawn_after_two_refreshes(profile: Profile) -> None:
    page = profile.open()

    lines = page.locator("#queue .spark")
    expect(lines).to_have_count(5)
    expect(lines.first).to_be_visible()
    assert str(lines.first.locator("path").get_attribute("d")).count("L") >= 1
    assert re.fullmatch(r"0\.\d\d (just now|\d+ \w+ ago), 0\.\d\d now", str(lines.first.get_attribute("aria-label")))


def test_changes_are_listed_newest_first_with_links(new_profile: Callable[..., Profile], stack: Stack) -> None:
    tenant = "changer"
    stack.add_runs(tenant, risk_level="AT_RISK", status="failed")
    stack.refreshed()
    stack.remove(tenant)
    [run_id, *_] = stack.add_runs(tenant, risk_level="VIOLATED", status="failed")
    stack.refreshed()
    profile = new_profile()
    profile.log_in(stack.key(tenant))
    page = profile.open()
    try:
        page.get_by_role("link", name="Changes").click()
        kinds = page.locator("#changes .change .chip")
        expect(kinds).to_have_count(9)
        # Both sets of three and the one agent are new, and the first three have left again.
        assert sorted(kinds.all_inner_texts()) == ["Entered"] * 6 + ["Left"] * 3
        times = [str(each.get_attribute("datetime")) for each in page.locator("#changes time").all()]
        assert times == sorted(times, reverse=True)
        page.locator("#changes .change", has_text=run_id).get_by_role("link").click()
        expect(page.get_by_role("heading", name=run_id)).to_be_visible()
    finally:
        stack.remove(tenant)


def test_earlier_changes_are_on_the_next_page(profile: Profile) -> None:
    page = profile.open("#/changes")
    rows = page.locator("#changes .change")
    expect(rows).to_have_count(20)

    page.get_by_role("button", name="Show earlier changes").click()

    expect(rows.nth(20)).to_be_visible()


def test_counts_link_to_a_filtered_and_paged_list_of_runs(profile: Profile) -> None:
    page = profile.open()
    page.locator("#status").get_by_role("link", name="Succeeded").click()

    rows = page.locator("#runs tbody tr")
    expect(rows).to_have_count(50)
    page.get_by_role("button", name="Show more").click()
    expect(rows).to_have_count(100)
    page.get_by_label("Agent").select_option("triage-bot")
    expect(page.locator("#runs-title")).to_have_text("Succeeded runs of triage-bot")
    expect(rows).to_have_count(50)
    assert {row.inner_text() for row in page.locator("#runs tbody tr td:nth-child(2)").all()} == {"triage-bot"}


def test_unknown_run_shows_not_found(profile: Profile) -> None:
    page = profile.open("#/run/none%2Fsuch")

    expect(page.get_by_text("No run with this id.", exact=True)).to_be_visible()
    expect(page.get_by_role("heading", name="none/such")).to_be_visible()


@pytest.mark.parametrize(
    ("route", "words"),
    [
        ("#/bogus", "Page not found"),
        ("#/run", "Page not found"),
        ("#/agent/nobody", "No run of this agent in the last 7 days"),
    ],
)
def test_unknown_url_shows_not_found_with_a_link_back(profile: Profile, route: str, words: str) -> None:
    page = profile.open(route)

    expect(page.get_by_text(words, exact=True)).to_be_visible()
    page.get_by_role("link", name="Back to the overview").click()
    expect(page.locator("#queue .item").first).to_be_visible()


def test_main_path_works_with_the_keyboard_alone(new_profile: Callable[..., Profile], stack: Stack) -> None:
    profile = new_profile()
    page = profile.open()
    expect(page.get_by_label("API key")).to_be_focused()
    page.keyboard.type(stack.key())
    page.keyboard.press("Enter")
    expect(page.locator("#queue .item").first).to_be_visible()

    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    expect(page.locator("#queue .item a").first).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#why")).to_be_visible()

    page.keyboard.press("g")
    page.keyboard.press("c")
    expect(page.get_by_role("heading", name="Cost per run")).to_be_focused()
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("?no such run")
    page.keyboard.press("Enter")
    expect(page.get_by_text("No run with this id.", exact=True)).to_be_visible()
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


def test_single_key_shortcuts_can_be_switched_off(profile: Profile) -> None:
    page = profile.open()
    page.get_by_role("button", name="Help").click()
    page.get_by_label("Single-key shortcuts").uncheck()
    page.get_by_role("button", name="Close").click()

    page.keyboard.press("?")

    expect(page.get_by_role("dialog")).to_be_hidden()


def test_stopped_worker_shows_as_stale_and_recovers(profile: Profile, stack: Stack) -> None:
    page = profile.open()
    expect(page.locator(".age", has_text="Cost")).to_contain_text("fresh")

    with stack.stopped_worker():
        stack.age(timedelta(minutes=10))
        page.keyboard.press("r")
        for signal in SIGNALS:
            expect(page.locator(".age", has_text=signal)).to_contain_text("stale")
        expect(page.locator("#queue .stale-note")).to_contain_text("The worker may have stopped")
        expect(page.locator("#queue .item").first).to_be_visible()

    for signal in SIGNALS:
        expect(page.locator(".age", has_text=signal)).to_contain_text("fresh", timeout=30_000)
    expect(page.locator(".stale-note")).to_have_count(0)


def test_signal_never_computed_is_not_all_clear(profile: Profile, stack: Stack) -> None:
    with stack.stopped_worker():
        stack.forget("patterns")
        page = profile.open()
        expect(page.locator("#patterns")).to_contain_text("No data yet")
        expect(page.locator("#patterns")).to_contain_text("Request ")
        expect(page.locator(".age", has_text="Patterns")).to_contain_text("not computed yet")
        assert "All clear" not in page.locator(".verdict").inner_text()

    expect(page.locator("#patterns .card").first).to_be_visible(timeout=30_000)


def test_last_data_stays_while_the_api_is_unreachable(profile: Profile) -> None:
    page = profile.open()
    expect(page.locator("#queue .item").first).to_be_visible()

    profile.context.set_offline(True)
    page.keyboard.press("r")
    expect(page.locator("#queue .trouble")).to_contain_text("The API does not respond")
    expect(page.locator("#queue .item").first).to_be_visible()
    profile.context.set_offline(False)

    page.keyboard.press("r")
    expect(page.locator(".trouble")).to_have_count(0)
    profile.complaints.clear()


def test_unchanged_snapshot_is_a_304(profile: Profile, stack: Stack) -> None:
    page = profile.open()
    expect(page.locator("#cost .agent").first).to_be_visible()

    with stack.stopped_worker():
        with page.expect_response(lambda answer: "cost-analysis" in answer.url):
            page.keyboard.press("r")
        with page.expect_response(lambda answer: "cost-analysis" in answer.url) as again:
            page.keyboard.press("r")
        assert again.value.status == 304


def test_times_are_local_with_utc_on_hover(new_profile: Callable[..., Profile], stack: Stack) -> None:
    profile = new_profile(timezone_id="Asia/Kolkata")
    profile.log_in()
    run_id = min(stack.run_ids(DEMO_TENANT))

    page = profile.open(f"#/run/{run_id}")

    started = page.locator("time.tip").first
    expect(started).to_be_visible()
    instant = str(started.get_attribute("datetime"))
    assert str(started.get_attribute("data-tip")) == f"{instant[:10]} {instant[11:19]} UTC"
    minutes = (int(instant[11:13]) * 60 + int(instant[14:16]) + 330) % 1440
    assert f"{minutes // 60:02}:{minutes % 60:02}" in started.inner_text()
