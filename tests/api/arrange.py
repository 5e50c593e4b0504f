"""Arrangements for the API's tests: keys, clocks, and snapshot rows as the worker would have published them."""

from __future__ import annotations

import hashlib
import io
import json
import select
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import delete, insert, table
from sqlalchemy.dialects.postgresql import insert as upsert

from api.http.background import BackgroundQueue
from ops import owned_tables
from snapshots import keys, movement
from snapshots.signals import CAPABILITIES, SLOTS
from snapshots.tables import api_key, freshness, snapshot

if TYPE_CHECKING:
    from falcon.testing import Result, TestClient
    from sqlalchemy import Engine

    from api.http.request_middleware import RequestMiddleware

NOW: Final = datetime(2026, 1, 17, 12, 0, tzinfo=UTC)
#: When limits are tested. Their library cleans up in a thread of its own, which freezegun does not freeze: nothing may
#: be over by its clock.
FAR: Final = datetime(2199, 1, 1, tzinfo=UTC)
TENANT: Final = "acme"
OTHER_TENANT: Final = "globex"
PREFIX: Final = "/api/v1/activity"

#: Every endpoint of the API, each with the query that it needs, and the capability.
ENDPOINTS: Final = {
    f"{PREFIX}/summary/by-status": "activity.summary_by_status",
    f"{PREFIX}/runs/by-dimension?dim=source": "activity.runs_by_dimension",
    f"{PREFIX}/runs": "activity.threshold_signals",
    f"{PREFIX}/patterns": "activity.patterns",
    f"{PREFIX}/cost-analysis": "activity.cost_analysis",
    f"{PREFIX}/attention-queue": "activity.attention_queue",
    f"{PREFIX}/changes": "activity.changes",
}
SNAPSHOT_PATHS: Final = {
    "patterns": f"{PREFIX}/patterns",
    "cost": f"{PREFIX}/cost-analysis",
    "attention": f"{PREFIX}/attention-queue",
}
LIVE_PATHS: Final = tuple(path for path in ENDPOINTS if path not in SNAPSHOT_PATHS.values())


@dataclass
class Moment:
    """A clock and a timer that stand still until they are moved."""

    now: datetime = NOW
    elapsed_s: float = 0.0

    def clock(self) -> datetime:
        """Return the date."""
        return self.now

    def timer(self) -> float:
        """Return the seconds since some start."""
        return self.elapsed_s

    def pass_by(self, seconds: float) -> None:
        """Let `seconds` pass."""
        self.now += timedelta(seconds=seconds)
        self.elapsed_s += seconds


class Paper(io.BytesIO):
    """A log that can be read back."""

    piece = select.PIPE_BUF

    def lines(self) -> list[dict[str, Any]]:
        """Return what is written, line by line."""
        return [json.loads(line) for line in self.getvalue().splitlines()]


def write_log(app: RequestMiddleware) -> None:
    """Have the application write down what it has answered so far."""
    app.records.flush()
    assert app.records.log is not None
    app.records.log.write_waiting()


