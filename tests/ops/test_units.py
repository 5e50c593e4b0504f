"""The systemd units: accepted by systemd, closed against the machine, and running what exists."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import defaultdict
from typing import TYPE_CHECKING, Final

import click
import pytest

from ops.cli import activity
from snapshots.setting_files import URLS
from tests.ops.composition import OURS, ROOT, SERVICES, environment, seconds

if TYPE_CHECKING:
    from pathlib import Path

UNITS: Final = sorted((ROOT / "ops" / "systemd").glob("*.service"))
TARGET: Final = ROOT / "ops" / "systemd" / "activity.target"
INSTALLED: Final = "/opt/activity/bin/activity"
#: The service of docker-compose.yml that a unit's command is that of.
SAME_AS: Final = {"migrate": "migrate", "worker": "worker", "beat": "beat-1", "api": "api", "receive": "receive"}
#: Units that are started where somebody asks for them, and what `migrate` is given beside its own there.
ON_REQUEST: Final = {"activity-receive.service"}
DROP_IN: Final = ROOT / "ops" / "systemd" / "activity-migrate-receive.conf"
#: What systemd calls the exposure of a unit, in tenths: 0 is closed, 100 is open.
EXPOSURE: Final = 20

each_unit = pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd on this machine")


def options(path: Path) -> dict[str, list[str]]:
    """Return the values of each option of a unit, in order."""
    found = defaultdict(list)
    for line in path.read_text().splitlines():
        name, is_option, value = line.partition("=")
        if is_option and not line.startswith("#"):
            found[name].append(value)
    return found


def given(path: Path, option: str) -> list[str]:
    """Return the values of an option of a unit, those of its drop-in included."""
    return options(path)[option] + (options(DROP_IN)[option] if command(path) == "migrate" else [])


def command(path: Path) -> str:
    """Return the subcommand that a unit runs."""
    [line] = options(path)["ExecStart"]
    program, name = line.split()
    assert program == INSTALLED
    return name


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the units as they would be started, running a program that is there."""
    folder = tmp_path_factory.mktemp("units")
    names = re.findall(r"\S+\.service", " ".join(options(TARGET)["Wants"]))
    for name in [*names, *ON_REQUEST]:
        source = TARGET.with_name(re.sub("@.*[.]", "@.", name))
        (folder / name).write_text(source.read_text().replace(INSTALLED, str(shutil.which("true"))))
    shutil.copy(TARGET, folder)
    (folder / "activity-migrate.service.d").mkdir()
    shutil.copy(DROP_IN, folder / "activity-migrate.service.d")
    return folder


def analyze(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze on the units of a folder, and return what it says."""
    program = str(shutil.which("systemd-analyze"))
    search = {"SYSTEMD_UNIT_PATH": f"{installed}:"}
    return subprocess.run([program, *arguments], env=search, check=False, capture_output=True, text=True)


def test_there_is_a_unit_for_each_process_and_the_target_starts_all_but_those_on_request() -> None:
    wanted = re.findall(r"\S+\.service", " ".join(options(TARGET)["Wants"]))

    assert {command(path) for path in UNITS} == set(SAME_AS)
    assert {re.sub("@.*[.]", "@.", name) for name in wanted} == {path.name for path in UNITS} - ON_REQUEST
    assert len([name for name in wanted if name.startswith("activity-beat@")]) == 2


@needs_systemd
def test_systemd_accepts_the_units(installed: Path) -> None:
    units = sorted(str(path) for path in installed.iterdir() if path.is_file())

    done = analyze(installed, "verify", "--man=no", *units)

    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
def test_systemd_calls_the_units_closed(installed: Path) -> None:
    for path in installed.glob("*.service"):
        done = analyze(installed, "security", "--offline=true", f"--threshold={EXPOSURE}", str(path))
        assert done.returncode == 0, done.stdout[-200:] + done.stderr


@each_unit
def test_a_unit_can_change_nothing_of_the_machine(path: Path) -> None:
    found = options(path)

    for name in ("NoNewPrivileges", "DynamicUser", "PrivateTmp", "PrivateDevices", "ProtectHome"):
        assert found[name] == ["yes"], name
    assert found["ProtectSystem"] == ["strict"]
    assert found["CapabilityBoundingSet"] == [""]
    assert found["MemoryMax"]
    assert found["TasksMax"]


@each_unit
def test_a_unit_runs_a_command_that_exists_with_the_urls_of_its_container(path: Path) -> None:
    name = command(path)
    files = {each.partition("=")[0]: each.partition("=")[2] for each in given(path, "Environment")}
    credentials = dict(each.split(":") for each in given(path, "LoadCredential"))
    urls = {variable.removeprefix("ACTIVITY_").removesuffix("_FILE").lower(): at for variable, at in files.items()}

    assert activity.get_command(click.Context(activity), name) is not None
    assert set(files) == {each for each in environment(SAME_AS[name]) if each.endswith("_FILE")}
    assert urls == {url: f"%d/{url}" for url in urls}
    assert credentials == {url: f"/etc/activity/secrets/{url}" for url in urls}
    assert set(urls) <= set(URLS)


@each_unit
def test_a_unit_that_ends_is_started_again_as_often_as_it_takes(path: Path) -> None:
    found = {name: values[-1] for name, values in options(path).items()}

    assert found["Restart"] == ("on-failure" if command(path) == "migrate" else "always")
    starts = int(found["StartLimitIntervalSec"]) / int(found["RestartSec"])
    assert starts < int(found["StartLimitBurst"])


@each_unit
def test_a_unit_has_the_time_and_the_signal_of_its_container_to_end(path: Path) -> None:
    service = SERVICES[SAME_AS[command(path)]]
    found = {name: values[-1] for name, values in options(path).items()}

    if command(path) != "migrate":
        assert found.get("KillSignal", "SIGTERM") == service.get("stop_signal", "SIGTERM")
        assert float(found["TimeoutStopSec"]) == seconds(service["stop_grace_period"])


def test_a_unit_has_the_memory_and_the_tasks_of_its_container() -> None:
    units = {SAME_AS[command(path)]: options(path) for path in UNITS}

    assert set(units) <= set(OURS)
    for name, found in units.items():
        limits = SERVICES[name]["deploy"]["resources"]["limits"]
        assert (found["MemoryMax"], found["TasksMax"]) == ([limits["memory"]], [str(limits["pids"])])
