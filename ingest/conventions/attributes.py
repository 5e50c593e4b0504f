"""What the attributes of a span say: the GenAI conventions of OpenTelemetry, OpenInference's, and Langfuse's names.

Source: docs/opentelemetry.md holds the table. An attribute that is not named here is never read, and never kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from openinference.semconv.resource import ResourceAttributes
from openinference.semconv.trace import OpenInferenceSpanKindValues, SpanAttributes
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as gen_ai
from opentelemetry.semconv._incubating.attributes import http_attributes as http
from opentelemetry.semconv.attributes import error_attributes, service_attributes

from ingest.assembly.spans import CODE_CHARACTERS, MOST_RETRIES, MOST_TOKENS, PROJECT_CHARACTERS, amount, count, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ingest.assembly.spans import Kind


class _Names(NamedTuple):
    """The attributes that a field may come from; the first that is there wins."""

    error: tuple[str, ...] = (error_attributes.ERROR_TYPE,)
    agent: tuple[str, ...] = (gen_ai.GEN_AI_AGENT_ID, gen_ai.GEN_AI_AGENT_NAME, SpanAttributes.AGENT_NAME)
    tool: tuple[str, ...] = (gen_ai.GEN_AI_TOOL_NAME, SpanAttributes.TOOL_NAME)
    model: tuple[str, ...] = (
        gen_ai.GEN_AI_RESPONSE_MODEL,
        gen_ai.GEN_AI_REQUEST_MODEL,
        SpanAttributes.LLM_RESPONSE_MODEL_NAME,
        SpanAttributes.LLM_MODEL_NAME,
        SpanAttributes.LLM_REQUEST_MODEL_NAME,
        SpanAttributes.EMBEDDING_MODEL_NAME,
        "langfuse.observation.model.name",
    )
    provider: tuple[str, ...] = (
        gen_ai.GEN_AI_PROVIDER_NAME,
        gen_ai.GEN_AI_SYSTEM,
        SpanAttributes.LLM_PROVIDER,
        SpanAttributes.LLM_SYSTEM,
    )
    input_tokens: tuple[str, ...] = (
        gen_ai.GEN_AI_USAGE_INPUT_TOKENS,
        gen_ai.GEN_AI_USAGE_PROMPT_TOKENS,
        SpanAttributes.LLM_TOKEN_COUNT_PROMPT,
    )
    output_tokens: tuple[str, ...] = (
        gen_ai.GEN_AI_USAGE_OUTPUT_TOKENS,
        gen_ai.GEN_AI_USAGE_COMPLETION_TOKENS,
        SpanAttributes.LLM_TOKEN_COUNT_COMPLETION,
    )
    cached_tokens: tuple[str, ...] = (
        gen_ai.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS,
        SpanAttributes.LLM_TOKEN_COUNT_PROMPT_DETAILS_CACHE_READ,
    )
    cost_usd: tuple[str, ...] = ("gen_ai.usage.cost", SpanAttributes.LLM_COST_TOTAL)
    retries: tuple[str, ...] = ("activity.retry_count", http.HTTP_REQUEST_RESEND_COUNT)
    conversation: tuple[str, ...] = (gen_ai.GEN_AI_CONVERSATION_ID, SpanAttributes.SESSION_ID)
    project: tuple[str, ...] = ("activity.project_id", ResourceAttributes.PROJECT_NAME)
    service: tuple[str, ...] = (service_attributes.SERVICE_NAME,)


_NAMES: Final = _Names()
_OPERATION: Final = gen_ai.GEN_AI_OPERATION_NAME
_OPENINFERENCE: Final = SpanAttributes.OPENINFERENCE_SPAN_KIND
_LANGFUSE: Final = "langfuse.observation.type"

#: Every attribute that is read.
KNOWN: Final = frozenset({_OPERATION, _OPENINFERENCE, _LANGFUSE, *(name for names in _NAMES for name in names)})

_Operation = gen_ai.GenAiOperationNameValues
_ByOpenInference = OpenInferenceSpanKindValues
_KINDS: Final[Mapping[str, Kind]] = {
    **dict.fromkeys(
        (each.value for each in (_Operation.CHAT, _Operation.GENERATE_CONTENT, _Operation.TEXT_COMPLETION)), "model"
    ),
    _Operation.EMBEDDINGS.value: "model",
    _Operation.EXECUTE_TOOL.value: "tool",
    _Operation.RETRIEVAL.value: "tool",
    **dict.fromkeys((_Operation.CREATE_AGENT.value, _Operation.INVOKE_AGENT.value, "invoke_workflow"), "agent"),
}
_OPENINFERENCE_KINDS: Final[Mapping[str, Kind]] = {
    **dict.fromkeys((_ByOpenInference.LLM.value, _ByOpenInference.EMBEDDING.value), "model"),
    **dict.fromkeys(
        (each.value for each in (_ByOpenInference.TOOL, _ByOpenInference.RETRIEVER, _ByOpenInference.RERANKER)), "tool"
    ),
    _ByOpenInference.GUARDRAIL.value: "tool",
    _ByOpenInference.AGENT.value: "agent",
}
#: The types of Langfuse's observations, in lower case.
LANGFUSE_KINDS: Final[Mapping[str, Kind]] = {
    **dict.fromkeys(("generation", "embedding"), "model"),
    **dict.fromkeys(("tool", "retriever", "guardrail"), "tool"),
    "agent": "agent",
}
#: What frameworks put before a tool's or an agent's name in the name of a span.
_PREFIXES: Final = ("execute_tool ", "invoke_agent ", "create_agent ", "invoke_workflow ")


def describe(name: str, values: Mapping[str, object], resource: Mapping[str, object]) -> dict[str, Any]:
    """Return the fields of a span named `name` that its attributes and those of its resource decide."""
    kind, operation = _kind(values)
    model = text(_first(values, _NAMES.model))
    agent = text(_first(values, _NAMES.agent)) or (_bare(name) if kind == "agent" else None)
    return {
        "kind": kind,
        "name": text(name) or "",
        "error": text(_first(values, _NAMES.error), CODE_CHARACTERS),
        "agent": agent or text(_first(resource, _NAMES.service)),
        "skill": _skill(kind, operation, name, model, values),
        "model": model,
        "provider": text(_first(values, _NAMES.provider), CODE_CHARACTERS),
        "input_tokens": count(_first(values, _NAMES.input_tokens), MOST_TOKENS),
        "output_tokens": count(_first(values, _NAMES.output_tokens), MOST_TOKENS),
        "cached_tokens": count(_first(values, _NAMES.cached_tokens), MOST_TOKENS),
        "cost_usd": amount(_first(values, _NAMES.cost_usd)),
        "retries": count(_first(values, _NAMES.retries), MOST_RETRIES) or 0,
        "conversation": text(_first(values, _NAMES.conversation), CODE_CHARACTERS),
        "project": text(_first(values, _NAMES.project) or _first(resource, _NAMES.project), PROJECT_CHARACTERS),
    }


def skill_of(kind: Kind, name: str, model: str | None, operation: str | None = None) -> str | None:
    """Return what a step is called: the tool, or the operation and the model; None where the span is no step."""
    if kind == "tool":
        return _bare(name)
    if kind == "model":
        return text(f"{operation or 'chat'} {model}" if model else operation or name)
    return None


def _skill(kind: Kind, operation: str | None, name: str, model: str | None, values: Mapping[str, object]) -> str | None:
    tool = text(_first(values, _NAMES.tool)) if kind == "tool" else None
    return tool or skill_of(kind, name, model, operation)


def _bare(name: str) -> str | None:
    return text(next((name.removeprefix(each) for each in _PREFIXES if name.startswith(each)), name))


def _kind(values: Mapping[str, object]) -> tuple[Kind, str | None]:
    """Return what a span is, and the operation that it names."""
    operation = text(values.get(_OPERATION), CODE_CHARACTERS)
    if operation is not None and operation in _KINDS:
        return _KINDS[operation], operation
    openinference = str(values.get(_OPENINFERENCE, "")).upper()
    if openinference in _OPENINFERENCE_KINDS:
        kind = _OPENINFERENCE_KINDS[openinference]
        return kind, "embeddings" if openinference == _ByOpenInference.EMBEDDING.value else None
    langfuse = LANGFUSE_KINDS.get(str(values.get(_LANGFUSE, "")).lower())
    return langfuse or _guessed(values), operation


def _guessed(values: Mapping[str, object]) -> Kind:
    """Return what a span is that does not say so: older instrumentation names the tool or the model alone."""
    if gen_ai.GEN_AI_TOOL_NAME in values:
        return "tool"
    return "model" if gen_ai.GEN_AI_REQUEST_MODEL in values else "other"


def _first(values: Mapping[str, object], names: Iterable[str]) -> object:
    return next((values[name] for name in names if values.get(name) not in (None, "")), None)
