"""The whole system as `activity up` runs it: foundation, schema, demo, processes, and their end in order."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from migrations import capture, runner
from ops import ports
from ops.local import children, exported, startup
from ops.local.backing_services import Foundation
from ops.local.demo.agents import DEMO_TENANT
from ops.local.demo.loading import load_demo
from ops.local.instance import Instance, write_private
from ops.local.programs import operator_urls, program
from ops.local.supervisor import Supervisor
from snapshots import database
from snapshots.errors import ActivityError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from pathlib import Path

    from sqlalchemy import Engine

    from ops.local.interruption import Interruption
    from snapshots.settings import Settings

_POLL_S: Final = 0.2
#: The longest wait for the answer to a statement, seconds: loading the demo takes a few.
_READ_DEADLINE_S: Final = 60
#: The wait for the first signals is explained once it has lasted for this long, seconds.
_LONG_WAIT_S: Final = 60.0
#: Who is stopped together, in order: those that bring work in first, those that do it last.
_STOPPING: Final = (("api", "demo-feed"), ("beat",), ("worker",))
_LOOPBACK: Final = "127.0.0.1"
_EVERYWHERE: Final = {"0.0.0.0", "::", ""}  # noqa: S104  # compared with, not bound to


@dataclass(frozen=True, slots=True)
class Wishes:
    """Options of `activity up`."""

    folder: Path
    demo: bool
    ready_file: Path | None


class Installation:
    """One running system; `run` returns when it has been interrupted and nothing of it is left."""

    def __init__(
        self, wishes: Wishes, current: Settings, report: Callable[[str], None], interruption: Interruption
    ) -> None:
        """Describe it; nothing happens before `run`."""
        self._wishes = wishes
        self._settings = current
        self._report = report
        self._interruption = interruption
        self._instance = Instance(wishes.folder)
        self._supervisor = Supervisor(self._instance.logs, report)
        self._embedded: Sequence[str] = ()

    def run(self) -> None:
        """Start everything, keep it running, and stop it whatever happens.

        Raises ActivityError when the folder or the port is taken, or something does not start.
        """
        with self._instance.locked():
            children.end(children.of_instance(str(self._wishes.folder)))
            # Held all along: another `activity up` must not take it while the API is being started again.
            with ports.held(self._settings.api_host, self._settings.api_port):
                self._remove_ready_file()
                foundation = Foundation(self._instance, self._settings)
                try:
                    configured = operator_urls(self._settings)
                    self._settings = foundation.start(self._report)
                    self._embedded = [name for name in operator_urls(self._settings) if name not in configured]
                    self._serve(foundation)
                finally:
                    self._stop(foundation)

    def _serve(self, foundation: Foundation) -> None:
        self._report("bringing the schema to its newest revision")
        runner.migrate(self._settings)
        engine = database.connect(
            database.url_of(self._settings, "owner"), name="activity up", read_deadline_s=_READ_DEADLINE_S
        )
        try:
            self._capture(engine)
            has_demo = self._provide_demo(engine)
            since = startup.clock(engine)
            for name in ("worker", "beat", "api", *(("demo-feed",) if has_demo and self._wishes.demo else ())):
                self._supervisor.start(program(name, self._settings, self._wishes.folder))
            self._wait_for_signals(engine, foundation, since)
            self._announce(startup.demo_key(engine, self._instance) if has_demo else None)
        finally:
            engine.dispose()
        while True:
            self._watch(foundation)

    def _capture(self, engine: Engine) -> None:
        """Have changes captured where the tables are our own; a host's are its operator's to decide about."""
        if capture.is_installed(engine):
            return
        if capture.is_ours(engine):
            self._report("installing the triggers that capture changes")
            capture.install(engine)
        else:
            self._report("changes are not captured: `activity capture install` adds triggers to the host's tables")

    def _provide_demo(self, engine: Engine) -> bool:
        """Load the demo into an empty source if wished; return whether the source holds it."""
        if self._wishes.demo and startup.is_empty(engine):
            self._report("loading demo data")
            load_demo(engine)
        return startup.has_demo(engine)

    def _wait_for_signals(self, engine: Engine, foundation: Foundation, since: datetime) -> None:
        """Wait until the workers have published every signal since `since`, and the API serves."""
        self._report("waiting for the first signals")
        explain_at = time.monotonic() + _LONG_WAIT_S
        while missing := startup.unpublished(engine, since) or self._missing_api():
            self._watch(foundation)
            self._supervisor.check_steady()
            if time.monotonic() > explain_at:
                self._report(f"still waiting for {', '.join(missing)}; see {self._instance.logs}")
                explain_at = time.monotonic() + _LONG_WAIT_S

    def _missing_api(self) -> list[str]:
        ready = startup.api_is_ready(self._reachable_host(), self._settings.api_port)
        return [] if ready else ["api"]

    def _watch(self, foundation: Foundation) -> None:
        foundation.revive(self._report)
        self._supervisor.watch()
        time.sleep(_POLL_S)

    def _announce(self, key: str | None) -> None:
        """Say where to go and with which key, and write the same to the ready file."""
        url = f"http://{self._reachable_host()}:{self._settings.api_port}/"
        if self._wishes.ready_file is not None:
            write_private(self._wishes.ready_file, json.dumps(self._addresses(url, key)) + "\n")
        self._instance.keep_environment(self._environment(url, key))
        self._report(f"ready: {url}")
        if key is None:
            self._report("no demo data, hence no key: make one with `activity keys create --tenant TENANT`")
        else:
            self._report(f"key of tenant {DEMO_TENANT}: {key}")

    def _environment(self, url: str, key: str | None) -> dict[str, str]:
        """Return the variables for commands and curl: every URL that is set, and the demo's key."""
        demo = {"ACTIVITY_KEY": key, "ACTIVITY_TENANT": DEMO_TENANT} if key is not None else {}
        urls = operator_urls(self._settings)
        marks = exported.marks(urls, str(self._wishes.folder), self._embedded)
        return {"ACTIVITY_URL": url.rstrip("/"), **demo, **urls, **marks}

    def _addresses(self, url: str, key: str | None) -> dict[str, str | None]:
        secrets = {name: getattr(self._settings, name) for name in ("database_url", "broker_url")}
        tenant = DEMO_TENANT if key is not None else None
        return {
            "url": url,
            "api_key": key,
            "tenant_id": tenant,
            **{k: v.get_secret_value() for k, v in secrets.items()},
        }

    def _reachable_host(self) -> str:
        host = self._settings.api_host
        return _LOOPBACK if host in _EVERYWHERE else host

    def _remove_ready_file(self) -> None:
        """Remove what an earlier run wrote, so that a script that waits for the file waits for this run."""
        path = self._wishes.ready_file
        if path is None:
            return
        if not path.parent.is_dir():
            raise ActivityError(f"--ready-file: {path.parent} does not exist; expected a file in a folder that does")
        path.unlink(missing_ok=True)

    def _stop(self, foundation: Foundation) -> None:
        self._interruption.no_more()
        self._report("stopping")
        for names in _STOPPING:
            self._supervisor.stop(names, self._interruption.is_hurried)
        foundation.stop()
        self._remove_ready_file()
        self._report("stopped")
