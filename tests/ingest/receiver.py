"""The receiver as a sender and an operator see it, without a process."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from falcon.testing import TestClient
from google.protobuf import json_format
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from sqlalchemy import func, select, text

from api.app import AppDependencies
from ingest.assembly.assembler import Assembler
from ingest.health import Metrics
from ingest.otlp.answers import JSON, PROTOBUF
from ingest.otlp.receiver import create_app
from ingest.prices import Prices
from ops.keys import create_key
from ops.receiver import authenticator_of
from snapshots import settings
from snapshots.signals import INGEST_CAPABILITY
from tests.ingest.spans import TENANT, body

if TYPE_CHECKING:
    from falcon.testing import Result
    from sqlalchemy import Engine

    from ingest.assembly.write_traces import Assembly
    from ingest.otlp.receiver import ReceiverApp
    from tests.ingest.spans import Document


class Client(TestClient):
    """Requests made in a thread of their own: another test's browser may have left a loop running in this one."""

    def simulate_request(self, *args: Any, **kwargs: Any) -> Result:  # noqa: ANN401  # the framework's own
        """Make a request."""
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(super().simulate_request, *args, **kwargs).result()


@dataclass
class Receiver:
    """A receiver, its assembler, and keys: `tokens` by tenant bring spans in, `reading` reads alone."""

    app: ReceiverApp
    client: Client
    assembler: Assembler
    owner: Engine
    tokens: dict[str, str]
    reading: str

    def post(self, content: bytes, media_type: str = JSON, token: str | None = None, **headers: str) -> Result:
        """Send a body; the name of a header is written with underscores."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        authorization = {"Authorization": f"Bearer {token or self.tokens[TENANT]}"}
        return self.client.simulate_post(
            "/v1/traces", body=content, headers={"Content-Type": media_type, **authorization, **given}
        )

    def send(self, *spans: Document, tenant: str = TENANT) -> Result:
        """Send spans in JSON."""
        return self.post(body(*spans), token=self.tokens[tenant])

    def round(self, after_s: float = 0) -> Assembly:
        """Make a round of the assembler, so many seconds from now."""
        with self.owner.connect() as conn:
            now: datetime = conn.execute(select(func.clock_timestamp())).scalar_one()
        return self.assembler.round(now.astimezone(UTC) + timedelta(seconds=after_s))

    def rows(self, statement: str) -> list[dict[str, Any]]:
        """Return rows as the owner sees them."""
        with self.owner.connect() as conn:
            return [dict(row) for row in conn.execute(text(statement)).mappings()]

    def steps(self) -> list[str]:
        """Return the skills of all steps, in order."""
        found = self.rows("select skill_id from public.aos_trace_steps order by trace_id, step_index")
        return [row["skill_id"] for row in found]


def receiver_over(own: Engine, keys: Engine, owner: Engine) -> Receiver:
    """Return a receiver without a process; `own` is an engine of the ingest role, `keys` of the authenticator's."""
    current = settings.load(ingest_max_body_mb=1, ingest_body_timeout_s=1, ingest_quiet_s=30, ingest_max_wait_s=900)
    metrics = Metrics()
    with owner.begin() as conn:
        made = {tenant: create_key(conn, tenant, capabilities=[INGEST_CAPABILITY]) for tenant in (TENANT, "globex")}
        reading = create_key(conn, TENANT).token
    app = create_app(authenticator_of(keys, current, AppDependencies()), own, current, metrics)
    assembler = Assembler(own, current, Prices(), metrics)
    return Receiver(app, Client(app), assembler, owner, {tenant: key.token for tenant, key in made.items()}, reading)


def refusal_of(result: Result) -> str:
    """Return the message of the Status that a refusal is, whatever its encoding."""
    if result.headers["content-type"] == PROTOBUF:
        return str(Status.FromString(result.content).message)
    return str(json_format.ParseDict(result.json, Status()).message)


def rejected_by(result: Result) -> tuple[int, str]:
    """Return how many spans a success rejects, and why."""
    response = ExportTraceServiceResponse()
    if result.headers["content-type"] == PROTOBUF:
        response.ParseFromString(result.content)
    else:
        json_format.ParseDict(result.json, response)
    return response.partial_success.rejected_spans, response.partial_success.error_message
