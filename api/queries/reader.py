"""Reads and the few writes: one transaction and one round trip each, in time, as one tenant; reads are read-only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import event
from sqlalchemy.exc import DBAPIError

from api.http.circuit_breaker import CircuitBreaker, driver_connection
from snapshots.errors import sqlstate
from snapshots.sessions import LOCAL_PINS
from snapshots.source import TENANT_SETTING
from snapshots.visibility import raise_if_unproven

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection, Executable, Row
    from sqlalchemy.engine import Engine
    from sqlalchemy.engine.interfaces import DBAPICursor, ExecutionContext

    from api.auth.visibility import Proof

_SCOPE: Final = "activity_scope"

#: A server that runs ends a statement at its timeout; so many seconds later nothing is expected of it any more.
GRACE_S: Final = 1.0
#: statement_timeout of what is found by its key, milliseconds.
LOOK_UP_TIMEOUT_MS: Final = 2000

#: Sent ahead of each SELECT in the same message: PostgreSQL runs both in one implicit transaction, to which the
#: settings are local, so that nothing of a tenant is left on a pooled connection. The session settings are pinned here
#: again, since a pooler may run each transaction in another session.
_PREFIX: Final = (
    f"select set_config('{TENANT_SETTING}', %(scope_tenant)s, true),"
    " set_config('statement_timeout', %(scope_timeout)s, true),"
    f" set_config('transaction_read_only', %(scope_read_only)s, true), {LOCAL_PINS};\n"
)


class _Scope(NamedTuple):
    """Return the text that goes ahead of a statement: settings, and the proof of visibility where one is due."""

    settings: Mapping[str, str]
    proof: str


class Reader:
    """Runs statements through an engine, each under its tenant and a statement_timeout of `timeout_ms`."""

    def __init__(
        self, engine: Engine, timeout_ms: int, watch: CircuitBreaker | None = None, proof: Proof | None = None
    ) -> None:
        """Take the engine: one that commits by itself spares each read two round trips. Others may use it too.

        `watch` ends reads whose server has not even said that their time is up. `proof` goes ahead of a read when it
        is due; without one nothing proves that rows could have been seen.
        """
        self._proof = proof
        self._engine = engine.execution_options()
        self._timeout_ms = timeout_ms
        self._watch = watch or CircuitBreaker()
        self._patience_s = timeout_ms / 1000 + GRACE_S
        event.listen(self._engine, "before_cursor_execute", _scoped, retval=True)

    def rows(
        self,
        statement: Executable,
        values: Mapping[str, object] | None = None,
        *,
        tenant_id: str = "",
        proves: bool = False,
    ) -> Sequence[Row[Any]]:
        """Return the rows of `statement` with its bound `values`, seen as `tenant_id`; as no tenant when it is empty.

        A connection that the server ended while it lay in the pool is replaced, and the statement sent again. With
        `proves` the read carries a proof of its own, however young the last one is. Raises VisibilityError where rows
        could be hidden, and DatabaseUnavailableError, without a try, while the server is known not to answer.
        """
        admitted = self._watch.admit()
        scope = self._scope(tenant_id, read_only="on", proves=proves)
        try:
            return self._read(statement, values, scope)
        except DBAPIError as ex:
            if self._is_final(ex, admitted):
                raise_if_unproven(ex)
                raise
        return self._read(statement, values, scope)

    def write(self, statement: Executable, values: Mapping[str, object], *, tenant_id: str) -> Sequence[Row[Any]]:
        """Run a statement that writes as `tenant_id`, once: sent again it might be done twice.

        Raises VisibilityError where rows could be hidden, and DatabaseUnavailableError, without a try, while the
        server is known not to answer.
        """
        admitted = self._watch.admit()
        try:
            return self._read(statement, values, self._scope(tenant_id, read_only="off"))
        except DBAPIError as ex:
            self._is_final(ex, admitted)
            raise_if_unproven(ex)
            raise

    def _scope(self, tenant_id: str, *, read_only: str, proves: bool = False) -> _Scope:
        settings = {"scope_tenant": tenant_id, "scope_timeout": str(self._timeout_ms), "scope_read_only": read_only}
        return _Scope(settings, "" if self._proof is None else self._proof.due(always=proves))

    def _read(self, statement: Executable, values: Mapping[str, object] | None, scope: _Scope) -> Sequence[Row[Any]]:
        began_at = None if self._proof is None or not scope.proof else self._proof.begin()
        with self._engine.connect() as connection, self._watch.wait(driver_connection(connection), self._patience_s):
            found = connection.execute(statement, values, execution_options={_SCOPE: scope}).all()
        self._watch.note_answer()
        if self._proof is not None and began_at is not None:
            self._proof.note(began_at)
        return found

    def _is_final(self, ex: DBAPIError, admitted: float) -> bool:
        """Tell the watch, and say whether trying again is of no use: the server answered, or stayed silent for long."""
        if sqlstate(ex) is not None:
            self._watch.note_answer()
            return not ex.connection_invalidated
        return self._watch.note_failure(admitted) or not ex.connection_invalidated


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
    return _PREFIX + scope.proof + statement, {**parameters, **scope.settings}
