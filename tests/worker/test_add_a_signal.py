"""The signal of docs/add-a-signal.md: added to a copy of the packages, refreshed, and read through the API."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, select

from snapshots import keys
from snapshots.signals import AUTHENTICATOR_ROLE, READER_ROLE
from snapshots.tables import api_key
from tests.factories import TENANT, insert_run

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection, Engine

    from tests.postgres import Server

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = ("api", "ingest", "migrations", "ops", "snapshots", "worker")
DOCUMENT: Final = ROOT / "docs" / "add-a-signal.md"
_FILE: Final = re.compile(r"^`(worker/signals/[^`]+)`:\n\n```\w+\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_BODY: Final = re.compile(r"^```json\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_PATH: Final = re.compile(r"\$ACTIVITY_URL([^\"]+)")

#: Migrates, refreshes and reads: what the document tells a contributor to do, in one process of the changed copy.
PROGRAM: Final = """
import json, sys
from falcon.testing import TestClient
from api.app import create_app
from migrations import runner
from snapshots import settings
from snapshots.database import connect
from worker.engine.refresh import refresh

owner, reader, authenticator, token, path = sys.argv[1:]
configured = settings.load(database_url=owner)
runner.migrate(configured)
result = refresh(connect(owner), path.rsplit("/", 1)[1], configured)
assert result is not None
client = TestClient(create_app(connect(reader), connect(authenticator), configured))
response = client.simulate_get(path, headers={"Authorization": f"Bearer {token}"})
json.dump({"status": response.status, "body": response.json}, sys.stdout)
"""


def add_documented_files(folder: Path) -> list[str]:
    """Copy the packages into `folder`, write the document's files there, and return their paths."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
    files = dict(_FILE.findall(DOCUMENT.read_text()))
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    return sorted(files)


def insert_runs(conn: Connection, ended_at: datetime, *, agent: str, failed: int, succeeded: int) -> None:
    for status in ("failed",) * failed + ("succeeded",) * succeeded:
        started_at = ended_at - timedelta(minutes=5)
        insert_run(conn, agent_id=agent, status=status, started_at=started_at, completed_at=ended_at)


def add_key(conn: Connection, capability: str) -> str:
    made = keys.generate()
    row = {"key_id": made.key_id, "tenant_id": TENANT, "secret_sha256": made.secret_sha256}
    conn.execute(api_key.insert().values(row | {"capabilities": [capability], "created_at": func.now()}))
    return made.token


def test_documented_signal_is_migrated_refreshed_and_served(
    server: Server, engine: Engine, fresh_database: str, tmp_path: Path
) -> None:
    files = add_documented_files(tmp_path)
    path = _PATH.findall(DOCUMENT.read_text())[0]
    with engine.begin() as conn:
        now: datetime = conn.execute(select(func.now())).scalar_one()
        for agent, failed in (("billing", 3), ("search", 1)):
            insert_runs(conn, now - timedelta(hours=2), agent=agent, failed=failed, succeeded=5 - failed)
            insert_runs(conn, now - timedelta(days=3), agent=agent, failed=1, succeeded=4)
        token = add_key(conn, "activity.failures")
    urls = (fresh_database, *(server.url_as(role, fresh_database) for role in (READER_ROLE, AUTHENTICATOR_ROLE)))

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *urls, token, path],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert files == ["worker/signals/failures/items.sql", "worker/signals/failures/signal.toml"]
    answer = json.loads(done.stdout)
    assert answer["status"].startswith("200")
    body, printed = answer["body"], json.loads(_BODY.findall(DOCUMENT.read_text())[0])
    (item,), (expected,) = body["agents"], printed["agents"]
    assert expected.items() <= item.items()
    assert (body["total_items"], body["parameters"]) == (printed["total_items"], printed["parameters"])
