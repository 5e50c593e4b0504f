"""Background queue of the API: its thread goes on after any error (see `api.http.background`)."""

from __future__ import annotations

from functools import partial
from threading import Event
from typing import TYPE_CHECKING

from api.http.background import BackgroundQueue

if TYPE_CHECKING:
    import pytest

PATIENCE_S = 30


def fail() -> None:
    raise RuntimeError("planted")


def test_whoever_puts_work_aside_goes_on_and_so_does_the_work_after_a_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    aside, go_on, done = BackgroundQueue(), Event(), Event()
    aside.keep_working()

    aside.put(lambda: go_on.wait(PATIENCE_S))
    aside.put(fail)
    aside.put(done.set)

    assert not done.is_set()
    go_on.set()
    assert done.wait(PATIENCE_S)
    assert "planted" in caplog.text


def test_what_waits_is_bounded() -> None:
    aside, done = BackgroundQueue(most=3), list[int]()
    for number in range(5):
        aside.put(partial(done.append, number))

    aside.work_off()

    assert done == [0, 1, 2]
