"""Answers to senders, in the request's encoding: OTLP's response, or google.rpc.Status for a refusal.

Source: OTLP specification, "OTLP/HTTP Response": full success, partial success, failures, throttling.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from google.protobuf import json_format
from google.rpc import code_pb2
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from snapshots.errors import ActivityError

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping

    from google.protobuf.message import Message

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"

#: The code of google.rpc for each HTTP status that we send.
_CODES: Final[Mapping[int, int]] = {
    400: code_pb2.INVALID_ARGUMENT,
    401: code_pb2.UNAUTHENTICATED,
    403: code_pb2.PERMISSION_DENIED,
    404: code_pb2.NOT_FOUND,
    405: code_pb2.UNIMPLEMENTED,
    408: code_pb2.DEADLINE_EXCEEDED,
    413: code_pb2.RESOURCE_EXHAUSTED,
    415: code_pb2.INVALID_ARGUMENT,
    429: code_pb2.RESOURCE_EXHAUSTED,
    503: code_pb2.UNAVAILABLE,
}
#: Reasons that a partial success names at most.
_REASONS: Final = 5


class RefusalError(ActivityError):
    """A request is refused: the HTTP status, one sentence, and seconds after which to try again where that helps."""

    def __init__(
        self, status: int, message: str, *, retry_after_s: int | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        """Take the HTTP status and the sentence."""
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
        if retry_after_s is not None:
            self.headers["Retry-After"] = str(retry_after_s)


def refusal(ex: RefusalError, media_type: str) -> bytes:
    """Return the body of a refusal."""
    return _encoded(Status(code=_CODES.get(ex.status, code_pb2.INTERNAL), message=str(ex)), media_type)


def success(refused: Counter[str], media_type: str) -> bytes:
    """Return the body of a success; a partial one where spans were refused, with their number and the reasons."""
    response = ExportTraceServiceResponse()
    if refused:
        named = [f"{times} spans: {reason}" for reason, times in refused.most_common(_REASONS)]
        more = f"; {len(refused) - _REASONS} more reasons" if len(refused) > _REASONS else ""
        response.partial_success.rejected_spans = refused.total()
        response.partial_success.error_message = "; ".join(named) + more
    return _encoded(response, media_type)


def _encoded(message: Message, media_type: str) -> bytes:
    if media_type == PROTOBUF:
        return message.SerializeToString()
    return json.dumps(json_format.MessageToDict(message)).encode()
