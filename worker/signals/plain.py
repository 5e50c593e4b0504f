"""Plain signals: a `signal.toml` with columns and one `items.sql`; body, movement and items follow from the columns.

A plain signal keeps no facts: each refresh reads every row of its windows. Source: docs/add-a-signal.md.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from snapshots.queries import parse
from worker.engine import queries, stage
from worker.signals.spec import SOURCE_RUN, SOURCE_TRACE, Movement, SignalSpec, Step, plain

if TYPE_CHECKING:
    from datetime import datetime

    from snapshots.settings import Settings
    from snapshots.signal_catalogue import SignalDefinition

#: Items that are published per tenant, the most severe first.
MAX_ITEMS: Final = 200
#: How a column's value is written into the item, by its type.
_MEMBERS: Final = MappingProxyType(
    {
        "number": "trim_scale(round(cast({0} as numeric), 8))",
        "timestamp": "to_char({0} at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')",
    }
)


def plain_spec(definition: SignalDefinition) -> SignalSpec:
    """Return the specification of a plain signal, and register the queries that are generated for it."""
    name, found = definition.name, stage.PLAIN_FOUND[definition.name]
    queries.register(parse(f"{name}/ranked", _ranked(definition, found.name)))
    queries.register(parse(f"{name}/content", _content(definition)))
    queries.register(parse(f"{name}/identities", _identities(definition)))

    def query_parameters(settings: Settings, as_of: datetime) -> dict[str, object]:
        del as_of
        return {"max_items": MAX_ITEMS, **{each: plain(value) for each, value in settings.thresholds(name).items()}}

    return SignalSpec(
        definition=definition,
        rule_version="1.0",
        steps=(
            Step(f"{name}/items", found),
            Step(f"{name}/ranked", stage.stage_signal_item),
            Step(f"{name}/content", stage.stage_content),
        ),
        item_stage=stage.stage_signal_item,
        incremental=None,
        tenants={"source_run": SOURCE_RUN, "source_trace": SOURCE_TRACE}[definition.source],
        query_parameters=query_parameters,
        movement=Movement(f"{name}/identities", step=0.1, worse_by=0.5),
    )


def _ranked(definition: SignalDefinition, found: str) -> str:
    """Return the query that writes each item as served; every name in it is checked by the catalogue."""
    severity = definition.severity
    members = ", ".join(
        f"{_MEMBERS.get(column.type, '{0}').format(f'found.{name}')} as {name}"
        for name, column in definition.columns.items()
    )
    keys = ", ".join(f"'{name}', found.{name}" for name in definition.item_key)
    order = ", ".join(f'cast(found.{name} as text) collate "C"' for name in definition.item_key)
    return f"""-- Ranks the items of a plain signal, the most severe first, and writes each as it is served.
-- reads: pg_temp.{found}
-- grain: one row per tenant and rank
-- params: max_items
select ranked.tenant_id, ranked.rank, cast('{definition.name}' as text) as signal, ranked.key, ranked.item,
    ranked.severity
from (
    select
        found.tenant_id,
        row_number() over (partition by found.tenant_id order by found.{severity} desc nulls last, {order}) as rank,
        jsonb_build_object({keys}) as key,
        cast((select row_to_json(member) from (select {members}) as member) as text) as item,
        cast(found.{severity} as numeric) as severity
    from pg_temp.{found} as found
) as ranked
where ranked.rank <= cast(:max_items as integer)"""  # noqa: S608  # names of the catalogue


def _content(definition: SignalDefinition) -> str:
    head = f'{{"{definition.item_list}":['
    return f"""-- The body of a plain signal: its items, how many they are, and its parameters.
-- reads: pg_temp.stage_signal_item
-- grain: tenant, and the empty tenant whose content is that of a tenant without findings
-- params: stated_parameters
with tenant_items as (
    select tenant_id, string_agg(item, ',' order by rank) as items, array_agg(length(item) order by rank) as lengths,
        count(*) as total
    from pg_temp.stage_signal_item
    group by tenant_id
    union all
    select '', '', cast(null as integer[]), 0
),
content as (
    select tenant_id, lengths,
        '{head}' || items || '],"total_items":' || total || ',"parameters":' || cast(:stated_parameters as text)
        || '}}' as content
    from tenant_items
)
select tenant_id, content, cast(null as text[]) as items, lengths, md5(content) as basis, md5(content) as shape
from content"""  # noqa: S608  # names of the catalogue


def _identities(definition: SignalDefinition) -> str:
    return f"""-- Identifies each item of a plain signal that was just published, and what of it rises and falls.
-- reads: pg_temp.stage_published, pg_temp.stage_signal_item
-- grain: one row per tenant and item
-- params: none
select item.tenant_id, item.rank as position, signals.item_fingerprint('{definition.name}', item.key) as fingerprint,
    item.key, item.severity as value, item.severity, cast(array[] as text[]) as traits
from pg_temp.stage_signal_item as item
where item.tenant_id in (select published.tenant_id from pg_temp.stage_published as published)"""  # noqa: S608  # names of the catalogue
