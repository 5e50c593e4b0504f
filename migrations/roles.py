"""Database roles: cluster-wide, so made beside the revisions and not by one of them.

Each part has a group role without login (names in `snapshots.signals`); the login roles that the parts' URLs name are
members of one. Source: docs/security.md#roles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from psycopg2 import errors
from psycopg2.extensions import encrypt_password
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from snapshots.database import connect, normalise
from snapshots.errors import ActivityError
from snapshots.signals import AUTHENTICATOR_ROLE, INGEST_ROLE, READER_ROLE, TRIAGE_ROLE, WORKER_ROLE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import URL, Connection

#: The group role of each part, by the part's name in `snapshots.database.Role`.
GROUPS: Final = {
    "worker": WORKER_ROLE,
    "auth": AUTHENTICATOR_ROLE,
    "reader": READER_ROLE,
    "triage": TRIAGE_ROLE,
    "ingest": INGEST_ROLE,
}

_MEMBERS: Final = text("""
select pg_get_userbyid(member) from pg_catalog.pg_auth_members
where roleid = cast(:name as regrole) and pg_get_userbyid(member) <> current_user
order by 1
""")


def ensure_roles(owner: URL | str, parts: Mapping[str, URL | None] | None = None) -> None:
    """Create the roles that are missing, and make each part's login role a member of its group.

    `parts` maps `worker`, `auth`, `reader`, `triage` and `ingest` to their URLs; a login keeps its password.
    Raises ActivityError with the statements to run when the owner may not create roles.
    """
    engine = connect(owner, name="activity migrate", isolation_level="AUTOCOMMIT", hide_parameters=True)
    try:
        with engine.connect() as conn:
            for group in GROUPS.values():
                _create(conn, group, "nologin")
            for part, url in (parts or {}).items():
                if url is not None and url.username and url.username != normalise(owner).username:
                    _admit(conn, url, GROUPS[part])
    finally:
        engine.dispose()


def drop_groups(owner: URL | str) -> dict[str, str | None]:
    """Drop the group roles that nothing depends on; return each that is there, with the reason where it stays.

    A login that is still a member is a dependent; that whoever makes a role may grant it is none.
    """
    engine = connect(owner, name="activity uninstall", isolation_level="AUTOCOMMIT", hide_parameters=True)
    try:
        with engine.connect() as conn:
            present = text("select rolname from pg_roles where rolname = any(:names) order by rolname")
            groups = conn.execute(present, {"names": list(GROUPS.values())}).scalars().all()
            return {group: _drop(conn, group) for group in groups}
    finally:
        engine.dispose()


def _drop(conn: Connection, group: str) -> str | None:
    """Drop a group role, or return why not."""
    members = conn.execute(_MEMBERS, {"name": group}).scalars().all()
    if members:
        return f"members: {', '.join(members)}"
    try:
        _run(conn, "drop role %I", group)
    except DBAPIError as ex:
        return (str(ex.orig).strip().splitlines() or ["refused"])[0]
    return None


def _admit(conn: Connection, url: URL, group: str) -> None:
    """Create the login role that `url` names where it is absent, and grant it `group`."""
    login = str(url.username)
    _create(conn, login, "login", password=url.password)
    is_member = "select pg_has_role(:login, :group, 'member')"
    if not conn.execute(text(is_member), {"login": login, "group": group}).scalar_one():
        _attempt(conn, login, f"member of {group}", "grant %I to %I", group, login)


def _create(conn: Connection, name: str, attribute: str, password: str | None = None) -> None:
    if conn.execute(text("select 1 from pg_roles where rolname = :name"), {"name": name}).first() is not None:
        return
    template, arguments = f"create role %I {attribute}", [name]
    if password is not None:
        # Hashed here: a server logs statements, at least those that fail.
        session = conn.connection.driver_connection
        verifier = encrypt_password(str(password), name, session, "scram-sha-256")
        template, arguments = f"{template} password %L", [name, verifier]
    _attempt(conn, name, attribute, template, *arguments)


def _attempt(conn: Connection, name: str, attribute: str, template: str, *arguments: str) -> None:
    """Run a statement unless another migrator of the cluster just has."""
    try:
        _run(conn, template, *arguments)
    except DBAPIError as ex:
        if not isinstance(ex.orig, errors.DuplicateObject | errors.UniqueViolation):
            raise _not_allowed(name, attribute, ex) from None


def _run(conn: Connection, template: str, *arguments: str) -> None:
    """Run a statement that takes no parameters, its names and literals quoted by the server."""
    binds = {f"argument_{number}": argument for number, argument in enumerate(arguments)}
    listed = ", ".join(f"cast(:{name} as text)" for name in binds)
    statement = conn.execute(text(f"select format(:template, {listed})"), {"template": template, **binds}).scalar_one()
    conn.exec_driver_sql(statement.replace("%", "%%"))


def _not_allowed(name: str, attribute: str, ex: DBAPIError) -> ActivityError:
    reason = (str(ex.orig).strip().splitlines() or ["refused"])[0]
    groups = "; ".join(f"CREATE ROLE {group} NOLOGIN" for group in GROUPS.values())
    return ActivityError(
        f"role {name} ({attribute}): {reason}; run as a role with CREATEROLE: {groups}; "
        "then create the login roles that the URLs name and GRANT each its group"
    )
