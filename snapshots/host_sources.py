"""Source tables of a host: three tables, their columns, and the accepted types.

The names are those of a host at revision 094, and of the tables that our own migrations make; a host with other names
maps them (snapshots.host_mapping). Source: docs/specification-notes.md#host-schema.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of values: its SQL type, the types that are read as they are, and those that a view may cast."""

    sql_type: str
    fits: frozenset[str]
    castable: frozenset[str] = frozenset()
    constant: type | None = None

    def quote(self, value: object) -> str:
        """Return a constant of this kind as an SQL expression."""
        words = str(value).lower() if isinstance(value, bool) else str(value)
        escaped = words.replace("'", "''")
        return f"cast('{escaped}' as {self.sql_type})"


_INTEGERS: Final = frozenset({"int2", "int4", "int8"})
_FLOATS: Final = frozenset({"float4", "float8", "numeric"})
#: `enum` stands for every type that CREATE TYPE ... AS ENUM made.
TEXT: Final = Kind("text", frozenset({"varchar", "text"}), frozenset({"bpchar", "enum", "uuid", "name"}), str)
INSTANT: Final = Kind("timestamptz", frozenset({"timestamp", "timestamptz"}))
COUNT: Final = Kind("integer", _INTEGERS, constant=int)
NUMBER: Final = Kind("double precision", frozenset({"float8"}), _INTEGERS | _FLOATS, float)
MONEY: Final = Kind("numeric", frozenset({"numeric", "float8"}), constant=float)
FLAG: Final = Kind("boolean", frozenset({"bool"}), constant=bool)


@dataclass(frozen=True, slots=True)
class Column:
    """A column under our name.

    One that `is_key` is looked up by: it must be there, and may not be cast, which would hide the host's index.
    One that `is_optional` counts as absent where the host lacks it; any other must then be said to be absent.
    """

    name: str
    kind: Kind
    is_key: bool = False
    is_optional: bool = False

    @property
    def is_exact(self) -> bool:
        """Tell whether the column's type must fit without a cast: ranges over times and costs are read by index."""
        return self.is_key or self.kind in (INSTANT, MONEY)


@dataclass(frozen=True, slots=True)
class Table:
    """A source table: `name` as a host at 094 has it, the view over it, and the function that marks its changes."""

    name: str
    view: str
    function: str
    columns: Mapping[str, Column]


def _table(name: str, view: str, function: str, columns: Sequence[Column]) -> Table:
    return Table(name, view, function, MappingProxyType({column.name: column for column in columns}))


_RUNS: Final = _table(
    "runs",
    "source_run",
    "mark_runs",
    [
        Column("id", TEXT, is_key=True),
        Column("tenant_id", TEXT, is_key=True),
        Column("project_id", TEXT),
        Column("agent_id", TEXT),
        Column("is_synthetic", FLAG),
        Column("source", TEXT),
        Column("provider_type", TEXT),
        Column("state", TEXT),
        Column("status", TEXT),
        Column("started_at", INSTANT, is_key=True),
        Column("last_seen_at", INSTANT),
        Column("completed_at", INSTANT),
        Column("duration_ms", NUMBER),
        *(Column(name, TEXT) for name in ("risk_level", "latency_bucket", "evidence_health", "integrity_status")),
        Column("incident_count", COUNT),
        Column("policy_draft_count", COUNT),
        Column("policy_violation", FLAG),
        Column("input_tokens", COUNT),
        Column("output_tokens", COUNT),
        Column("estimated_cost_usd", MONEY),
    ],
)
_TRACES: Final = _table(
    "aos_traces",
    "source_trace",
    "mark_traces",
    [
        *(Column(name, TEXT, is_key=True) for name in ("trace_id", "run_id", "tenant_id")),
        Column("started_at", INSTANT, is_key=True),
        Column("is_synthetic", FLAG, is_optional=True),
        Column("archived_at", INSTANT, is_optional=True),
    ],
)
_STEPS: Final = _table(
    "aos_trace_steps",
    "source_step",
    "mark_steps",
    [
        Column("trace_id", TEXT, is_key=True),
        Column("step_index", COUNT, is_key=True),
        *(Column(name, TEXT) for name in ("skill_id", "skill_name", "status", "outcome_category", "outcome_code")),
        Column("cost_cents", NUMBER),
        Column("duration_ms", NUMBER),
        Column("retry_count", COUNT),
        Column("timestamp", INSTANT),
        Column("archived_at", INSTANT, is_optional=True),
    ],
)

#: The source tables by name, in an order in which they can be made.
TABLES: Final[Mapping[str, Table]] = MappingProxyType({each.name: each for each in (_RUNS, _TRACES, _STEPS)})
#: Where a host at 094 has them.
SCHEMA: Final = "public"
