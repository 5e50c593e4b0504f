"""Session defaults that no byte of what is published may depend on: of the environment, of roles, of a database."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import pytest
from sqlalchemy import make_url

from snapshots.signals import AUTHENTICATOR_ROLE, READER_ROLE, TRIAGE_ROLE, WORKER_ROLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sqlalchemy import Connection

    from tests.postgres import Server

_ROLES: Final = (WORKER_ROLE, READER_ROLE, AUTHENTICATOR_ROLE, TRIAGE_ROLE)
#: Functions of an operator's schema that are found before PostgreSQL's own, where its schema is named last.
_SHADOWS: Final = (
    "create schema if not exists shadow",
    "grant usage on schema shadow to public",
    "create or replace function shadow.to_char(timestamptz, text) returns text language sql return 'shadow'",
    "create or replace function shadow.to_char(timestamp, text) returns text language sql return 'shadow'",
    "create or replace function shadow.round(numeric, integer) returns numeric language sql return -1",
    "create or replace function shadow.trim_scale(numeric) returns numeric language sql return -2",
)


@dataclass(frozen=True)
class Defaults:
    """Defaults of a session: variables of libpq, settings of the logins and database."""

    environment: Mapping[str, str] = field(default_factory=dict)
    role: Mapping[str, str] = field(default_factory=dict)
    database: Mapping[str, str] = field(default_factory=dict)


COMBINATIONS: Final[Mapping[str, Defaults]] = {
    "PGTZ": Defaults(environment={"PGTZ": "America/New_York"}),
    "PGTZ and PGDATESTYLE": Defaults(environment={"PGTZ": "Asia/Kolkata", "PGDATESTYLE": "SQL, DMY"}),
    "PGOPTIONS": Defaults(
        environment={
            "PGOPTIONS": "-c TimeZone=Asia/Kathmandu -c DateStyle=German -c extra_float_digits=-15"
            " -c IntervalStyle=sql_standard -c default_transaction_isolation=serializable"
        }
    ),
    "zone of the role": Defaults(role={"TimeZone": "Pacific/Apia", "DateStyle": "Postgres, DMY"}),
    "formats of the role": Defaults(
        role={
            "extra_float_digits": "-15",
            "bytea_output": "escape",
            "array_nulls": "off",
            "transform_null_equals": "on",
            "IntervalStyle": "iso_8601",
        }
    ),
    "zone and path of the database": Defaults(
        database={"TimeZone": "Europe/Dublin", "search_path": "shadow, public, pg_catalog"}
    ),
    "syntax of the database": Defaults(
        database={
            "standard_conforming_strings": "off",
            "default_transaction_isolation": "serializable",
            "quote_all_identifiers": "on",
            "xmlbinary": "hex",
        }
    ),
    "isolation of the role": Defaults(role={"default_transaction_isolation": "repeatable read", "row_security": "off"}),
    "three zones at once": Defaults(
        environment={"PGTZ": "Australia/Lord_Howe"},
        role={"TimeZone": "America/St_Johns"},
        database={"TimeZone": "Asia/Tokyo", "DateStyle": "SQL, MDY"},
    ),
    "encoding and planner": Defaults(
        environment={"PGCLIENTENCODING": "LATIN1", "PGGEQO": "off"}, role={"client_encoding": "latin1"}
    ),
    "plans": Defaults(database={"from_collapse_limit": "1", "enable_hashagg": "off", "TimeZone": "-03:30"}),
    "everything": Defaults(
        environment={"PGTZ": "Antarctica/Troll", "PGDATESTYLE": "Postgres, DMY", "PGCLIENTENCODING": "SQL_ASCII"},
        role={
            "TimeZone": "Africa/Monrovia",
            "extra_float_digits": "0",
            "IntervalStyle": "postgres_verbose",
            "row_security": "off",
            "standard_conforming_strings": "off",
            "search_path": "shadow, pg_catalog",
        },
        database={
            "bytea_output": "escape",
            "transform_null_equals": "on",
            "default_transaction_isolation": "serializable",
        },
    ),
}


@contextmanager
def hostile(server: Server, url: str, defaults: Defaults, *, is_pooled: bool = False) -> Iterator[None]:
    """Have every session that is opened on the database meanwhile start with `defaults`."""
    name = str(make_url(url).database)
    logins = [str(make_url(server.url_as(role, url)).username) for role in _ROLES]
    places = {f"database {name}": defaults.database}
    places |= {f"role {login} in database {name}": defaults.role for login in logins}
    server.administer(
        *(
            f"alter {place} set {setting} = {_literals(setting, value)}"
            for place, settings in places.items()
            for setting, value in settings.items()
        )
    )
    try:
        with pytest.MonkeyPatch.context() as patch:
            for variable, value in defaults.environment.items():
                # The pooler refuses that parameter, in so many words.
                if not (is_pooled and variable == "PGGEQO"):
                    patch.setenv(variable, value)
            yield
    finally:
        server.administer(*(f"alter {place} reset all" for place in places))


def add_shadows(conn: Connection) -> None:
    """Create what the search path of some combinations finds first."""
    for statement in _SHADOWS:
        conn.exec_driver_sql(statement)


def _literals(setting: str, value: str) -> str:
    """Return a value as ALTER ROLE takes it: a list of names is one literal each."""
    if setting in {"search_path", "DateStyle"}:
        return ", ".join(f"'{part.strip()}'" for part in value.split(","))
    return f"'{value}'"