@dataclass
class Api:
    """The application under test, and its database as the owner sees it."""

    client: TestClient
    owner: Engine
    moment: Moment
    aside: BackgroundQueue = field(default_factory=BackgroundQueue)
    _tokens: dict[str, str] = field(default_factory=dict)

    def get(self, path: str, *, tenant: str = TENANT, **options: Any) -> Result:  # noqa: ANN401  # Falcon's options
        """Send a GET with a key of `tenant` that has every capability."""
        headers = bearer(self.token(tenant)) | options.pop("headers", {})
        return self.client.simulate_get(path, headers=headers, **options)

    def token(self, tenant: str = TENANT) -> str:
        """Return a key of `tenant` that has every capability, the same at each call."""
        return self._tokens.get(tenant) or self._tokens.setdefault(tenant, self.add_key(tenant))

    def add_key(self, tenant: str = TENANT, **overrides: object) -> str:
        """Store a new key and return its token; it has every capability unless `overrides` say otherwise."""
        made = keys.generate()
        self.store_key(made, tenant, **overrides)
        return made.token

    def store_key(self, made: keys.NewKey, tenant: str = TENANT, **overrides: object) -> None:
        """Store the key `made`."""
        row = {
            "key_id": made.key_id,
            "tenant_id": tenant,
            "secret_sha256": made.secret_sha256,
            "capabilities": list(CAPABILITIES),
            "created_at": NOW - timedelta(days=1),
        }
        with self.owner.begin() as conn:
            conn.execute(insert(api_key).values(row | overrides))

    def verify(self, signal: str, **overrides: object) -> None:
        """Arrange the row that a refresh of `signal` leaves behind: verified now, nothing found for anyone."""
        row = {
            "signal": signal,
            "as_of": NOW,
            "verified_at": NOW,
            "period_s": 60,
            "window_json": None if signal == "attention" else '{"end":"2026-01-17"}',
            "empty_content": EMPTY[signal],
            "rule_version": "1.0",
            "fence": 1,
            "refresh_id": 1,
        }
        with self.owner.begin() as conn:
            conn.execute(delete(freshness).where(freshness.c.signal == signal))
            conn.execute(insert(freshness).values([row | overrides | {"slot": slot} for slot in range(SLOTS)]))

    def publish(self, signal: str, content: str, *, tenant: str = TENANT, **overrides: object) -> None:
        """Arrange a published snapshot of one tenant."""
        row = {
            "tenant_id": tenant,
            "signal": signal,
            "version": 1,
            "content": content,
            "basis": hashlib.sha256(content.encode()).hexdigest(),
            "shape": "",
            "window_json": None,
            "as_of": NOW - timedelta(minutes=5),
            "computed_at": NOW - timedelta(minutes=5),
            "rule_version": "1.0",
            "fence": 1,
            "refresh_id": 1,
        }
        with self.owner.begin() as conn:
            conn.execute(delete(snapshot).where(snapshot.c.tenant_id == tenant, snapshot.c.signal == signal))
            conn.execute(insert(snapshot).values(row | overrides))

    def record_change(self, change_no: int, *, tenant: str = TENANT, **overrides: object) -> None:
        """Arrange a change as a refresh would have recorded it, with the counter that goes with it."""
        row = {
            "tenant_id": tenant,
            "change_no": change_no,
            "signal": "cost",
            "fingerprint": f"{change_no:032x}",
            "key": {"agent_id": tenant},
            "kind": "entered",
            "rank": 1,
            "value": 2,
            "severity": 2,
            "at": NOW,
            "version": 1,
        }
        counter = upsert(movement.change_counter).values(tenant_id=tenant, last_no=change_no, stream="stream")
        with self.owner.begin() as conn:
            conn.execute(insert(movement.signal_change).values(row | overrides))
            conn.execute(counter.on_conflict_do_update(index_elements=["tenant_id"], set_={"last_no": change_no}))

    def clear(self) -> None:
        """Remove every row that a test may have left."""
        with self.owner.begin() as conn:
            for rows in owned_tables.metadata.sorted_tables:
                if rows.name not in {"created_object", "signal"}:
                    conn.execute(delete(rows))
            for name in ("aos_trace_steps", "aos_traces", "runs"):
                conn.execute(delete(table(name, schema="public")))


#: What the shard serves to a tenant without findings, as a refresh would store it.
EMPTY: Final = {
    "patterns": '{"patterns":[]}',
    "cost": '{"agents":[],"total_anomalies":0,"total_cost_usd":0}',
    "attention": '{"queue":[],"total_attention_items":0,"weights_version":"1.0"}',
}


def bearer(token: str) -> dict[str, str]:
    """Return the header that carries `token`."""
    return {"Authorization": f"Bearer {token}"}


def queue_of(size: int) -> tuple[str, list[str]]:
    """Return the content and the items of an attention queue of `size` runs."""
    items = [json.dumps({"run_id": f"run_{rank}", "rank": rank}, separators=(",", ":")) for rank in range(1, size + 1)]
    return f'{{"queue":[{",".join(items[:20])}],"total_attention_items":{size},"weights_version":"1.0"}}', items
