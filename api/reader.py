"""Reads: one transaction and one round trip each, read-only, in time, as one tenant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import event
from sqlalchemy.exc import DBAPIError

from snapshots.source import TENANT_SETTING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection, Executable, Row
    from sqlalchemy.engine import Engine
    from sqlalchemy.engine.interfaces import DBAPICursor, ExecutionContext

_SCOPE: Final = "activity_scope"

#: Sent ahead of each SELECT in the same message: PostgreSQL runs both in one implicit transaction, to which the three
#: settings are local, so that nothing of a tenant is left on a pooled connection.
_PREFIX: Final = (
    f"select set_config('{TENANT_SETTING}', %(scope_tenant)s, true),"
    " set_config('statement_timeout', %(scope_timeout)s, true),"
    " set_config('transaction_read_only', 'on', true);\n"
)


class Reader:
    """Runs SELECTs through an engine, each under its tenant and a statement_timeout of `timeout_ms`."""

    def __init__(self, engine: Engine, timeout_ms: int) -> None:
        """Take the engine: one that commits by itself spares each read two round trips. Others may use it too."""
        self._engine = engine.execution_options()
        self._timeout_ms = timeout_ms
        event.listen(self._engine, "before_cursor_execute", _scoped, retval=True)

    def rows(
        self, statement: Executable, values: Mapping[str, object] | None = None, *, tenant_id: str = ""
    ) -> Sequence[Row[Any]]:
        """Return the rows of `statement` with its bound `values`, seen as `tenant_id`; as no tenant when it is empty.

        A connection that the server ended while it lay in the pool is replaced, and the statement sent again.
        """
        scope = {"scope_tenant": tenant_id, "scope_timeout": str(self._timeout_ms)}
        try:
            return self._read(statement, values, scope)
        except DBAPIError as ex:
            if not ex.connection_invalidated:
                raise
        return self._read(statement, values, scope)

    def _read(
        self, statement: Executable, values: Mapping[str, object] | None, scope: Mapping[str, str]
    ) -> Sequence[Row[Any]]:
        with self._engine.connect() as connection:
            return connection.execute(statement, values, execution_options={_SCOPE: scope}).all()


def _scoped(
    _connection: Connection,
    _cursor: DBAPICursor,
    statement: str,
    parameters: Mapping[str, object],
    context: ExecutionContext,
    _executemany: bool,  # noqa: FBT001  # SQLAlchemy fixes the arguments of the event
) -> tuple[str, Mapping[str, object]]:
    """Put the settings ahead of a statement that asks for a scope; leave the engine's own statements alone."""
    scope = context.execution_options.get(_SCOPE)
    if scope is None:
        return statement, parameters
    return _PREFIX + statement, {**parameters, **scope}
