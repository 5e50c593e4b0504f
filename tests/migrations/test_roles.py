"""Roles are cluster-wide: each test makes logins of its own and takes them back."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest
from psycopg2.errors import InsufficientPrivilege
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError, OperationalError

from migrations.roles import GROUPS, ensure_roles
from snapshots.database import connect
from snapshots.errors import ActivityError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import URL, Engine

    from tests.postgres import Server

PASSWORD = "it's 100% secret"  # noqa: S105  # a password that has to be quoted


@pytest.fixture
def administrator(superuser: Callable[[str], Engine]) -> Engine:
    """Return an engine as the superuser."""
    return superuser("postgres")


@pytest.fixture
def login(administrator: Engine) -> Iterator[str]:
    """Return a name for a login role; the role goes when the test ends."""
    name = f"Login {secrets.token_hex(4)} 100%"
    yield name
    _drop(administrator, name)


def _drop(administrator: Engine, name: str) -> None:
    with administrator.connect() as conn:
        if conn.execute(text("select 1 from pg_roles where rolname = :name"), {"name": name}).first() is not None:
            quoted = administrator.dialect.identifier_preparer.quote(name)
            conn.exec_driver_sql(f"drop role {quoted}")


def _as(url: str, login: str, password: str = PASSWORD) -> URL:
    return make_url(url).set(username=login, password=password)


def _groups(administrator: Engine, login: str) -> list[str]:
    query = (
        "select roleid::regrole::text from pg_auth_members"
        " where member = (select oid from pg_roles where rolname = :name) order by 1"
    )
    with administrator.connect() as conn:
        return list(conn.execute(text(query), {"name": login}).scalars())


@pytest.mark.parametrize("part", GROUPS)
def test_a_login_is_made_with_its_urls_password_and_the_rights_of_its_part(
    fresh_database: str, administrator: Engine, login: str, part: str
) -> None:
    url = _as(fresh_database, login)

    ensure_roles(fresh_database, {part: url})

    assert _groups(administrator, login) == [GROUPS[part]]
    with connect(url).connect() as conn:
        assert conn.execute(text("select has_schema_privilege('signals', 'usage')")).scalar_one()


def test_a_second_run_changes_nothing(fresh_database: str, administrator: Engine, login: str) -> None:
    for _ in range(2):
        ensure_roles(fresh_database, {"worker": _as(fresh_database, login)})

    assert _groups(administrator, login) == [GROUPS["worker"]]


def test_a_login_that_exists_keeps_its_password(fresh_database: str, login: str) -> None:
    ensure_roles(fresh_database, {"reader": _as(fresh_database, login)})

    ensure_roles(fresh_database, {"reader": _as(fresh_database, login, "another")})

    connect(_as(fresh_database, login)).connect().close()
    with pytest.raises(OperationalError):
        connect(_as(fresh_database, login, "another")).connect()


def test_a_part_without_a_url_or_with_the_owners_gets_no_login(fresh_database: str, administrator: Engine) -> None:
    count = text("select count(*) from pg_roles")
    with administrator.connect() as conn:
        before = conn.execute(count).scalar_one()

        ensure_roles(fresh_database, {"worker": None, "reader": make_url(fresh_database)})

        assert conn.execute(count).scalar_one() == before


def test_an_owner_that_may_not_create_roles_is_told_what_to_run(
    fresh_database: str, administrator: Engine, login: str
) -> None:
    plain = f"plain_{secrets.token_hex(4)}"
    with administrator.connect() as conn:
        conn.execute(text(f"create role {plain} login password 'plain'"))
    try:
        with pytest.raises(ActivityError, match="CREATE ROLE") as caught:
            ensure_roles(_as(fresh_database, plain, "plain"), {"worker": _as(fresh_database, login)})
    finally:
        _drop(administrator, plain)

    assert "\n" not in str(caught.value)
    assert PASSWORD not in str(caught.value)
    assert GROUPS["worker"] in str(caught.value)


def test_an_owner_of_another_database_that_may_not_grant_a_group_is_told_so(
    server: Server, fresh_database: str, administrator: Engine, login: str
) -> None:
    if server.name == "pg15":
        pytest.skip("before PostgreSQL 16 whoever may create roles may grant each of them")
    other = f"other_{secrets.token_hex(4)}"
    with administrator.connect() as conn:
        conn.execute(text(f"create role {other} login createrole password 'other'"))
    try:
        with pytest.raises(ActivityError, match=GROUPS["worker"]):
            ensure_roles(_as(fresh_database, other, "other"), {"worker": _as(fresh_database, login)})
    finally:
        _drop(administrator, login)
        _drop(administrator, other)


def test_a_password_reaches_no_log_of_the_server(
    server: Server, fresh_database: str, administrator: Engine, login: str
) -> None:
    """A server that logs every statement, as many are made to, and a statement that fails."""
    plain = f"plain_{secrets.token_hex(4)}"
    log = server.folder / server.name / "server.log"
    with administrator.connect() as conn:
        conn.execute(text(f"create role {plain} login password 'plain'"))
        conn.execute(text(f"alter database {make_url(fresh_database).database} set log_statement = 'all'"))
    try:
        with pytest.raises((ActivityError, DBAPIError, InsufficientPrivilege)):
            ensure_roles(_as(fresh_database, plain, "plain"), {"worker": _as(fresh_database, login)})
        ensure_roles(fresh_database, {"worker": _as(fresh_database, login)})
    finally:
        _drop(administrator, plain)

    written = log.read_text()
    assert "create role" in written
    assert PASSWORD.partition("'")[2] not in written
