"""No tenant reads another's rows: by the predicates of the queries, and by the database without them.

Source: docs/specification-notes.md#credentials-and-capabilities.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from api.queries.reader import Reader
from snapshots.source import tenant_run
from snapshots.tables import snapshot
from tests.api.arrange import ENDPOINTS, OTHER_TENANT, PREFIX, SNAPSHOT_PATHS, TENANT, Api
from tests.factories import insert_run

if TYPE_CHECKING:
    from sqlalchemy import Engine


def arrange_two_tenants(api: Api) -> None:
    """Give each of two tenants one run and one snapshot per signal, all marked by its name."""
    for tenant in (TENANT, OTHER_TENANT):
        marked = {"status": tenant, "agent_id": tenant, "source": tenant}
        with api.owner.begin() as conn:
            for state in ("LIVE", "COMPLETED"):
                insert_run(conn, id=f"{tenant}-{state}", tenant_id=tenant, state=state, **marked)
        for signal in SNAPSHOT_PATHS:
            api.publish(signal, f'{{"owner":"{tenant}"}}', tenant=tenant)
        api.record_change(1, tenant=tenant)
    for signal in SNAPSHOT_PATHS:
        api.verify(signal)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_each_tenant_reads_its_own_rows_and_no_other(api: Api, endpoint: str) -> None:
    arrange_two_tenants(api)

    for tenant, other in ((TENANT, OTHER_TENANT), (OTHER_TENANT, TENANT)):
        answer = api.get(endpoint, tenant=tenant).text
        assert tenant in answer
        assert other not in answer


@pytest.mark.parametrize("rows", [tenant_run, snapshot], ids=lambda rows: rows.name)
def test_without_a_predicate_the_database_still_shows_one_tenant(api: Api, reader: Engine, rows: object) -> None:
    arrange_two_tenants(api)
    tenants = select(tenant_run.c.tenant_id) if rows is tenant_run else select(snapshot.c.tenant_id)

    seen = {tenant: {row[0] for row in Reader(reader, 1000).rows(tenants, tenant_id=tenant)} for tenant in (TENANT, "")}

    assert seen == {TENANT: {TENANT}, "": set()}


def test_no_tenant_stays_behind_on_a_pooled_connection(api: Api, reader: Engine) -> None:
    arrange_two_tenants(api)
    for _ in range(3):
        api.get(f"{PREFIX}/runs")

    with reader.connect() as conn:
        assert not conn.execute(text("select current_setting('activity.tenant_id', true)")).scalar_one()
        assert conn.execute(select(tenant_run.c.run_id)).all() == []


@pytest.mark.parametrize("name", ["public.runs", "public.v_runs_o2", "signals.source_run", "signals.api_key"])
def test_the_reader_may_not_read_what_holds_every_tenant(api: Api, reader: Engine, name: str) -> None:
    arrange_two_tenants(api)

    with reader.connect() as conn, pytest.raises(DBAPIError):
        conn.execute(text(f"select 1 from {name}"))  # noqa: S608  # the names above


def test_a_read_may_not_write_whatever_the_role_allows(api: Api) -> None:
    with pytest.raises(DBAPIError, match="read-only"):
        Reader(api.owner, 1000).rows(text("select nextval('signals.fence')"), tenant_id=TENANT)
