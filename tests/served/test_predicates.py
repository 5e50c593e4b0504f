"""Were every query of the API to forget its tenant, row-level security alone would still hold: at SQL level."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

import pytest
from falcon.testing import TestClient
from sqlalchemy import BinaryExpression, event, text, true
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.sql.visitors import replacement_traverse

from api.app import create_app
from api.queries.reader import Reader
from snapshots.database import connect
from snapshots.settings import Settings
from snapshots.signals import AUTHENTICATOR_ROLE, READER_ROLE
from tests.api.arrange import PREFIX, SNAPSHOT_PATHS, bearer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine, Executable

    from tests.postgres import Server
    from tests.served.tenants import Estate, Tenant

#: What the reader may read that belongs to no tenant, and how to learn what it may read.
_OF_NOBODY: Final = {"signals.freshness", "signals.alembic_version", "signals.attempt"}
_READABLE: Final = text("""
    select
        namespace.nspname || '.' || relation.relname as name,
        string_agg('each.' || quote_ident(attribute.attname), ', ' order by attribute.attnum) as columns
    from pg_catalog.pg_class as relation
    inner join pg_catalog.pg_namespace as namespace on namespace.oid = relation.relnamespace
    inner join pg_catalog.pg_attribute as attribute on attribute.attrelid = relation.oid
    where
        relation.relkind in ('r', 'p', 'v', 'm', 'f')
        and namespace.nspname not in ('pg_catalog', 'information_schema')
        and attribute.attnum > 0
        and not attribute.attisdropped
        and has_column_privilege(relation.oid, attribute.attnum, 'select')
    group by name
