"""OTLP as an instrumented agent sends it, in JSON, with named defaults: a test states what matters to it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path

#: When the agent of these tests begins, unless they say otherwise.
START: Final = datetime(2026, 1, 17, 11, 0, tzinfo=UTC)
TRACE: Final = "0af7651916cd43dd8448eb211c80319c"
TENANT: Final = "acme"

Document = dict[str, Any]


def span_id(number: int) -> str:
    return f"{number:016x}"


def attributes(values: dict[str, object]) -> list[Document]:
    return [{"key": key, "value": _value(value)} for key, value in values.items()]


def _value(value: object) -> Document:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    return {"doubleValue": value} if isinstance(value, float) else {"stringValue": value}


def span(number: int, name: str, at_ms: float = 0, ms: float = 100, **more: Any) -> Document:  # noqa: ANN401  # any member
    """Return a span that begins `at_ms` after START; the keyword `values` holds its attributes."""
    began = int(START.timestamp() * 1000) + at_ms
    document = {
        "traceId": TRACE,
        "spanId": span_id(number),
        "parentSpanId": span_id(1) if number > 1 else "",
        "name": name,
        "kind": 1,
        "startTimeUnixNano": str(int(began * 1_000_000)),
        "endTimeUnixNano": str(int((began + ms) * 1_000_000)),
        "attributes": attributes(more.pop("values", {})),
        "status": {},
    }
    return document | more


def agent(number: int = 1, name: str = "planner", ms: float = 10_000, **more: Any) -> Document:  # noqa: ANN401  # any member
    values = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": name, **more.pop("values", {})}
    return span(number, f"invoke_agent {name}", 0, ms, values=values, **more)


def tool(number: int, name: str, at_ms: float = 0, **more: Any) -> Document:  # noqa: ANN401  # any member
    values = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": name, **more.pop("values", {})}
    return span(number, f"execute_tool {name}", at_ms, values=values, **more)


def chat(
    number: int,
    at_ms: float = 0,
    model: str = "gpt-4o",
    tokens: tuple[int, int] = (1000, 100),
    **more: Any,  # noqa: ANN401  # any member
) -> Document:
    values = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": model,
        "gen_ai.usage.input_tokens": tokens[0],
        "gen_ai.usage.output_tokens": tokens[1],
        **more.pop("values", {}),
    }
    return span(number, f"chat {model}", at_ms, values=values, **more)


def request(*spans: Document, resource: dict[str, object] | None = None) -> Document:
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": attributes({"service.name": "shop", **(resource or {})})},
                "scopeSpans": [{"scope": {"name": "agents"}, "spans": list(spans)}],
            }
        ]
    }


def body(*spans: Document, **more: Any) -> bytes:  # noqa: ANN401  # those of `request`
    return json.dumps(request(*spans, **more)).encode()


def write(path: Path, *requests: Document) -> Path:
    """Write a file as the collector's file exporter does: one request on each line."""
    path.write_text("".join(json.dumps(each) + "\n" for each in requests))
    return path
