"""The tenants and agents of the demo: who they are, what they do, and what is usual for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: The tenant whose key `activity up` prints.
DEMO_TENANT: Final = "acme-support"


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent: its skills in their usual order, and medians of what one run takes.

    `step_ms` is in milliseconds, `pause_ms` the time between two steps, `cost_usd` in US dollars per run, `cost_sigma`
    the spread of its logarithm; a costly run costs `costly_factor` times as much. `costly_of_past` and
    `costly_of_today` say that one run in so many is costly, in the demo's history and on its last day; 0 is none.
    """

    agent_id: str
    goal: str
    project_id: str
    provider_type: str
    source: str
    skills: Sequence[str]
    runs_per_day: int
    step_ms: int
    pause_ms: int
    cost_usd: float
    cost_sigma: float = 0.35
    failure_rate: float = 0.05
    costly_factor: float = 5.0
    costly_of_past: int = 0
    costly_of_today: int = 0

    @property
    def expected_latency_ms(self) -> int:
        """Return the time that a run may take: generous for what is usual, 60 s at least."""
        usual = (len(self.skills) + 1) * (self.step_ms + self.pause_ms)
        return max(60_000, 2 * usual)


_SUPPORT: Final = (
    Agent(
        agent_id="triage-bot",
        goal="Route the ticket to the right queue",
        project_id="helpdesk",
        provider_type="anthropic",
        source="agent",
        skills=("read_ticket", "classify_intent", "lookup_customer", "assign_queue", "post_note"),
        runs_per_day=52,
        step_ms=700,
        pause_ms=1_500,
        cost_usd=0.012,
    ),
    Agent(
        agent_id="refund-agent",
        goal="Settle the refund request",
        project_id="billing",
        provider_type="openai",
        source="agent",
        skills=("read_ticket", "fetch_order", "check_policy", "compute_refund", "issue_refund", "send_email"),
        runs_per_day=30,
        step_ms=1_300,
        pause_ms=4_000,
        cost_usd=0.048,
        failure_rate=0.08,
        costly_of_today=1,
    ),
    Agent(
        agent_id="knowledge-answerer",
        goal="Answer the question from the knowledge base",
        project_id="helpdesk",
        provider_type="anthropic",
        source="sdk",
        skills=("embed_question", "vector_search", "rerank", "draft_answer", "check_citations"),
        runs_per_day=40,
        step_ms=1_000,
        pause_ms=6_000,
        cost_usd=0.021,
        costly_factor=14.0,
        costly_of_past=30,
        costly_of_today=4,
    ),
    Agent(
        agent_id="escalation-writer",
        goal="Write the escalation for the on-call engineer",
        project_id="helpdesk",
        provider_type="internal",
        source="human",
        skills=("collect_history", "summarize_thread", "find_owner", "draft_escalation", "page_owner"),
        runs_per_day=10,
        step_ms=1_800,
        pause_ms=20_000,
        cost_usd=0.09,
    ),
)

_RESEARCH: Final = (
    Agent(
        agent_id="literature-scout",
        goal="Find the papers that bear on the question",
        project_id="discovery",
        provider_type="anthropic",
        source="agent",
        skills=("expand_query", "search_papers", "fetch_abstracts", "score_relevance", "fetch_pdf", "extract_claims"),
        runs_per_day=34,
        step_ms=1_900,
        pause_ms=9_000,
        cost_usd=0.14,
    ),
    Agent(
        agent_id="web-crawler",
        goal="Collect the sources of the brief",
        project_id="discovery",
        provider_type="openai",
        source="sdk",
        skills=("plan_crawl", "fetch_page", "parse_html", "dedupe_sources", "store_document"),
        runs_per_day=44,
        step_ms=1_600,
        pause_ms=3_000,
        cost_usd=0.03,
        failure_rate=0.11,
        costly_factor=14.0,
        costly_of_past=30,
        costly_of_today=4,
    ),
    Agent(
        agent_id="report-writer",
        goal="Write the weekly findings",
        project_id="publishing",
        provider_type="anthropic",
        source="agent",
        skills=("load_notes", "outline_report", "draft_section", "verify_numbers", "render_charts", "publish_report"),
        runs_per_day=14,
        step_ms=2_600,
        pause_ms=28_000,
        cost_usd=0.62,
        costly_of_today=1,
    ),
    Agent(
        agent_id="data-analyst",
        goal="Answer the analyst's question with SQL",
        project_id="publishing",
        provider_type="openai",
        source="human",
        skills=("inspect_schema", "write_sql", "run_query", "plot_result", "explain_result"),
        runs_per_day=22,
        step_ms=1_400,
        pause_ms=7_000,
        cost_usd=0.11,
    ),
)

_OPERATIONS: Final = (
    Agent(
        agent_id="deploy-sentinel",
        goal="Watch the rollout and stop it when it goes wrong",
        project_id="platform",
        provider_type="internal",
        source="agent",
        skills=("read_manifest", "watch_rollout", "query_metrics", "compare_canary", "approve_stage"),
        runs_per_day=24,
        step_ms=900,
        pause_ms=24_000,
        cost_usd=0.016,
    ),
    Agent(
        agent_id="incident-responder",
        goal="Find the cause of the alert",
        project_id="platform",
        provider_type="anthropic",
        source="agent",
        skills=("read_alert", "query_logs", "query_metrics", "inspect_deploys", "propose_fix", "open_incident"),
        runs_per_day=18,
        step_ms=2_100,
        pause_ms=11_000,
        cost_usd=0.21,
        failure_rate=0.12,
        costly_of_today=1,
    ),
    Agent(
        agent_id="log-summarizer",
        goal="Summarize the night's errors",
        project_id="observability",
        provider_type="openai",
        source="sdk",
        skills=("list_streams", "sample_logs", "cluster_errors", "summarize_cluster", "post_digest"),
        runs_per_day=30,
        step_ms=1_200,
        pause_ms=2_500,
        cost_usd=0.034,
        costly_factor=14.0,
        costly_of_past=30,
        costly_of_today=4,
    ),
)

_SANDBOX: Final = (
    Agent(
        agent_id="playground",
        goal="Try the agent out",
        project_id="sandbox",
        provider_type="anthropic",
        source="human",
        skills=("read_prompt", "call_model", "show_answer"),
        runs_per_day=2,
        step_ms=900,
        pause_ms=2_000,
        cost_usd=0.008,
    ),
)

#: The agents of each tenant; in the sandbox almost nothing happens, so that an empty answer can be seen as well.
TENANTS: Final[Mapping[str, Sequence[Agent]]] = {
    DEMO_TENANT: _SUPPORT,
    "globex-research": _RESEARCH,
    "initech-ops": _OPERATIONS,
    "umbra-sandbox": _SANDBOX,
}
#: The tenants in which something happens.
BUSY_TENANTS: Final = tuple(tenant for tenant, agents in TENANTS.items() if agents is not _SANDBOX)


def find_agent(tenant: str, agent_id: str) -> Agent | None:
    """Return an agent by its name, or None when the demo has none of that name."""
    return next((agent for agent in TENANTS.get(tenant, ()) if agent.agent_id == agent_id), None)
