-- The specification's tool_call_loop query, as written except (headings of docs/specification-notes.md):
--   One instant per refresh: later starts are left out. Archived rows and late steps: so are archived rows
--   Total order: LIMIT dropped, ties broken
WITH windowed_skills AS (
    SELECT
        trace_id,
        skill_id,
        step_index,
        COUNT(*) OVER (
            PARTITION BY trace_id, skill_id
            ORDER BY step_index
            ROWS BETWEEN 4 PRECEDING AND CURRENT ROW
        ) as recent_calls
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
    'tool_call_loop' as pattern_type,
    ws.skill_id,
    MAX(ws.recent_calls) as loop_depth
FROM windowed_skills ws
JOIN aos_traces t ON t.trace_id = ws.trace_id
WHERE ws.recent_calls >= 3
GROUP BY t.run_id, ws.skill_id
ORDER BY loop_depth DESC, t.run_id COLLATE "C", ws.skill_id COLLATE "C"
