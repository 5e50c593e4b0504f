-- The specification's cost query, as written except (headings of docs/specification-notes.md):
--   One instant per refresh: NOW() is the instant, and what starts after it is left out
--   Total order: ties broken. Non-finite values are no evidence: such costs are left out
--   Missing keys are unknown: grouped by the expression, so that NULL and a literal 'unknown' are one agent
-- Step 1: Calculate baseline stats per agent (last 7 days)
WITH baseline AS (
    SELECT
        COALESCE(agent_id, 'unknown') as agent_id,
        AVG(estimated_cost_usd) as avg_cost,
        STDDEV(estimated_cost_usd) as stddev_cost,
        PERCENTILE_CONT(0.95) WITHIN GROUP (ORDER BY estimated_cost_usd) as p95_cost,
        COUNT(*) as run_count
    FROM runs
    WHERE tenant_id = :tenant_id
      AND completed_at >= CAST(:as_of AS timestamptz) - INTERVAL '7 days'
      AND completed_at < CAST(:as_of AS timestamptz) - INTERVAL '1 day'  -- Exclude today
      AND (started_at IS NULL OR started_at <= :as_of)
      AND estimated_cost_usd IS NOT NULL
      AND estimated_cost_usd NOT IN ('NaN', 'Infinity', '-Infinity')
    GROUP BY COALESCE(agent_id, 'unknown')
),

-- Step 2: Current window stats (today)
current_window AS (
    SELECT
        COALESCE(agent_id, 'unknown') as agent_id,
        AVG(estimated_cost_usd) as current_avg_cost,
        SUM(estimated_cost_usd) as total_cost,
        COUNT(*) as run_count
    FROM runs
    WHERE tenant_id = :tenant_id
      AND started_at >= CAST(:as_of AS timestamptz) - INTERVAL '1 day'
      AND started_at <= :as_of
      AND estimated_cost_usd IS NOT NULL
      AND estimated_cost_usd NOT IN ('NaN', 'Infinity', '-Infinity')
    GROUP BY COALESCE(agent_id, 'unknown')
)

-- Step 3: Compute anomalies (Z-score > 2)
SELECT
    c.agent_id,
    c.current_avg_cost,
    c.total_cost,
    c.run_count,
    b.avg_cost as baseline_avg,
    b.p95_cost as baseline_p95,
    CASE
        WHEN b.stddev_cost > 0 THEN
            (c.current_avg_cost - b.avg_cost) / b.stddev_cost
        ELSE 0
    END as z_score,
    CASE
        WHEN b.stddev_cost > 0 AND (c.current_avg_cost - b.avg_cost) / b.stddev_cost > 2 THEN true
        WHEN c.current_avg_cost > b.p95_cost THEN true
        ELSE false
    END as is_anomaly
FROM current_window c
LEFT JOIN baseline b ON b.agent_id = c.agent_id
ORDER BY z_score DESC, c.agent_id COLLATE "C"
