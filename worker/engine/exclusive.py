"""Exclusion of every refresh, for commands that take away what refreshes read and write."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

from snapshots.errors import ActivityError
from snapshots.signals import SIGNALS
from worker.engine import locks
from worker.engine.blockers import holders

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Engine

#: How long the refreshes of a signal that are under way are waited for, seconds: longer than a task may last.
WAIT_S: Final = 1800.0


@contextmanager
def no_refresh(engine: Engine, slots: Sequence[int], *, wait_s: float = WAIT_S) -> Iterator[None]:
    """Hold the locks of `slots` of every signal, once the refreshes under way are over.

    Raises ActivityError naming the session that does not let go within `wait_s` seconds for a signal.
    """
    with ExitStack() as stack:
        for signal in SIGNALS:
            if stack.enter_context(locks.held(engine, signal, slots, wait_s=wait_s)) is None:
                with engine.connect() as conn:
                    who = holders(conn, signal, slots) or f"{signal} is locked"
                raise ActivityError(
                    f"{who}; nothing was changed within {wait_s:.0f} s; end that session, and try again"
                )
        yield
