"""The specified fields are the same bytes with the extra fields and without them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from api.openapi import extras
from snapshots.items import ITEMS
from snapshots.settings import load
from tests.factories import AS_OF
from tests.signals import generated
from worker.engine.compute import stage_signal
from worker.engine.stage import stage_content
from worker.signals.registry import SIGNALS

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

_LISTS: Final = {"patterns": "patterns", "cost": "agents", "attention": "queue"}
_EXTRA: Final = {
    *extras.PATTERN_EXTRAS,
    *extras.PATTERNS_EXTRAS,
    *extras.AGENT_EXTRAS,
    *extras.COST_EXTRAS,
    *extras.ITEM_EXTRAS,
    *extras.QUEUE_EXTRAS,
}


def _staged(conn: Connection, signal: str, *, extras: bool) -> tuple[dict[str, Row[Any]], list[Any]]:
    stage_signal(conn, SIGNALS[signal], load(extras=extras), AS_OF)
    contents = {row.tenant_id: row for row in conn.execute(select(stage_content))}
    items = SIGNALS[signal].item_stage
    names = [column.name for column in ITEMS[signal].columns if column.name != "robust_verdict"]
    rows = select(*(items.c[name] for name in names)).order_by(items.c.tenant_id, items.c.rank)
    if "run_count" in items.c:
        rows = rows.where(items.c.run_count > 0)
    return contents, sorted(map(repr, conn.execute(rows)))


def _bare(value: Any) -> Any:  # noqa: ANN401  # any JSON
    """Return a JSON value without the extra members, every other one in its place."""
    if isinstance(value, dict):
        return {name: _bare(member) for name, member in value.items() if name not in _EXTRA}
    return [_bare(member) for member in value] if isinstance(value, list) else value


def _text(value: Any) -> str:  # noqa: ANN401  # any JSON
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _normal(content: str) -> str:
    """Return the text of a content as one library writes it: names, order and numbers stay as they are."""
    return _text(json.loads(content, parse_float=str, parse_int=str))


def _stripped(content: str) -> str:
    return _text(_bare(json.loads(content, parse_float=str, parse_int=str)))


def test_what_the_definition_names_is_the_same_with_extras_and_without(host: Connection) -> None:
    @given(generated.RUNS, st.lists(generated.TRACE, max_size=6))
    def compare(runs: list[dict[str, Any]], traces: list[dict[str, Any]]) -> None:
        savepoint = host.begin_nested()
        generated.insert_runs(host, runs)
        generated.insert_traces(host, traces)
        for signal in SIGNALS:
            bare, bare_items = _staged(host, signal, extras=False)
            full, full_items = _staged(host, signal, extras=True)
            assert bare_items == full_items
            assert {*full} >= {*bare}
            for tenant, row in full.items():
                # Agents that fell silent give a tenant an answer of its own, whose bare part is the empty one.
                expected = bare.get(tenant, bare[""])
                assert _stripped(row.content) == _normal(expected.content)
                assert not _EXTRA & {*json.loads(expected.content)}
        savepoint.rollback()

    compare()


def test_the_queue_is_published_at_the_same_changes(conn: Connection) -> None:
    """A moving clock or link must not make another version."""
    generated.insert_runs(conn, [{"tenant_id": "acme", "state": "LIVE", "risk_level": "AT_RISK", "started_at": AS_OF}])

    bare, full = (_staged(conn, "attention", extras=extras)[0]["acme"] for extras in (False, True))

    assert (bare.basis, bare.shape) == (full.basis, full.shape)
    assert json.loads(full.items[0])["links"] == {"patterns": [], "cost": None}
