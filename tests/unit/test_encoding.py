"""Content codings, as far as they do not need an answer to show."""

from __future__ import annotations

import tracemalloc

from api.http.encoding import accepted


def test_a_header_that_is_too_long_takes_no_coding_and_is_not_remembered() -> None:
    assert accepted("gzip" + " " * 251) == "gzip"
    tracemalloc.start()
    held_before = tracemalloc.get_traced_memory()[0]

    taken = [accepted(f"gzip,{number:>100000}") for number in range(50)]

    held = tracemalloc.get_traced_memory()[0] - held_before
    tracemalloc.stop()
    assert taken == [None] * 50
    assert held < 100_000
