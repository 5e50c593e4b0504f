"""Applications to compare the API with, on the same server: a constant body, and the specification's SQL run live.

    python -m benchmarks.reads_app constant|live --port N

Settings are those of the API, and `READS_BODY_BYTES` for the size of the constant body.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import falcon
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import text

from benchmarks.scales import statements
from ops.serving import Serving, serve
from snapshots import settings
from snapshots.database import connect, url_of

if TYPE_CHECKING:
    from falcon import Request, Response
    from sqlalchemy import Engine

SWEEP: Final = Path(__file__).parent / "sql" / "sweep.sql"
CONSTANT_PATH: Final = "/constant"
LIVE_PATH: Final = "/live-patterns"


class Sizes(BaseSettings):
    """Settings of the compared applications beside the product's own."""

    model_config = SettingsConfigDict(env_prefix="READS_")

    body_bytes: int = Field(3000, ge=2)


class Constant:
    """One body, always the same."""

    def __init__(self, size: int) -> None:
        """Take the size of the body, bytes: it is a JSON string."""
        self._body = b'"' + b"x" * (size - 2) + b'"'

    def on_get(self, _req: Request, resp: Response) -> None:
        """Send it."""
        resp.data = self._body


class LivePatterns:
    """The specification's four statements about patterns, run for one tenant at each request."""

    def __init__(self, engine: Engine) -> None:
        """Take an engine that may read the source tables."""
        self._engine = engine
        self._queries = [text(statement) for statement in pattern_statements()]

    def on_get(self, req: Request, resp: Response) -> None:
        """Send the rows of the tenant that the parameter `tenant` names."""
        binds = {"tenant_id": req.get_param("tenant", required=True), "as_of": datetime.now(UTC)}
        with self._engine.connect() as conn:
            rows = [tuple(row) for query in self._queries for row in conn.execute(query, binds)]
        resp.data = json.dumps(rows, default=float).encode()


def pattern_statements() -> list[str]:
    """Return the statements of the sweep that find patterns."""
    return [statement for statement in statements(SWEEP) if "as pattern_type" in statement]


def get_constant() -> falcon.App[Request, Response]:
    """Return the application that sends a constant body."""
    app = falcon.App()
    app.add_route(CONSTANT_PATH, Constant(Sizes().body_bytes))
    return app


def get_live() -> falcon.App[Request, Response]:
    """Return the application that runs the specification's SQL, through a pool with a connection for each thread."""
    current = settings.load()
    options: dict[str, Any] = {"pool_size": current.api_threads, "max_overflow": 0, "pool_pre_ping": False}
    app = falcon.App()
    app.add_route(LIVE_PATH, LivePatterns(connect(url_of(current, "owner"), name="activity bench", **options)))
    return app


@click.command()
@click.argument("name", type=click.Choice(["constant", "live"]))
@click.option("--port", type=click.IntRange(1, 65_535), required=True)
def main(name: str, port: int) -> None:
    """Serve one of the applications as `activity api` serves its own."""
    current = settings.load()
    how = Serving(current.api_host, port, current.api_processes, current.api_threads + 2, current.log_level)
    serve(f"benchmarks.reads_app:get_{name}", how)


if __name__ == "__main__":
    main()
