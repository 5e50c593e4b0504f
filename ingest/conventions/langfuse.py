"""Langfuse attributes and observation types, as its SDK and its export write them.

Source: Langfuse's documentation, "OpenTelemetry: property mapping".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ingest.conventions.names import Names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ingest.spans import Kind

OBSERVATION_TYPE: Final = "langfuse.observation.type"

NAMES: Final = Names(model=("langfuse.observation.model.name",))

#: Kinds of a span by its observation's type, in lower case.
KINDS: Final[Mapping[str, Kind]] = {
    "generation": "model",
    "embedding": "model",
    "tool": "tool",
    "retriever": "tool",
    "guardrail": "tool",
    "agent": "agent",
}
