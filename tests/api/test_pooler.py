"""The read layer through a pooler that hands a connection on after each transaction (docs/scaling.md)."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import pytest
from falcon.testing import Result, TestClient
from sqlalchemy import make_url, text

from api.app import AppDependencies, create_app
from snapshots.settings import Settings
from snapshots.signals import AUTHENTICATOR_ROLE, READER_ROLE
from snapshots.source import TENANT_SETTING
from tests import pooler
from tests.api.arrange import OTHER_TENANT, PREFIX, TENANT, Api, Moment
from tests.factories import insert_run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from tests.postgres import Server

_TURNS: Final = 40


@pytest.fixture(scope="module")
def pooled(server: Server, api_database: str) -> Iterator[dict[str, Engine]]:
    """Yield engines by role whose clients share one connection of PostgreSQL, as PgBouncer hands it out."""
    logins = {role: make_url(server.url_as(role, api_database)) for role in (READER_ROLE, AUTHENTICATOR_ROLE)}
    with pooler.pooled_readers(list(logins.values())) as engines:
        yield dict(zip(logins, engines, strict=True))


@pytest.fixture
def api_behind(api: Api, pooled: dict[str, Engine]) -> Api:
    """Return the application over the pooler, with a run and a snapshot for each of two tenants."""
    around = AppDependencies(clock=api.moment.clock, timer=api.moment.timer)
    app = create_app(pooled[READER_ROLE], pooled[AUTHENTICATOR_ROLE], Settings(), around)
    behind = Api(TestClient(app), api.owner, Moment())
    behind.verify("patterns")
    with api.owner.begin() as conn:
        for tenant in (TENANT, OTHER_TENANT):
            insert_run(conn, id=f"of-{tenant}", tenant_id=tenant)
    for tenant in (TENANT, OTHER_TENANT):
        behind.publish("patterns", f'{{"patterns":["{tenant}"]}}', tenant=tenant)
        behind.add_key(tenant)
    return behind


def patiently(api: Api, path: str, tenant: str, params: dict[str, str]) -> Result:
    """Ask again while there is no room: a connection is all that there is for everybody."""
    deadline = time.monotonic() + pooler.PATIENCE_S
    while True:
        result = api.get(path, tenant=tenant, params=params)
        if result.status_code != HTTPStatus.SERVICE_UNAVAILABLE or time.monotonic() > deadline:
            return result


def test_tenants_who_share_a_connection_see_their_own_rows_alone(api_behind: Api) -> None:
    def ask(turn: int) -> tuple[str, str, str]:
        tenant = (TENANT, OTHER_TENANT)[turn % 2]
        runs = patiently(api_behind, f"{PREFIX}/runs", tenant, {"limit": str(1 + turn)})
        patterns = api_behind.get(f"{PREFIX}/patterns", tenant=tenant)
        return tenant, ",".join(item["run_id"] for item in runs.json["items"]), patterns.json["patterns"][0]

    ask(0), ask(1)  # each has its key
    with ThreadPoolExecutor(3) as clients:
        seen = list(clients.map(ask, range(_TURNS)))

    assert seen == [(tenant, f"of-{tenant}", tenant) for tenant, _, _ in seen]
    assert {tenant for tenant, _, _ in seen} == {TENANT, OTHER_TENANT}


def test_nothing_of_a_request_is_left_on_the_connection(api_behind: Api, pooled: dict[str, Engine]) -> None:
    api_behind.get(f"{PREFIX}/runs")

    left = text(
        "select pg_backend_pid(), coalesce(current_setting(:tenant, true), ''),"
        " current_setting('transaction_read_only'), current_setting('statement_timeout'),"
        " (select count(*) from pg_locks where pid = pg_backend_pid() and locktype = 'advisory')"
    )
    seen = []
    for _ in range(2):
        with pooled[READER_ROLE].connect() as conn:
            seen.append(tuple(conn.execute(left, {"tenant": TENANT_SETTING}).one()))

    assert seen[0][0] == seen[1][0]  # of the only connection there is
    assert {row[1:] for row in seen} == {("", "off", "0", 0)}


def test_the_read_layer_is_ready_behind_it(api_behind: Api) -> None:
    assert api_behind.client.simulate_get("/readyz").status_code == 200
