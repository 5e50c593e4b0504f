-- The specification's step_oscillation query, as written except (headings of docs/specification-notes.md):
--   One instant per refresh: later starts are left out. Archived rows and late steps: so are archived rows
--   Total order: LIMIT dropped, ties broken
WITH step_sequences AS (
    SELECT
        trace_id,
        skill_id,
        step_index,
        LAG(skill_id) OVER (PARTITION BY trace_id ORDER BY step_index) as prev_skill
    FROM aos_trace_steps
    WHERE archived_at IS NULL AND trace_id IN (
        SELECT trace_id FROM aos_traces
        WHERE tenant_id = :tenant_id
          AND started_at >= :window_start
          AND started_at <= :as_of
          AND archived_at IS NULL
    )
)
SELECT
    t.run_id,
    'step_oscillation' as pattern_type,
    ss.skill_id,
    COUNT(*) as oscillation_count
FROM step_sequences ss
JOIN aos_traces t ON t.trace_id = ss.trace_id
WHERE ss.skill_id = ss.prev_skill  -- Same skill called again
GROUP BY t.run_id, ss.skill_id
HAVING COUNT(*) >= 3
ORDER BY oscillation_count DESC, t.run_id COLLATE "C", ss.skill_id COLLATE "C"
