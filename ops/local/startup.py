"""Start-up checks: what `activity up` asks the database and the network before it reports ready."""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, insert, literal, select, text, update

from ops.local.demo.agents import DEMO_TENANT
from ops.local.demo.history import RUN_ID
from snapshots import host_mapping, keys
from snapshots.signals import CAPABILITIES, SIGNALS, SLOTS
from snapshots.tables import api_key, freshness

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Engine

    from ops.local.instance import Instance

_READY_TIMEOUT_S: Final = 5
_OK: Final = 200


def is_empty(engine: Engine) -> bool:
    """Tell whether the source has no run at all, and is named as the demo expects it."""
    with engine.connect() as conn:
        if host_mapping.read(conn) != host_mapping.UNMAPPED:
            return False
        return conn.execute(text("select 1 from signals.source_run limit 1")).first() is None


def has_demo(engine: Engine) -> bool:
    """Tell whether the demo's runs are there: only then may its feed add more."""
    found = text(
        "select 1 from signals.source_run where tenant_id = :tenant and is_synthetic and run_id ~ :run_id limit 1"
    )
    with engine.connect() as conn:
        return conn.execute(found, {"tenant": DEMO_TENANT, "run_id": f"^{RUN_ID}$"}).first() is not None


def demo_key(engine: Engine, instance: Instance) -> str:
    """Return the API key of the demo's tenant; one that the database does not know (any more) is replaced."""
    token = instance.demo_key()
    if token is not None and _is_known(engine, token):
        _grant_all(engine, token)
        return token
    made = keys.generate()
    # First kept, then made: a key that nobody knows would open the tenant for good.
    instance.keep_demo_key(made.token)
    row = {"key_id": made.key_id, "secret_sha256": made.secret_sha256, "tenant_id": DEMO_TENANT}
    with engine.begin() as conn:
        conn.execute(insert(api_key).values(**row, capabilities=list(CAPABILITIES), label="demo"))
    return made.token


def _grant_all(engine: Engine, token: str) -> None:
    """Give the demo's key the capabilities that this version has added."""
    of_demo = api_key.c.key_id == (keys.parse(token) or ("",))[0]
    with engine.begin() as conn:
        conn.execute(update(api_key).where(of_demo).values(capabilities=list(CAPABILITIES)))


def _is_known(engine: Engine, token: str) -> bool:
    parts = keys.parse(token)
    if parts is None:
        return False
    key_id, secret = parts
    live = api_key.c.key_id == key_id, api_key.c.revoked_at.is_(None), api_key.c.tenant_id == DEMO_TENANT
    with engine.connect() as conn:
        stored = conn.execute(select(api_key.c.secret_sha256).where(*live)).scalar()
    return stored is not None and keys.matches(secret, stored)


def clock(engine: Engine) -> datetime:
    """Return the database's clock."""
    with engine.connect() as conn:
        now: datetime = conn.execute(select(func.clock_timestamp())).scalar_one()
    return now


def unpublished(engine: Engine, since: datetime) -> list[str]:
    """Return the signals that have not been published at or after `since`."""
    published = (
        select(freshness.c.signal)
        .where(freshness.c.verified_at >= literal(since))
        .group_by(freshness.c.signal)
        .having(func.count() == SLOTS)
    )
    with engine.connect() as conn:
        done = set(conn.execute(published).scalars())
    return [signal for signal in SIGNALS if signal not in done]


def api_is_ready(host: str, port: int) -> bool:
    """Ask the API whether it serves."""
    connection = http.client.HTTPConnection(host, port, timeout=_READY_TIMEOUT_S)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == _OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
