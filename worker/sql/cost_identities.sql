-- What identifies each agent of the cost analyses just published, and what of it can rise and fall.
-- reads: pg_temp.stage_published, pg_temp.stage_cost_item
-- grain: one row per tenant and agent
-- params: none
select
    item.tenant_id,
    item.rank as position,
    signals.item_fingerprint('cost', jsonb_build_object('agent_id', item.agent_id)) as fingerprint,
    jsonb_build_object('agent_id', item.agent_id) as key,
    item.current_avg_cost as value,
    item.current_avg_cost as severity,
    case when item.is_anomaly then array['anomaly'] else cast(array[] as text[]) end as traits
from pg_temp.stage_cost_item as item
where
    item.run_count > 0
    and item.tenant_id = any(array(select published.tenant_id from pg_temp.stage_published as published))
