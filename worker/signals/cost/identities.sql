-- What identifies each agent of the cost analyses just published, and what of it can rise and fall.
-- reads: pg_temp.stage_published, pg_temp.stage_cost_item
-- grain: one row per tenant and agent
-- params: none
with keyed_agent as materialized (
    select
        item.*,
        jsonb_build_object('agent_id', item.agent_id) as key
    from pg_temp.stage_cost_item as item
    where
        item.run_count > 0
        and item.tenant_id in (select published.tenant_id from pg_temp.stage_published as published)
)

select
    keyed_agent.tenant_id,
    keyed_agent.rank as position,
    signals.item_fingerprint('cost', keyed_agent.key) as fingerprint,
    keyed_agent.key,
    keyed_agent.current_avg_cost as value,
    keyed_agent.current_avg_cost as severity,
    case when keyed_agent.is_anomaly then array['anomaly'] else cast(array[] as text[]) end as traits
from keyed_agent
