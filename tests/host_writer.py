"""A host that writes rows which we write too."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from sqlalchemy import make_url, text

from snapshots import database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from tests.postgres import Server

#: Longer than a session of ours needs to reach a row that is held.
A_MOMENT_S: Final = 0.7


@contextmanager
def host_session(server: Server, url: str) -> Iterator[Connection]:
    """Yield a host's session that looks for a deadlock soon, and so loses each that it is part of."""
    engine = database.connect(server.cluster.superuser_url(make_url(url).database or ""))
    with engine.connect() as conn:
        conn.execute(text("set deadlock_timeout = '100ms'"))
        conn.commit()
        yield conn
    engine.dispose()


def change(conn: Connection, run_id: str) -> None:
    conn.execute(text("update public.runs set goal = coalesce(goal, '') || 'x' where id = :run_id"), {"run_id": run_id})
