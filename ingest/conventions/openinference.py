"""OpenInference attributes, as Phoenix and its instrumentations write them.

Source: OpenInference specification, "Semantic Conventions".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ingest.conventions.names import Names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ingest.spans import Kind

SPAN_KIND: Final = "openinference.span.kind"
EMBEDDING: Final = "EMBEDDING"

NAMES: Final = Names(
    agent=("agent.name",),
    tool=("tool.name",),
    model=("llm.response.model_name", "llm.model_name", "llm.request.model_name", "embedding.model_name"),
    provider=("llm.provider", "llm.system"),
    input_tokens=("llm.token_count.prompt",),
    output_tokens=("llm.token_count.completion",),
    cached_tokens=("llm.token_count.prompt_details.cache_read",),
    cost_usd=("llm.cost.total",),
    conversation=("session.id",),
    project=("openinference.project.name",),
)

#: Kinds of a span by its span kind, in upper case.
KINDS: Final[Mapping[str, Kind]] = {
    "LLM": "model",
    EMBEDDING: "model",
    "TOOL": "tool",
    "RETRIEVER": "tool",
    "RERANKER": "tool",
    "GUARDRAIL": "tool",
    "AGENT": "agent",
}
