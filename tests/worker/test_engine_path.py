"""The main path of a refresh, followed with a tracer: few calls, in few modules."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from snapshots import settings
from tests.worker.test_refresh import now, plant
from worker import tasks

if TYPE_CHECKING:
    from types import FrameType

    from sqlalchemy import Engine

SETTINGS = settings.load()
#: Functions that a tick enters from the task to publication, its safety checks included; the goal is 15 in 6 modules.
MOST_CALLS = 36
MOST_MODULES = 13
#: Not steps: SQL files, stage tables, carriers, shards.
_SUPPORT = ("queries", "stage", "context", "shards", "tables", "errors")


@pytest.fixture
def path(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Return the functions that a tick enters, in order, until publication is over."""
    with engine.begin() as conn:
        plant(conn, "acme", now(conn))
    monkeypatch.setattr(tasks, "process_engine", lambda: engine)
    monkeypatch.setattr(tasks, "process_settings", lambda: SETTINGS)
    entered: list[tuple[str, str]] = []

    def trace(frame: FrameType, event: str, _: Any) -> None:  # noqa: ANN401  # as sys.setprofile calls it
        module = str(frame.f_globals.get("__name__", ""))
        name = frame.f_code.co_name
        if event == "call" and module.startswith("worker.") and not name.startswith("<"):
            entered.append((module, name))

    sys.setprofile(trace)
    try:
        tasks.refresh.run("attention")
    finally:
        sys.setprofile(None)
    last = max(number for number, (_, name) in enumerate(entered) if name == "publish")
    return entered[: last + 1]


def test_a_refresh_is_followed_in_few_calls_and_modules(path: list[tuple[str, str]]) -> None:
    steps = [
        (module, name)
        for module, name in path
        if module == "worker.tasks"
        or (module.startswith("worker.engine.") and module.rpartition(".")[2] not in _SUPPORT)
    ]

    assert steps[0] == ("worker.tasks", "refresh")
    assert steps[-1] == ("worker.engine.publish", "publish")
    assert len(set(steps)) <= MOST_CALLS, steps
    assert len({module for module, _ in steps}) <= MOST_MODULES, steps
