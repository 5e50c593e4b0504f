"""OpenTelemetry semantic conventions: the GenAI attributes, present and deprecated, and the general ones beside them.

Sources: OpenTelemetry semantic conventions, "GenAI", "HTTP", "Error" and "Service" attributes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ingest.conventions.names import Names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ingest.spans import Kind

OPERATION: Final = "gen_ai.operation.name"
TOOL: Final = "gen_ai.tool.name"
REQUEST_MODEL: Final = "gen_ai.request.model"

NAMES: Final = Names(
    error=("error.type",),
    agent=("gen_ai.agent.id", "gen_ai.agent.name"),
    tool=(TOOL,),
    model=("gen_ai.response.model", REQUEST_MODEL),
    # gen_ai.system became gen_ai.provider.name in 1.37.
    provider=("gen_ai.provider.name", "gen_ai.system"),
    # prompt_tokens and completion_tokens became input_tokens and output_tokens in 1.27.
    input_tokens=("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"),
    output_tokens=("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
    cached_tokens=("gen_ai.usage.cache_read.input_tokens",),
    # Not part of the conventions; written by several instrumentations.
    cost_usd=("gen_ai.usage.cost",),
    retries=("http.request.resend_count",),
    conversation=("gen_ai.conversation.id",),
    service=("service.name",),
)

#: Kinds of a span by its operation.
KINDS: Final[Mapping[str, Kind]] = {
    "chat": "model",
    "generate_content": "model",
    "text_completion": "model",
    "embeddings": "model",
    "execute_tool": "tool",
    "retrieval": "tool",
    "create_agent": "agent",
    "invoke_agent": "agent",
    "invoke_workflow": "agent",
}
#: Operations that stand before a tool's or an agent's name in the name of a span.
NAME_PREFIXES: Final = ("execute_tool ", "invoke_agent ", "create_agent ", "invoke_workflow ")