""")
#: Each endpoint that reads rows of a tenant, every statement of it included.
_PATHS: Final = (
    f"{PREFIX}/summary/by-status",
    f"{PREFIX}/runs/by-dimension?dim=agent_id&state=COMPLETED",
    *(f"{PREFIX}/runs?sort={sort}&order=asc&limit=200" for sort in ("started_at", "duration_ms")),
    f"{PREFIX}/runs?sort=completed_at&limit=7",
    f"{PREFIX}/runs/run-{{public}}-1?limit=500",
    *SNAPSHOT_PATHS.values(),
    *(f"{path}?as_of={{now}}" for path in SNAPSHOT_PATHS.values()),
    f"{PREFIX}/freshness",
    f"{PREFIX}/changes?limit=500",
)


#: The look-up of the snapshots without its predicates: those are in the database's own function.
_CARELESS: Final = "signals.careless_snapshot"


class Forgetful:
    """Takes the tenant out of every statement of an engine, and keeps what was sent instead."""

    def __init__(self, engine: Engine) -> None:
        """Begin."""
        self.sent: list[tuple[Executable, dict[str, object]]] = []
        self.forgotten = 0
        event.listen(engine, "before_execute", self._forget, retval=True)
        event.listen(engine, "before_cursor_execute", self._call_careless, retval=True)

    def _forget(
        self,
        _conn: object,
        statement: Any,  # noqa: ANN401  # SQLAlchemy's arguments
        many: object,
        values: dict[str, object],
        _options: object,
    ) -> tuple[Any, object, object]:
        self.sent.append((replacement_traverse(statement, {}, self._replace), values))
        return self.sent[-1][0], many, values

    def _call_careless(
        self, _conn: object, _cursor: object, statement: str, parameters: object, *_: object
    ) -> tuple[str, object]:
        careless = statement.replace("signals.present_snapshot(", f"{_CARELESS}(")
        self.forgotten += careless != statement
        return careless, parameters

    def _replace(self, element: Any, **_: object) -> Any:  # noqa: ANN401  # any part of a statement
        if isinstance(element, BinaryExpression) and getattr(element.left, "name", None) == "tenant_id":
            self.forgotten += 1
            return true()
        return None


@pytest.fixture
def engine(server: Server, estate: Estate) -> Iterator[Engine]:
    engine = connect(server.url_as(READER_ROLE, estate.database))
    yield engine
    engine.dispose()


@pytest.fixture
def careless_look_up(estate: Estate) -> Iterator[None]:
    """Make the look-up of the snapshots without the tenant; the slot's, which is nobody's, stays."""
    name = "signals.present_snapshot(text, text, integer, timestamptz, timestamptz)"
    owner = connect(estate.database)
    with owner.begin() as conn:
        source: str = conn.execute(
            text("select pg_get_functiondef(cast(:name as regprocedure))"), {"name": name}
        ).scalar_one()
        careless, count = re.subn(r"\w+\.tenant_id = asked_tenant", "true", source)
        assert count == 4
        conn.exec_driver_sql(careless.replace("signals.present_snapshot", _CARELESS).replace("%", "%%"))
    yield
    with owner.begin() as conn:
        conn.exec_driver_sql(f"drop function {_CARELESS}")
    owner.dispose()


@pytest.fixture
def client(server: Server, estate: Estate, engine: Engine) -> Iterator[TestClient]:
    authenticator = connect(server.url_as(AUTHENTICATOR_ROLE, estate.database))
    yield TestClient(create_app(engine, authenticator, Settings()))
    authenticator.dispose()


def answer(client: TestClient, tenant: Tenant, path: str) -> Any:  # noqa: ANN401  # whatever the endpoint answers
    """Return the body of the answer without what the moment makes of it."""
    result = client.simulate_get(path, headers=bearer(tenant.key))
    assert result.status_code == 200, result.text
    return json.loads(result.text) if "freshness" not in path else result.status_code


def spelled(path: str, estate: Estate, tenant: Tenant) -> str:
    return path.format(public=tenant.public, now=estate.furnished_at)


@pytest.mark.usefixtures("careless_look_up")
@pytest.mark.parametrize("path", _PATHS)
def test_an_answer_is_the_same_whether_its_queries_name_the_tenant_or_not(
    server: Server, estate: Estate, engine: Engine, client: TestClient, path: str
) -> None:
    tenant, other = estate.first, estate.second
    right = answer(client, tenant, spelled(path, estate, tenant))
    careless_engine = connect(server.url_as(READER_ROLE, estate.database))
    forgetful = Forgetful(careless_engine)
    authenticator = connect(server.url_as(AUTHENTICATOR_ROLE, estate.database))
    careless = TestClient(create_app(careless_engine, authenticator, Settings()))

    found = answer(careless, tenant, spelled(path, estate, tenant))

    assert found == right
    assert other.private not in json.dumps(found)
    # How old the signals of its slot are is no tenant's secret.
    assert forgetful.forgotten > 0 or path.endswith("freshness")
    assert forgetful.sent
    _check_alone(engine, forgetful.sent, estate)
    careless_engine.dispose()
    authenticator.dispose()


def _check_alone(engine: Engine, sent: list[tuple[Executable, dict[str, object]]], estate: Estate) -> None:
    """Send the statements of the first tenant as nobody and as the second: what they see is up to the session alone."""
    reader = Reader(engine, 5000)
    for statement, values in sent:
        assert _words(reader.rows(statement, values), estate) == set()
        assert _words(reader.rows(statement, values, tenant_id="nobody"), estate) == set()
        seen_by_second = reader.rows(statement, values, tenant_id=estate.second.tenant_id)
        assert _words(seen_by_second, estate) <= {estate.second.private}


def _words(rows: object, estate: Estate) -> set[str]:
    return {tenant.private for tenant in (estate.first, estate.second) if tenant.private in repr(rows)}


def test_the_same_queries_on_rows_without_a_barrier_show_both_tenants(
    estate: Estate, client: TestClient, engine: Engine
) -> None:
    """Prove that the tests above would see a hole: the views without a tenant are read through one."""
    forgetful = Forgetful(engine)
    answer(client, estate.first, f"{PREFIX}/runs?sort=duration_ms&limit=200")
    owner = connect(estate.database)
    event.listen(owner, "before_cursor_execute", _through_the_hole, retval=True)
    with owner.connect() as conn:
        rows = conn.execute(*forgetful.sent[-1]).all()
    owner.dispose()

    assert _words(rows, estate) == {estate.first.private, estate.second.private}


def _through_the_hole(
    _conn: object, _cursor: object, statement: str, parameters: object, *_: object
) -> tuple[str, object]:
    return statement.replace("signals.tenant_run", "signals.source_run"), parameters


def readable(engine: Engine) -> dict[str, str]:
    """Return the relations that the reader may read at least a column of, each with those columns."""
    with engine.connect() as conn:
        return {row.name: row.columns for row in conn.execute(_READABLE)}


def seen(engine: Engine, relation: str, tenant_id: str | None, columns: str = "each.*") -> list[str]:
    """Return the rows of all of a relation as text, as the session of a tenant sees them; none set when None."""
    with engine.connect() as conn:
        if tenant_id is not None:
            conn.execute(text("select set_config('activity.tenant_id', :tenant, true)"), {"tenant": tenant_id})
        rows = f"select row({columns})::text from {relation} as each"  # noqa: S608  # names of the catalogue
        return list(conn.execute(text(rows)).scalars())


def test_all_of_every_relation_shows_a_tenant_its_own_rows_alone(engine: Engine, estate: Estate) -> None:
    first, second = estate.first, estate.second
    relations = {name: columns for name, columns in readable(engine).items() if name not in _OF_NOBODY}
    found = 0
    for relation, columns in relations.items():
        for tenant, other in ((first, second), (second, first)):
            rows = seen(engine, relation, tenant.tenant_id, columns)
            assert not any(other.private in row or other.tenant_id in row for row in rows), relation
            assert all(tenant.tenant_id in row for row in rows), relation
            found += len(rows)

    assert len(relations) >= 10
    assert found > 500


@pytest.mark.parametrize(
    "tenant_id", [None, "", "tenant-", "%", "tenant-quokka ", "TENANT-QUOKKA", "tenant-quokka,tenant-narwhal"]
)
def test_a_session_of_no_tenant_sees_no_row_of_any(engine: Engine, tenant_id: str | None) -> None:
    found = {name: seen(engine, name, tenant_id, columns) for name, columns in readable(engine).items()}

    assert {name for name, rows in found.items() if rows} <= _OF_NOBODY


def test_what_belongs_to_nobody_names_no_tenant(engine: Engine, estate: Estate) -> None:
    rows = [row for name in sorted(_OF_NOBODY) for row in seen(engine, name, estate.first.tenant_id)]

    assert rows
    assert not any(word in row for row in rows for word in ("tenant", "quokka", "narwhal", "vermilion", "turquoise"))


@pytest.mark.parametrize(
    "relation", ["public.runs", "public.aos_traces", "signals.source_run", "signals.refresh", "signals.api_key"]
)
def test_what_has_no_barrier_cannot_be_read_at_all(engine: Engine, relation: str) -> None:
    assert relation not in readable(engine)
    with pytest.raises(ProgrammingError, match="permission denied"):
        seen(engine, relation, "tenant-quokka")
