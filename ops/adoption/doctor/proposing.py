"""A draft of a mapping from a host's catalogue: by likeness of names and by types, with the choices that are left."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import product
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from snapshots import host, host_sources
from snapshots.host_mapping import Place

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import Connection

    from snapshots.host_sources import Column, Table

#: Likeness, 0 to 1, from which a column is taken, or offered as a candidate; the lead that a taken one must have.
_TAKEN: Final = 0.75
_OFFERED: Final = 0.5
_LEAD: Final = 0.05
_CANDIDATES: Final = 4
#: What tools commonly call them.
_ALIASES: Final[Mapping[str, Sequence[str]]] = {
    "runs": ("run", "runs", "execution", "executions", "session", "sessions", "agent_runs", "jobs", "tasks"),
    "aos_traces": ("trace", "traces", "agent_traces"),
    "aos_trace_steps": ("step", "steps", "trace_steps", "spans", "span", "observations", "events"),
    "id": ("id", "run_id", "execution_id", "uuid"),
    "tenant_id": ("tenant", "org_id", "org", "organization_id", "account_id", "customer_id", "workspace_id"),
    "project_id": ("project",),
    "agent_id": ("agent", "agent_name", "assistant_id", "bot_id"),
    "state": ("phase", "lifecycle", "run_state"),
    "status": ("result", "outcome", "run_status"),
    "started_at": ("start_time", "start", "begun_at", "started", "created_at", "timestamp"),
    "completed_at": ("end_time", "ended_at", "finished_at", "finished", "end"),
    "last_seen_at": ("heartbeat_at", "last_heartbeat", "last_seen", "updated_at"),
    "duration_ms": ("duration", "latency_ms", "elapsed_ms", "took_ms"),
    "estimated_cost_usd": ("cost_usd", "cost", "total_cost", "price_usd"),
    "input_tokens": ("prompt_tokens", "tokens_in"),
    "output_tokens": ("completion_tokens", "tokens_out"),
    "provider_type": ("provider", "vendor"),
    "source": ("origin", "channel"),
    "trace_id": ("trace", "parent_trace_id"),
    "run_id": ("run", "execution_id", "session_id"),
    "step_index": ("index", "seq", "position", "step_number", "ordinal"),
    "skill_id": ("tool", "tool_id", "tool_name", "function_name", "name"),
    "skill_name": ("tool_name", "display_name", "name"),
    "retry_count": ("retries", "attempts", "retry"),
    "archived_at": ("deleted_at",),
    "timestamp": ("created_at", "at", "time", "ts"),
}
_RELATIONS: Final = text("""
select pg_namespace.nspname as schema, pg_class.relname as name
from pg_catalog.pg_class inner join pg_catalog.pg_namespace on pg_namespace.oid = pg_class.relnamespace
where
    pg_class.relkind in ('r', 'p', 'v', 'm')
    and not pg_class.relispartition
    and pg_namespace.nspname not in ('pg_catalog', 'information_schema', 'signals')
    and pg_namespace.nspname not like 'pg\\_%'
order by 1, 2
""")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A relation of the host that may be a source table, and how much it is like it, 0 to 1."""

    place: Place
    types: Mapping[str, str]
    likeness: float


def propose(conn: Connection) -> str:
    """Return a TOML mapping of what the catalogue holds; what is uncertain is in comments, with the candidates."""
    relations = [
        (Place(row.schema, row.name), found.types)
        for row in conn.execute(_RELATIONS)
        if (found := host.find(conn, Place(row.schema, row.name))) is not None
    ]
    lines = ["# Drafted from the catalogue: check every line, and decide those that begin with `# ?`."]
    for name, ranked in _assigned(relations).items():
        lines += ["", *_table_lines(host_sources.TABLES[name], ranked)]
    return "\n".join(lines) + "\n"


