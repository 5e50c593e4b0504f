"""Phoenix's export: spans as its API gives them out, or as a data frame of them is written.

Source: Phoenix's REST API (`/v1/projects/{project}/spans`) and the columns of `get_spans_dataframe`; the attributes are
OpenInference's. docs/phoenix.md holds the table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ingest.conventions.describe import KNOWN, describe
from ingest.conventions.openinference import SPAN_KIND
from ingest.exports.reading import SPAN_DIGITS, TRACE_DIGITS, document, hexadecimal, nanoseconds, read_export
from ingest.spans import Span, check_times

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from ingest.exports.reading import Place, Record
    from ingest.files.report import Problem

_PREFIX: Final = "attributes."


def read_phoenix(path: Path, now_ns: int, advance: Callable[[int], None]) -> Iterator[Place | Problem]:
    """Yield the spans and the problems of a file that Phoenix exported."""
    return read_export(path, now_ns, advance, _convert)


def _convert(record: Record, now_ns: int) -> Iterable[Span]:
    context = document(record, "context")
    ids = {name: context.get(name, record.get(f"context.{name}")) for name in ("trace_id", "span_id")}
    parent = record.get("parent_id")
    started, ended = nanoseconds(record, "start_time"), nanoseconds(record, "end_time")
    check_times(started, ended, now_ns)
    # Attributes are named by their path, nested, or columns of a data frame.
    found: Record = {
        name.removeprefix(_PREFIX): value for name, value in record.items() if name.removeprefix(_PREFIX) in KNOWN
    }
    _collect(document(record, "attributes"), "", found)
    span_kind = record.get("span_kind")
    if isinstance(span_kind, str):
        found = {SPAN_KIND: span_kind, **found}
    described = describe(str(record.get("name") or ""), found, {})
    is_failed = record.get("status_code") == "ERROR"
    yield Span(
        trace_id=hexadecimal(ids, "trace_id", TRACE_DIGITS),
        span_id=hexadecimal(ids, "span_id", SPAN_DIGITS),
        parent_id=hexadecimal(record, "parent_id", SPAN_DIGITS) if parent else None,
        is_root=not parent,
        started_ns=started,
        ended_ns=ended,
        is_failed=is_failed or described["error"] is not None,
        **described,
    )


def _collect(nested: Record, path: str, found: dict[str, Any]) -> None:
    """Collect what is known, by its dotted path; no known path is longer than a handful of words."""
    for name, value in nested.items():
        whole = f"{path}{name}"
        if whole in KNOWN:
            found[whole] = value
        elif isinstance(value, dict) and any(each.startswith(f"{whole}.") for each in KNOWN):
            _collect(value, f"{whole}.", found)
