"""Every place that can say "nothing found", against the list in docs/security.md and against rows that are hidden."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy import text

from ingest.assembly.assembler import Assembler
from ingest.health import Metrics, obstacle
from ingest.prices import prices_of
from migrations.ingest import open_source
from ops.cli import main
from ops.health.metrics import HealthCollector
from ops.health.watch import Watch
from snapshots.errors import VisibilityError
from snapshots.signals import SCHEMA_REVISION, SIGNALS
from tests.api.test_visibility import ENDPOINTS
from tests.ops.documents import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.ops.system import System

    Activity = Callable[..., tuple[int, str, str]]

SECURITY = ROOT / "docs" / "security.md"
_PLACE = re.compile(r"^\| `([^`]+)` \|", re.MULTILINE)
_HIDE_RUNS = "alter table public.runs enable row level security, force row level security"
#: Each command that can find nothing, as it is called, and the damage that would have it find nothing.
COMMANDS = {
    "activity status": (("status",), "drop policy snapshot_worker on signals.snapshot"),
    "activity doctor": (("doctor",), "drop policy snapshot_reader on signals.snapshot"),
    "activity compute": (("compute", "attention", "--tenant", "acme"), _HIDE_RUNS),
    "activity backtest": (("backtest", "attention", "--tenant", "acme"), _HIDE_RUNS),
    "activity keys": (("keys", "list"), "drop policy api_key_owner on signals.api_key"),
    "activity webhooks": (("webhooks", "list"), "drop policy webhook_owner on signals.webhook"),
    "activity capture status": (("capture", "status"), "drop policy dirty_run_worker on signals.dirty_run"),
    "activity explain": (("explain", "--signal", "attention"), _HIDE_RUNS),
    "activity explain-item": (
        ("explain-item", "0" * 32, "--tenant", "acme"),
        "drop policy item_state_reader on signals.item_state",
    ),
    "activity erase": (("erase", "--tenant", "acme", "--yes"), "drop policy snapshot_owner on signals.snapshot"),
}
PROCESSES = ("refresh", "notify", "prune", "activity receive", "activity exporter")


@pytest.fixture
def activity(system: System, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Activity:
    """Return a function that runs a command over a refreshed system and returns its exit code, output and errors."""
    for name, engine in (
        ("DATABASE", system.owner),
        ("WORKER_DATABASE", system.worker),
        ("READER_DATABASE", system.reader),
    ):
        monkeypatch.setenv(f"ACTIVITY_{name}_URL", engine.url.render_as_string(hide_password=False))
    for signal in SIGNALS:
        system.run(signal)

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        output = capsys.readouterr()
        return int(ended.value.code or 0), output.out, output.err

    return run


def test_the_documented_list_is_complete() -> None:
    [section] = re.findall(
        r"^## Where nothing can be found\n(.*?)(?=^## |\Z)", SECURITY.read_text(), re.MULTILINE | re.DOTALL
    )
    paths = {re.sub("/explain/.*", "/explain/FINGERPRINT", path.partition("?")[0]) for path in ENDPOINTS}
    paths = {path.replace("/runs/some-run", "/runs/RUN_ID") for path in paths}

    assert set(_PLACE.findall(section)) == {*paths, *COMMANDS, *PROCESSES, "/readyz", "/metrics", "/api/v1/session"}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_fails_instead_of_finding_nothing(activity: Activity, system: System, name: str) -> None:
    arguments, damage = COMMANDS[name]
    system.change(lambda conn: conn.execute(text(damage)))

    code, out, err = activity(*arguments)

    assert code == 1
    assert "rows could be hidden" in out + err or "row-level security" in out + err or "repair" in out + err


def test_a_status_over_hidden_rows_is_never_fresh(activity: Activity, system: System) -> None:
    system.change(lambda conn: conn.execute(text("drop policy snapshot_worker on signals.snapshot")))

    code, out, _ = activity("status", "--json")

    assert code == 1
    assert '"fresh": false' in out


def test_the_exporter_tells_no_numbers_of_hidden_rows(system: System) -> None:
    for signal in SIGNALS:
        system.run(signal)
    system.change(lambda conn: conn.execute(text("drop policy snapshot_worker on signals.snapshot")))
    registry = CollectorRegistry()
    registry.register(HealthCollector(Watch(system.worker, system.settings)))

    told = generate_latest(registry).decode()

    assert "activity_exporter_database_up 0.0" in told
    assert "activity_schema_faults 1.0" in told
    assert "activity_signal_tenants{" not in told


@pytest.mark.parametrize(
    "damage", ["drop policy ingested_trace_ingest on signals.ingested_trace", _HIDE_RUNS], ids=["own", "host"]
)
def test_a_receiver_over_hidden_rows_is_not_ready_and_writes_nothing(system: System, damage: str) -> None:
    system.change(open_source)
    system.change(lambda conn: conn.execute(text(damage)))
    prices = prices_of(system.settings)

    assert "hide" in str(obstacle(system.ingest, SCHEMA_REVISION)) or "missing" in str(
        obstacle(system.ingest, SCHEMA_REVISION)
    )
    with pytest.raises(VisibilityError):
        Assembler(system.ingest, system.settings, prices, Metrics()).round()
