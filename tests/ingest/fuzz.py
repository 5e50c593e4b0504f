"""Hostile bodies, made from good ones by a seeded generator: cut, flipped, mistyped, nested, huge."""

from __future__ import annotations

import base64
import copy
import gzip
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from ingest.otlp.answers import JSON, PROTOBUF
from tests.ingest.spans import agent, chat, request, span, tool

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from tests.ingest.spans import Document

_ODD: Final[tuple[object, ...]] = (
    None, True, -1, 0, 1e308, float("nan"), float("inf"), 2**63, 2**64, -(2**63), 10**400, "", "\0", "\ud800", "zz",
    "9" * 5000, [], {}, [[]], {"a": 1}, "NaN", "\U0001f600" * 200, [None], {"values": []}, "-5", " 7",
)  # fmt: skip
_HUGE: Final = 1_200_000


@dataclass(frozen=True, slots=True)
class Case:
    """A request: its kind for the report, its body, and the headers that say what it pretends to be."""

    kind: str
    content: bytes
    media_type: str
    encoding: str = ""


def good(random: Random) -> Document:
    """Return a request of one trace that is in order."""
    trace_id = f"{random.getrandbits(128) | 1:032x}"
    kinds: tuple[Callable[[int], Document], ...] = (
        lambda n: tool(n, random.choice(("search", "read", "x" * 300)), n * 10),
        lambda n: chat(n, n * 10),
        lambda n: span(n, "GET", n * 10, values={"http.request.resend_count": n}),
    )
    spans = [agent(), *(random.choice(kinds)(n) for n in range(2, random.randint(3, 9)))]
    return request(*({**each, "traceId": trace_id} for each in spans))


def case(random: Random) -> Case:
    """Return the next case."""
    return random.choice(_MAKERS)(random)


def line(random: Random) -> bytes:
    """Return a line of a file: a case in JSON without its line ends."""
    made = random.choice((_mistyped, _cut_json, _nested, _not_utf8, _sound))(random)
    return made.content.replace(b"\n", b" ")


def _sound(random: Random) -> Case:
    return Case("sound", json.dumps(good(random)).encode(), JSON)


def _sound_protobuf(random: Random) -> Case:
    return Case("sound protobuf", protobuf(good(random)), PROTOBUF)


def _mistyped(random: Random) -> Case:
    document = good(random)
    for _ in range(random.randint(1, 4)):
        _replace(document, random)
    return Case("mistyped", json.dumps(document).encode("utf-8", "surrogatepass"), JSON)


def _replace(document: Any, random: Random) -> None:  # noqa: ANN401  # any JSON
    """Put an odd value somewhere in a document."""
    at = document
    while True:
        keys = list(at) if isinstance(at, dict) else range(len(at))
        key = random.choice(list(keys))
        below = at[key]
        if not isinstance(below, dict | list) or not below or random.random() < 0.15:
            at[key] = copy.deepcopy(random.choice(_ODD))
            return
        at = below


def _cut_json(random: Random) -> Case:
    content = json.dumps(good(random)).encode()
    return Case("cut", content[: random.randrange(len(content))], JSON)


def _cut_protobuf(random: Random) -> Case:
    content = protobuf(good(random))
    return Case("cut protobuf", content[: random.randrange(len(content))], PROTOBUF)


def _flipped(random: Random) -> Case:
    content = bytearray(protobuf(good(random)))
    for _ in range(random.randint(1, 20)):
        content[random.randrange(len(content))] = random.randrange(256)
    return Case("flipped protobuf", bytes(content), PROTOBUF)


def _noise(random: Random) -> Case:
    return Case("noise", random.randbytes(random.randint(0, 2000)), random.choice((JSON, PROTOBUF, "text/plain", "")))


def _nested(random: Random) -> Case:
    depth = random.choice((10, 100, 900, 5000, 100_000))
    value = random.choice(("[", '{"a":', '{"resourceSpans":[')) * depth
    return Case("nested", value.encode(), JSON)


def _nested_value(random: Random) -> Case:
    depth = random.choice((5, 60, 150, 3000))
    inner = '{"arrayValue":{"values":[' * depth + "]}}" * depth
    document = json.dumps(good(random)).replace(
        '"status": {}', f'"attributes": [{{"key":"agent.name","value":{inner}}}]'
    )
    return Case("nested value", document.encode(), JSON)


def _not_utf8(random: Random) -> Case:
    content = bytearray(json.dumps(good(random)).encode())
    content[random.randrange(len(content))] = random.randrange(128, 256)
    return Case("not UTF-8", bytes(content), JSON)


def _huge(random: Random) -> Case:
    filler = random.choice((b" ", b"[],", b"{},", b"\x12\x00", b'{"a":0},'))
    start = random.choice((b'{"resourceSpans":[{"scopeSpans":[{"spans":[', b""))
    content = start + filler * (random.randint(_HUGE // 2, _HUGE) // len(filler))
    return Case("huge", content, random.choice((JSON, PROTOBUF)))


def _bomb(random: Random) -> Case:
    content = gzip.compress(bytes(random.choice((1_000, 3_000_000, 30_000_000))), 9)
    return Case("bomb", content if random.random() < 0.5 else content[:-5], random.choice((JSON, PROTOBUF)), "gzip")


def _zipped(random: Random) -> Case:
    content = bytearray(gzip.compress(json.dumps(good(random)).encode()))
    if random.random() < 0.7:
        content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    return Case("zipped", bytes(content), JSON, "gzip")


#: Odd, but dear to make: once in a while each.
_MAKERS: Final = (
    *(_mistyped,) * 8,
    *(_flipped,) * 6,
    *(_cut_json, _cut_protobuf, _noise, _nested, _nested_value, _not_utf8, _zipped, _sound, _sound_protobuf) * 2,
    _huge,
    _bomb,
)


def protobuf(document: Document) -> bytes:
    """Return a request in protobuf."""
    copied = copy.deepcopy(document)
    for each in copied["resourceSpans"][0]["scopeSpans"][0]["spans"]:
        for name in ("traceId", "spanId", "parentSpanId"):
            each[name] = base64.b64encode(bytes.fromhex(each[name])).decode()
    return json_format.ParseDict(copied, ExportTraceServiceRequest()).SerializeToString()
