"""Session settings that our SQL depends on: their values, and how a session or a transaction gets them.

A setting of the environment (PGTZ), of a role or of a database must change no byte of what is published. A startup
parameter would not do: libpq sends PGTZ after it, and a pooler may drop it.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from snapshots.errors import ActivityError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from psycopg2.extensions import connection

#: What decides how a value is read, printed or compared.
_FORMATS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "TimeZone": "UTC",
        "DateStyle": "ISO, MDY",
        "IntervalStyle": "postgres",
        "extra_float_digits": "1",
        "bytea_output": "hex",
        "array_nulls": "on",
        "transform_null_equals": "off",
        "row_security": "on",
        "quote_all_identifiers": "off",
        "search_path": "public",
    }
)
#: The same, and what has to hold before a statement is read.
PINNED: Final[Mapping[str, str]] = MappingProxyType(
    {**_FORMATS, "standard_conforming_strings": "on", "default_transaction_isolation": "read committed"}
)


def _assignments(settings: Mapping[str, str], *, is_local: bool) -> str:
    return ", ".join(f"set_config('{name}', '{value}', {str(is_local).lower()})" for name, value in settings.items())


#: Expressions for a SELECT that pin the settings until the transaction ends, for sessions that a pooler may exchange.
LOCAL_PINS: Final = _assignments(_FORMATS, is_local=True)

_PIN: Final = f"select {_assignments(PINNED, is_local=False)}"
#: Replica mode, which only a superuser can end, leaves our triggers unfired.
_CHECKED: Final = {**PINNED, "session_replication_role": "origin"}
_FOUND: Final = "select " + ", ".join(f"current_setting('{name}')" for name in _CHECKED)


class SessionSettingsError(ActivityError):
    """A session does not keep the settings that our SQL depends on; the message names each."""


def pin(driver: connection, _record: object = None) -> None:
    """Pin the settings of a session that has just been opened, and verify them in a transaction of their own.

    Raises SessionSettingsError when a setting has another value afterwards, as behind a pooler in transaction mode,
    which may run each transaction in another session.
    """
    was_autocommit, driver.autocommit = driver.autocommit, True
    with driver.cursor() as cursor:
        cursor.execute(_PIN)
        cursor.execute(_FOUND)
        values = cursor.fetchone()
    driver.autocommit = was_autocommit
    _verify(values)


def _verify(values: Any) -> None:  # noqa: ANN401  # a row of the driver
    wrong = [
        f"{name} is {found!r}, expected {wanted!r}"
        for (name, wanted), found in zip(_CHECKED.items(), values, strict=True)
        if found != wanted
    ]
    if wrong:
        raise SessionSettingsError(
            f"session settings: {'; '.join(wrong)}. Connect to PostgreSQL directly or through a pooler in session mode,"
            " and remove what ALTER ROLE or ALTER DATABASE sets"
        )
