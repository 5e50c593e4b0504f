"""A host whose tables and columns are named as no host at 094 names them, and the mapping that says so."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from snapshots import host_mapping as mappings

#: Names that would end a string, a function's body or a placeholder, were they not quoted where they are used.
DOCUMENT: Final = {
    "runs": {
        "schema": "Plat.form",
        "table": 'agent "Executions"',
        "columns": {
            "id": "$$; drop table x; --",
            "tenant_id": "org:name",
            "agent_id": "{{new_row.id}}",
            "state": "phase",
            "started_at": "from",
            "completed_at": "to",
            "estimated_cost_usd": "100%s cost",
            "duration_ms": "took",
            "source": {"constant": "agent's"},
            "policy_draft_count": {"absent": True},
            "integrity_status": {"absent": True},
        },
    },
    "aos_traces": {
        "schema": "Plat.form",
        "table": "spans",
        "columns": {"trace_id": "select", "run_id": "exec", "tenant_id": "org", "started_at": "at"},
    },
    "aos_trace_steps": {
        "schema": "Plat.form",
        "table": "steps;\n\n",
        "columns": {
            "trace_id": "span",
            "step_index": "nr",
            "skill_id": "tool",
            "retry_count": "retries",
            "outcome_code": {"constant": "none"},
        },
    },
}
MAPPING: Final = mappings.parse(DOCUMENT)

#: That host.
DDL: Final = (Path(__file__).parent / "mapped_host.sql").read_text()
