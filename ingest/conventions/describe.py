"""Fields of a span from its attributes, whichever vocabulary they are in.

docs/opentelemetry.md holds the table. An attribute that no vocabulary names is neither read nor stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ingest.conventions import activity, genai, langfuse, openinference
from ingest.conventions.names import joined
from ingest.spans import CODE_CHARACTERS, MOST_RETRIES, MOST_TOKENS, PROJECT_CHARACTERS, amount, count, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ingest.spans import Kind

_NAMES: Final = joined(activity.NAMES, genai.NAMES, openinference.NAMES, langfuse.NAMES)
_KIND_NAMES: Final = (genai.OPERATION, openinference.SPAN_KIND, langfuse.OBSERVATION_TYPE)

#: Every attribute that is read.
KNOWN: Final = frozenset({*_KIND_NAMES, *(name for names in _NAMES for name in names)})


def describe(name: str, values: Mapping[str, object], resource: Mapping[str, object]) -> dict[str, Any]:
    """Return the fields of a span named `name` that its attributes and those of its resource decide."""
    kind, operation = _kind(values)
    model = text(_first(values, _NAMES.model))
    agent = text(_first(values, _NAMES.agent)) or (_without_operation(name) if kind == "agent" else None)
    tool = text(_first(values, _NAMES.tool)) if kind == "tool" else None
    return {
        "kind": kind,
        "name": text(name) or "",
        "error": text(_first(values, _NAMES.error), CODE_CHARACTERS),
        "agent": agent or text(_first(resource, _NAMES.service)),
        "skill": tool or skill_of(kind, name, model, operation),
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
    """Return the skill of a step: the tool, or the operation and the model; None where the span is no step."""
    if kind == "tool":
        return _without_operation(name)
    if kind == "model":
        return text(f"{operation or 'chat'} {model}" if model else operation or name)
    return None


def _kind(values: Mapping[str, object]) -> tuple[Kind, str | None]:
    """Return a span's kind, and the operation that it names."""
    operation = text(values.get(genai.OPERATION), CODE_CHARACTERS)
    if operation is not None and operation in genai.KINDS:
        return genai.KINDS[operation], operation
    span_kind = str(values.get(openinference.SPAN_KIND, "")).upper()
    if span_kind in openinference.KINDS:
        return openinference.KINDS[span_kind], "embeddings" if span_kind == openinference.EMBEDDING else None
    kind = langfuse.KINDS.get(str(values.get(langfuse.OBSERVATION_TYPE, "")).lower())
    if kind is None and genai.TOOL in values:
        # Older instrumentation names the tool or the model alone.
        kind = "tool"
    elif kind is None:
        kind = "model" if genai.REQUEST_MODEL in values else "other"
    return kind, operation


def _without_operation(name: str) -> str | None:
    found = (name.removeprefix(each) for each in genai.NAME_PREFIXES if name.startswith(each))
    return text(next(found, name))


def _first(values: Mapping[str, object], names: Iterable[str]) -> object:
    return next((values[name] for name in names if values.get(name) not in (None, "")), None)
