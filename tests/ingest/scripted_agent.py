"""An agent that says what it does through the stock OpenTelemetry SDK; run as a script, beside the receiver.

Usage: scripted_agent.py; the SDK reads the endpoint and the key from its own variables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

if TYPE_CHECKING:
    from opentelemetry import trace

#: The loop that is planted: a tool is used so often in one trace, and fails and is retried now and then.
USES = 7
RETRIES = (0, 1, 0, 2, 0, 0, 1)


def main() -> None:
    """Run the agent twice: once in a loop, once without."""
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    tracer = provider.get_tracer("scripted-agent")
    looping = _run(tracer, "looper", ["search_orders"] * USES, RETRIES)
    steady = _run(tracer, "steady", ["read_file", "write_file"], (0, 0))
    provider.shutdown()
    print(looping, steady)  # noqa: T201  # the test reads it


def _run(tracer: trace.Tracer, agent: str, tools: list[str], retries: tuple[int, ...]) -> str:
    values = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": agent, "gen_ai.provider.name": "openai"}
    with tracer.start_as_current_span(f"invoke_agent {agent}", attributes=values) as root:
        for tool, times in zip(tools, retries, strict=True):
            _think(tracer)
            _use(tracer, tool, times)
    return f"{root.get_span_context().trace_id:032x}"


def _think(tracer: trace.Tracer) -> None:
    values: dict[str, str | int] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.usage.input_tokens": 1000,
        "gen_ai.usage.output_tokens": 100,
    }
    with tracer.start_as_current_span("chat gpt-4o", attributes=values):
        pass


def _use(tracer: trace.Tracer, tool: str, retries: int) -> None:
    values = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": tool}
    with tracer.start_as_current_span(f"execute_tool {tool}", attributes=values):
        for attempt in range(1, retries + 1):
            with tracer.start_as_current_span("GET", attributes={"http.request.resend_count": attempt}):
                pass


if __name__ == "__main__":
    main()
