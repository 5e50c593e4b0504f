"""OTLP requests: protobuf and JSON, read by the messages of OpenTelemetry's own package.

Each span stands by itself: one that cannot be taken is refused, and the others go on. Source: OTLP 1.x, sections
"OTLP/HTTP" and "JSON Protobuf Encoding": ids are hexadecimal there, enums are numbers, unknown fields are ignored.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from ingest.conventions.describe import KNOWN, describe
from ingest.spans import Span, SpanError, check_times
from snapshots.errors import ActivityError, first_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

#: Spans of one request; more are too many to hold at a time.
MAX_SPANS: Final = 20_000
_TRACE_ID_BYTES: Final = 16
_SPAN_ID_BYTES: Final = 8
_IS_REMOTE: Final = trace_pb2.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK | trace_pb2.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK
_PLAIN: Final = frozenset({"string_value", "int_value", "double_value", "bool_value"})
#: The members of a span that are read from JSON, its ids and attributes apart.
_READ: Final = ("name", "flags", "startTimeUnixNano", "endTimeUnixNano")


class UnreadableRequestError(ActivityError):
    """A request is no OTLP request; the message says why."""


class TooManySpansError(ActivityError):
    """A request holds more spans than are read at a time."""


def read_protobuf(body: bytes, now_ns: int) -> Iterator[Span | SpanError]:
    """Yield the spans of a protobuf request, and what is wrong with those that cannot be taken.

    Raises UnreadableRequestError for what is no request, before anything is yielded.
    """
    try:
        request = ExportTraceServiceRequest.FromString(body)
    except DecodeError:
        raise UnreadableRequestError("expected an ExportTraceServiceRequest in protobuf") from None
    found = [
        (_values(each.resource.attributes), [span for scope in each.scope_spans for span in scope.spans])
        for each in request.resource_spans
    ]
    if sum(len(spans) for _, spans in found) > MAX_SPANS:
        raise _too_many()
    return (_taken(message, resource, now_ns) for resource, spans in found for message in spans)


def read_json(body: bytes, now_ns: int) -> Iterator[Span | SpanError]:
    """Yield the spans of a JSON request, and what is wrong with those that cannot be taken.

    Raises UnreadableRequestError for what is no request, before anything is yielded.
    """
    try:
        document = json.loads(body.decode())
    except UnicodeDecodeError:
        raise UnreadableRequestError("not UTF-8") from None
    except RecursionError:
        raise UnreadableRequestError("broken JSON: nested too deeply") from None
    except ValueError as ex:
        raise UnreadableRequestError(f"broken JSON: {ex}") from None
    request = _object(document, "request")
    if request and "resourceSpans" not in request:
        raise UnreadableRequestError("resourceSpans: missing; expected an ExportTraceServiceRequest")
    found: list[tuple[Mapping[str, object], list[object]]] = []
    for each in _list(request, "resourceSpans"):
        member = _object(each, "resourceSpans")
        try:
            resource = _values(_json_attributes(_object(member.get("resource") or {}, "resource")))
        except SpanError as ex:
            raise UnreadableRequestError(f"resource.{ex}") from None
        found += [(resource, _list(_object(scope, "scopeSpans"), "spans")) for scope in _list(member, "scopeSpans")]
    if sum(len(spans) for _, spans in found) > MAX_SPANS:
        raise _too_many()
    return (_of_json(span, resource, now_ns) for resource, spans in found for span in spans)


def _object(value: object, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UnreadableRequestError(f"{name}: expected a JSON object")
    return value


def _list(document: Mapping[str, Any], name: str) -> list[object]:
    value = document.get(name) or []
    if not isinstance(value, list):
        raise UnreadableRequestError(f"{name}: expected a JSON array")
    return value


def _json_attributes(holder: Mapping[str, Any]) -> Iterable[KeyValue]:
    """Return the attributes that are read; the others are not even looked at."""
    found = holder.get("attributes") or []
    if not isinstance(found, list):
        raise SpanError("attributes: expected a JSON array")
    keyed = [each for each in found if isinstance(each, dict) and isinstance(each.get("key"), str)]
    known = [each for each in keyed if each["key"] in KNOWN]
    try:
        return [json_format.ParseDict(each, KeyValue(), ignore_unknown_fields=True) for each in known]
    except (json_format.ParseError, ValueError, TypeError, RecursionError):
        raise SpanError("attributes: expected key and value as OTLP writes them") from None


def _of_json(document: object, resource: Mapping[str, object], now_ns: int) -> Span | SpanError:
    try:
        if not isinstance(document, dict):
            raise SpanError("span: expected a JSON object")  # noqa: TRY301  # one handler makes the answer
        read = {name: document[name] for name in _READ if document.get(name) is not None}
        status = document.get("status")
        if isinstance(status, dict) and status.get("code") is not None:
            read["status"] = {"code": status["code"]}
        message = json_format.ParseDict(read, trace_pb2.Span(), ignore_unknown_fields=True)
        message.trace_id = _hexadecimal(document, "traceId")
        message.span_id = _hexadecimal(document, "spanId")
        message.parent_span_id = _hexadecimal(document, "parentSpanId")
        message.attributes.extend(_json_attributes(document))
    except SpanError as ex:
        return ex
    except (json_format.ParseError, ValueError, TypeError, OverflowError) as ex:
        return SpanError(first_line(ex).encode("utf-8", "replace").decode() or "span")
    return _taken(message, resource, now_ns)


def _hexadecimal(document: Mapping[str, Any], name: str) -> bytes:
    value = document.get(name) or ""
    try:
        return bytes.fromhex(value)
    except (ValueError, TypeError):
        raise SpanError(f"{name}: expected hexadecimal text") from None


def _taken(message: trace_pb2.Span, resource: Mapping[str, object], now_ns: int) -> Span | SpanError:
    """Return the span that `message` is, or what is wrong with it."""
    try:
        trace_id = _id(message.trace_id, _TRACE_ID_BYTES, "traceId")
        span_id = _id(message.span_id, _SPAN_ID_BYTES, "spanId")
        parent = _id(message.parent_span_id, _SPAN_ID_BYTES, "parentSpanId") if any(message.parent_span_id) else None
        check_times(message.start_time_unix_nano, message.end_time_unix_nano, now_ns)
    except SpanError as ex:
        return ex
    described = describe(message.name, _values(message.attributes), resource)
    return Span(
        trace_id=trace_id,
        span_id=span_id,
        parent_id=parent,
        is_root=parent is None or (message.flags & _IS_REMOTE == _IS_REMOTE and described["kind"] == "agent"),
        started_ns=message.start_time_unix_nano,
        ended_ns=message.end_time_unix_nano,
        is_failed=message.status.code == trace_pb2.Status.STATUS_CODE_ERROR or described["error"] is not None,
        **described,
    )


def _id(value: bytes, size: int, name: str) -> str:
    if len(value) != size or not any(value):
        raise SpanError(f"{name}: expected {size} bytes that are not all zero")
    return value.hex()


def _values(attributes: Iterable[KeyValue]) -> Mapping[str, object]:
    """Return the attributes that are read, by name; lists and maps have no value."""
    found = {}
    for each in attributes:
        if each.key in KNOWN:
            kind = each.value.WhichOneof("value")
            found[each.key] = getattr(each.value, kind) if kind in _PLAIN else None
    return found


def _too_many() -> TooManySpansError:
    return TooManySpansError(f"more than {MAX_SPANS} spans in one request; send smaller batches")