def _assigned(relations: Sequence[tuple[Place, Mapping[str, str]]]) -> Mapping[str, Sequence[Candidate]]:
    """Return the candidates of each source table, first the one that it gets: no relation is two of them."""
    ranked = {name: _ranked(table, relations) for name, table in host_sources.TABLES.items()}
    choices = product(*([*candidates[:_CANDIDATES], None] for candidates in ranked.values()))
    best = max(choices, key=_worth)
    return {
        name: [one, *(other for other in ranked[name] if other is not one)] if one is not None else []
        for name, one in zip(ranked, best, strict=True)
    }


def _worth(choice: tuple[Candidate | None, ...]) -> float:
    """Return how good a choice is: below nothing where two are the same relation."""
    chosen = [one for one in choice if one is not None]
    is_unique = len({(one.place.schema, one.place.table) for one in chosen}) == len(chosen)
    return sum(one.likeness - _OFFERED / 2 for one in chosen) if is_unique else -1.0


def likeness(ours: str, theirs: str) -> float:
    """Return how much a host's name is like one of ours, 0 to 1; what tools commonly call it counts as nearly it."""
    plain = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", theirs).lower()
    plain = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")
    if plain == ours:
        return 1.0
    aliases = _ALIASES.get(ours, ())
    if plain in aliases:
        return 0.95 - 0.01 * aliases.index(plain)
    return 0.9 * SequenceMatcher(None, ours, plain).ratio()


def _ranked(table: Table, relations: Sequence[tuple[Place, Mapping[str, str]]]) -> list[Candidate]:
    """Return the relations by likeness: of their names, and of the columns that fit."""
    found = []
    for place, types in relations:
        fits = [max((_fit(column, *each) for each in types.items()), default=0.0) for column in table.columns.values()]
        columns = sum(fit for fit in fits if fit >= _TAKEN) / len(fits)
        if columns:
            found.append(Candidate(place, types, 0.4 * likeness(table.name, place.table) + 0.6 * columns))
    return sorted(found, key=lambda one: (-one.likeness, one.place.schema, one.place.table))


def _fit(column: Column, name: str, host_type: str) -> float:
    wanted = column.kind.fits | (frozenset() if column.is_exact else column.kind.castable)
    return likeness(column.name, name) if host_type in wanted else 0.0


def _table_lines(table: Table, found: Sequence[Candidate]) -> Iterator[str]:
    yield f"[{table.name}]"
    if not found:
        yield f"# ? no table is like {table.name}; name one, a view of yours, or leave this out: an empty one is made"
        return
    best = found[0]
    yield f"schema = {json.dumps(best.place.schema)}"
    yield f"table = {json.dumps(best.place.table)}"
    for other in found[1:_CANDIDATES]:
        if best.likeness - other.likeness < _LEAD:
            yield f"# ? or {json.dumps(other.place.schema)}, {json.dumps(other.place.table)}"
    yield ""
    yield f"[{table.name}.columns]"
    used: set[str] = set()
    for column in table.columns.values():
        yield from _column_lines(column, best.types, used)


def _column_lines(column: Column, types: Mapping[str, str], used: set[str]) -> Iterator[str]:
    ranked = sorted(((_fit(column, *each), each[0]) for each in types.items() if each[0] not in used), reverse=True)
    likely = [(fit, name) for fit, name in ranked if fit >= _OFFERED][:_CANDIDATES]
    lead = likely[0][0] - (likely[1][0] if len(likely) > 1 else 0.0) if likely else 0.0
    if likely and (likely[0][0] == 1.0 or (likely[0][0] >= _TAKEN and lead >= _LEAD / 10)):
        used.add(likely[0][1])
        if likely[0][1] != column.name:
            yield f"{column.name} = {json.dumps(likely[0][1])}"
        return
    names = ", ".join(json.dumps(name) for _, name in likely) or "no column is like it"
    if column.is_optional:
        return
    if column.is_key:
        yield f"# ? {column.name} = ... must be named: {names}"
    else:
        yield f"{column.name} = {{ absent = true }}  # ? {names}"
