"""Answers while rows may be hidden: an error that says so, and never an empty success."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from snapshots import catalogue
from snapshots.signals import AUTHENTICATOR_ROLE, INGEST_ROLE, READER_ROLE, TRIAGE_ROLE, WORKER_ROLE
from snapshots.source import HOST_TABLES
from tests.api.arrange import PREFIX, SNAPSHOT_PATHS, Api, bearer
from tests.api.contract import assert_problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from falcon.testing import Result
    from sqlalchemy import Engine

FINGERPRINT = "0" * 32
#: Every endpoint that can answer "nothing found".
ENDPOINTS = (
    *SNAPSHOT_PATHS.values(),
    f"{PREFIX}/patterns?as_of=2026-01-17T12:00:00Z",
    f"{PREFIX}/summary/by-status",
    f"{PREFIX}/runs/by-dimension?dim=source",
    f"{PREFIX}/runs",
    f"{PREFIX}/runs/some-run",
    f"{PREFIX}/changes",
    f"{PREFIX}/history?signal=cost&key={FINGERPRINT}",
    f"{PREFIX}/triage?fingerprint={FINGERPRINT}",
    f"{PREFIX}/explain/{FINGERPRINT}",
    f"{PREFIX}/freshness",
)
READER_POLICIES = [p for p in catalogue.expected() if p.kind == "policy" and p.role == READER_ROLE]
KEY_POLICIES = [p for p in catalogue.expected() if p.kind == "policy" and p.relation == "api_key"]
#: Policies of every role that answers somebody, and of the owner, whose commands list keys and webhooks.
POLICIES = [p for p in catalogue.expected() if p.kind == "policy"]
RIGHTS = [
    p
    for p in catalogue.expected()
    if p.kind == "grant" and p.relation is not None and p.role in {READER_ROLE, AUTHENTICATOR_ROLE, TRIAGE_ROLE}
]


@contextmanager
def damaged(owner: Engine, damage: str) -> Iterator[None]:
    """Run `damage` and repair what is missing afterwards."""
    from migrations import repair  # noqa: PLC0415  # of these tests alone

    with owner.begin() as conn:
        conn.exec_driver_sql(damage.replace("%", "%%"))
    try:
        yield
    finally:
        with owner.begin() as conn:
            repair.repair(conn)


def get(api: Api, path: str) -> Result:
    """Return the answer of a process whose last proof is no longer valid."""
    api.moment.pass_by(5)
    return api.get(path)


@pytest.fixture
def quiet(api: Api) -> Api:
    """Return the application over signals that found nothing, which answers 200 or 404."""
    for signal in SNAPSHOT_PATHS:
        api.verify(signal)
    return api


@pytest.mark.parametrize("path", ENDPOINTS)
def test_nothing_found_is_an_answer_while_rows_can_be_seen(quiet: Api, path: str) -> None:
    assert get(quiet, path).status_code in {200, 404}


@pytest.mark.parametrize("policy", READER_POLICIES, ids=lambda part: part.name)
def test_each_missing_policy_of_the_reader_ends_every_answer(quiet: Api, policy: catalogue.Part) -> None:
    quiet.token()
    with damaged(quiet.owner, f"drop policy {policy.name}"):
        for path in ENDPOINTS:
            assert_problem(get(quiet, path), 503, "visibility_not_proven")
        assert_problem(get(quiet, "/readyz"), 503, "visibility_not_proven")
    assert get(quiet, "/readyz").status_code == 200


@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize(
    "damage",
    [
        "alter table signals.snapshot no force row level security",
        "alter policy snapshot_reader on signals.snapshot using (false)",
        "create policy narrow on signals.snapshot as restrictive for select to public using (tenant_id <> 'acme')",
    ],
)
def test_a_policy_that_hides_rows_ends_every_answer(quiet: Api, path: str, damage: str) -> None:
    quiet.token()
    with damaged(quiet.owner, damage):
        assert_problem(get(quiet, path), 503, "visibility_not_proven")


@pytest.mark.parametrize("policy", [p for p in KEY_POLICIES if p.role == AUTHENTICATOR_ROLE], ids=lambda p: p.name)
def test_a_key_that_cannot_be_looked_up_is_no_wrong_key(quiet: Api, policy: catalogue.Part) -> None:
    token = quiet.token()
    with damaged(quiet.owner, f"drop policy {policy.name}"):
        for path in (*ENDPOINTS, "/api/v1/session"):
            quiet.moment.pass_by(5)
            answer = quiet.client.simulate_get(path, headers=bearer(token))
            assert_problem(answer, 503, "visibility_not_proven")


def test_a_wrong_key_is_refused_only_with_a_proof_of_that_moment(quiet: Api) -> None:
    unknown = bearer("ak_" + "0" * 60)
    token = quiet.token()
    quiet.get(f"{PREFIX}/patterns")
    other = quiet.add_key()
    with damaged(quiet.owner, "drop policy api_key_authenticator on signals.api_key"):
        answer = quiet.client.simulate_get(f"{PREFIX}/patterns", headers=bearer(other))
    assert token != other
    assert_problem(answer, 503, "visibility_not_proven")
    assert_problem(quiet.client.simulate_get(f"{PREFIX}/patterns", headers=unknown), 401, "unauthorized")


def test_readyz_names_each_policy_that_is_missing(quiet: Api, caplog: pytest.LogCaptureFixture) -> None:
    quiet.token()
    for policy in POLICIES:
        caplog.clear()
        with damaged(quiet.owner, f"drop policy {policy.name}"):
            assert_problem(get(quiet, "/readyz"), 503, "visibility_not_proven")
        [cause] = [record.cause for record in caplog.records if hasattr(record, "cause")]
        assert cause == (f"schema signals is damaged: policy {policy.name} is missing; run `activity migrate --repair`")


def test_each_missing_right_makes_the_service_unready(quiet: Api) -> None:
    quiet.token()
    for right in RIGHTS:
        with damaged(quiet.owner, f"revoke {right.name.replace(' to ', ' from ')}"):
            assert get(quiet, "/readyz").status_code == 503, right.name


@pytest.mark.parametrize(
    ("path", "relation"),
    [
        (f"{PREFIX}/patterns", "snapshot"),
        (f"{PREFIX}/runs", "tenant_run_by_started_at_desc"),
        (f"{PREFIX}/summary/by-status", "tenant_run"),
        (f"{PREFIX}/changes", "signal_change"),
        (f"{PREFIX}/freshness", "freshness"),
        (f"{PREFIX}/triage?fingerprint={FINGERPRINT}", "item_state"),
    ],
)
def test_a_revoked_right_is_503_and_no_failure_of_ours(quiet: Api, path: str, relation: str) -> None:
    quiet.token()
    with damaged(quiet.owner, f"revoke select on signals.{relation} from {READER_ROLE}"):  # noqa: S608  # names of ours
        assert_problem(get(quiet, path), 503, "visibility_not_proven")


@pytest.mark.parametrize("path", [path for path in ENDPOINTS if "/patterns" not in path])
def test_rows_that_the_host_hides_end_every_answer(quiet: Api, path: str) -> None:
    quiet.token()
    with quiet.owner.begin() as conn:
        [name] = conn.execute(
            text(f"select distinct relation::regclass::text from {HOST_TABLES} as h where source = 'source_run'")  # noqa: S608  # a constant
        ).scalars()
        conn.exec_driver_sql(f"alter table {name} enable row level security, force row level security")
    try:
        assert_problem(get(quiet, path), 503, "visibility_not_proven")
        assert_problem(get(quiet, "/readyz"), 503, "visibility_not_proven")
        with quiet.owner.begin() as conn:
            conn.exec_driver_sql(f"create policy all_rows on {name} using (true)")
        assert get(quiet, path).status_code in {200, 404}
    finally:
        with quiet.owner.begin() as conn:
            conn.exec_driver_sql(f"drop policy if exists all_rows on {name}")
            conn.exec_driver_sql(f"alter table {name} disable row level security, no force row level security")


@pytest.mark.parametrize(
    "damage",
    [
        "drop index signals.ix_snapshot_as_of",
        "drop trigger triage_event_applied on signals.triage_event",
        "drop function signals.present_snapshot(text, text, integer, timestamptz, timestamptz)",
        "drop sequence signals.fence",
        "drop view signals.attempt",
        "drop view signals.tenant_step",
        "alter table signals.freshness drop constraint pk_freshness",
        "create policy everything on signals.snapshot for select to activity_reader using (true)",
        "alter view signals.tenant_trace set (security_barrier = false)",
    ],
)
def test_a_half_restored_schema_is_not_ready(quiet: Api, damage: str) -> None:
    with damaged(quiet.owner, damage):
        assert get(quiet, "/readyz").status_code == 503
    assert get(quiet, "/readyz").status_code == 200


def test_a_decision_is_not_refused_as_unknown_while_items_are_hidden(quiet: Api) -> None:
    decision = {"fingerprint": FINGERPRINT, "action": "acknowledge"}
    headers = bearer(quiet.token())
    for name in ("item_state_triage", "triage_triage", "triage_event_triage"):
        table = name.removesuffix("_triage")
        with damaged(quiet.owner, f"drop policy {name} on signals.{table}"):
            quiet.moment.pass_by(5)
            answer = quiet.client.simulate_post(f"{PREFIX}/triage", json=decision, headers=headers)
            assert_problem(answer, 503, "visibility_not_proven")


def test_one_proof_a_second_rides_in_the_message_of_a_read(quiet: Api, statements: list[str]) -> None:
    quiet.token()
    quiet.moment.pass_by(5)
    statements.clear()
    for path in (f"{PREFIX}/patterns", f"{PREFIX}/cost-analysis", f"{PREFIX}/changes"):
        quiet.get(path)
    reads = [each for each in statements if "$proof$" in each]

    # One of the authenticator's session, one of the reader's.
    assert len(reads) == 2
    assert len(statements) == 4


def test_metrics_of_a_scrape_that_may_hide_rows_are_absent(quiet: Api) -> None:
    with damaged(quiet.owner, "drop policy snapshot_reader on signals.snapshot"):
        told = get(quiet, "/metrics").text
    assert "activity_database_up 0.0" in told
    assert "activity_snapshot_verified_age_seconds{" not in told


def test_every_role_has_rights_in_the_catalogue() -> None:
    roles = {part.role for part in catalogue.expected() if part.kind == "grant"}
    assert roles == {READER_ROLE, WORKER_ROLE, AUTHENTICATOR_ROLE, TRIAGE_ROLE, INGEST_ROLE}
