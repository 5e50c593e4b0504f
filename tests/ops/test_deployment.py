"""Consistency of docker-compose.yml, Dockerfile and the secrets with the repository."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest
from redbeat.schedulers import RedBeatConfig

from ops.cli import activity
from snapshots import settings
from snapshots.setting_files import PREFIX, URLS
from snapshots.settings import Settings
from tests.ops.composition import COMPOSE, OURS, ROOT, SECRETS, SERVICES, environment, health_check, in_order, seconds
from worker.app import create_app

if TYPE_CHECKING:
    from celery import Celery

COMPOSE_FILE = ROOT / "docker-compose.yml"
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
MAKE_SECRETS = str(ROOT / "ops" / "containers" / "make-secrets")
ONE_SHOT = {"migrate"}
#: Every key that the file may use: a misspelt one would be ignored, or refused, by those who run it.
FILE_KEYS = {"name", "services", "networks", "volumes", "secrets", "x-hardened", "x-activity", "x-settings"}
SERVICE_KEYS = {
    "build", "cap_drop", "command", "depends_on", "deploy", "environment", "healthcheck", "image", "init", "logging",
    "networks", "ports", "profiles", "read_only", "restart", "secrets", "security_opt", "shm_size",
    "stop_grace_period", "stop_signal", "tmpfs", "user", "volumes",
}  # fmt: skip
CHECK_KEYS = {"test", "interval", "timeout", "retries", "start_period"}

#: The URLs that each process is given, and no other: what it cannot reach it cannot harm.
GIVEN = {
    "migrate": {
        "database_url",
        "worker_database_url",
        "auth_database_url",
        "reader_database_url",
        "triage_database_url",
        "ingest_database_url",
    },
    "worker": {"worker_database_url", "broker_url"},
    "beat-1": {"broker_url"},
    "beat-2": {"broker_url"},
    "api": {"auth_database_url", "reader_database_url", "triage_database_url"},
    "receive": {"auth_database_url", "ingest_database_url"},
    "exporter": {"worker_database_url", "broker_url"},
}

each_service = pytest.mark.parametrize("name", SERVICES)


def instructions(name: str) -> list[str]:
    """Return the arguments of each instruction of this name in the Dockerfile, in order."""
    whole = DOCKERFILE.replace("\\\n", " ")
    return [line.removeprefix(f"{name} ").strip() for line in whole.splitlines() if line.startswith(f"{name} ")]


def celery() -> Celery:
    """Return the application that workers and beats run."""
    return create_app(settings.load(broker_url="redis://127.0.0.1:1/0"))


def secrets_of(name: str) -> set[str]:
    return set(SERVICES[name].get("secrets", []))


def test_there_is_every_process_and_two_beats() -> None:
    always = {name for name, each in SERVICES.items() if "profiles" not in each}
    monitoring = {name for name, each in SERVICES.items() if each.get("profiles") == ["monitoring"]}

    assert always == {"postgres", "redis", "migrate", "worker", "beat-1", "beat-2", "api"}
    assert monitoring == {"exporter", "prometheus", "grafana"}
    assert set(SERVICES) - always - monitoring == {"receive"}
    assert SERVICES["receive"]["profiles"] == ["receive"]
    assert set(OURS) == set(GIVEN)
    assert set(in_order()) == {"postgres", "redis", *OURS}


def run(tool: str, *arguments: str) -> str:
    """Run a tool of the development environment on a file of ours; return what it complains about."""
    command = [str(Path(sys.executable).with_name(tool)), *arguments]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_the_file_is_what_the_compose_specification_describes(tmp_path: Path) -> None:
    schema = ("--builtin-schema", "vendor.compose-spec")
    misspelt = tmp_path / "docker-compose.yml"
    misspelt.write_text(COMPOSE_FILE.read_text().replace("healthcheck:", "health_check:", 1))

    assert run("check-jsonschema", *schema, str(COMPOSE_FILE)) == ""
    assert "health_check" in run("check-jsonschema", *schema, str(misspelt))


def test_the_dockerfile_passes_its_linter(tmp_path: Path) -> None:
    careless = tmp_path / "Dockerfile"
    careless.write_text("FROM python:latest\nRUN cd /tmp\n")

    assert run("hadolint", "Dockerfile") == ""
    assert "DL3007" in run("hadolint", str(careless))


def test_compose_accepts_the_file() -> None:
    compose = [shutil.which("docker") or "", "compose"]
    if not compose[0] or subprocess.run([*compose, "version"], check=False, capture_output=True).returncode:
        pytest.skip("no docker compose on this machine")

    done = subprocess.run([*compose, "--profile", "*", "config", "--quiet"], cwd=ROOT, check=False, capture_output=True)

    assert done.returncode == 0, done.stderr


@each_service
def test_no_key_is_misspelt(name: str) -> None:
    check = SERVICES[name]["healthcheck"]

    assert set(COMPOSE) == FILE_KEYS
    assert set(SERVICES[name]) <= SERVICE_KEYS
    assert set(check) == ({"disable"} if name in ONE_SHOT else CHECK_KEYS)
    assert set(SERVICES[name].get("networks", [])) <= set(COMPOSE["networks"])
    assert secrets_of(name) <= set(COMPOSE["secrets"])


@each_service
def test_a_container_has_no_more_rights_than_it_needs(name: str) -> None:
    service = SERVICES[name]

    user, group = service["user"].split(":")
    assert int(user) > 0
    assert int(group) > 0
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert any(mount.startswith("/tmp:") for mount in service["tmpfs"])  # noqa: S108  # a container's own
    assert all(mount["read_only"] for mount in binds(name))


@each_service
def test_a_container_cannot_take_the_machine(name: str) -> None:
    limits = SERVICES[name]["deploy"]["resources"]["limits"]

    assert float(limits["cpus"]) > 0
    assert re.fullmatch(r"\d+M", limits["memory"])
    assert limits["pids"] > 0
    assert set(SERVICES[name]["logging"]["options"]) == {"max-size", "max-file"}


@each_service
def test_what_ends_is_started_again_and_what_is_ill_is_seen(name: str) -> None:
    service = SERVICES[name]

    assert service["restart"] == ("no" if name in ONE_SHOT else "unless-stopped")
    assert ("test" in service["healthcheck"]) == (name not in ONE_SHOT)
    for other, how in service.get("depends_on", {}).items():
        assert how["condition"] == ("service_completed_successfully" if other in ONE_SHOT else "service_healthy")


@each_service
def test_an_image_has_a_version_and_comes_from_no_named_host(name: str) -> None:
    repository, _, tag = SERVICES[name]["image"].rpartition(":")

    assert re.match(r"v?\d", tag)
    assert "." not in repository
    if name in OURS:
        assert (repository, tag) == (PROJECT["project"]["name"], PROJECT["project"]["version"])


@each_service
def test_ports_are_open_on_the_loopback_alone(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))
    if name in {"postgres", "redis", "worker", "beat-1", "beat-2", "exporter"}:
        assert all(COMPOSE["networks"][network].get("internal") for network in SERVICES[name]["networks"])


@each_service
def test_a_secret_is_in_a_file_and_never_in_a_variable(name: str) -> None:
    for variable, value in environment(name).items():
        assert isinstance(value, str), variable
        assert "$" not in value
        assert "@" not in value
        if re.search("PASSWORD|SECRET|TOKEN|KEY|URL", variable):
            assert variable.endswith("_FILE")
            assert value.removeprefix(SECRETS) in secrets_of(name)
    for secret in secrets_of(name):
        assert COMPOSE["secrets"][secret] == {"file": f"./secrets/{secret}"}


@pytest.mark.parametrize("name", OURS)
def test_a_process_is_given_settings_that_exist_and_the_urls_that_it_needs(name: str) -> None:
    names = {variable.removeprefix(PREFIX).lower() for variable in environment(name)}
    urls = {each.removesuffix("_file") for each in names if each.endswith("_file")}

    assert urls == secrets_of(name) == GIVEN[name]
    assert urls <= set(URLS)
    assert names - {f"{url}_file" for url in urls} <= set(Settings.model_fields) - set(URLS)


@pytest.mark.parametrize("name", OURS)
def test_a_process_runs_a_command_that_exists(name: str) -> None:
    name, *options = SERVICES[name]["command"]
    command = activity.get_command(click.Context(activity), name)

    assert command is not None
    command.make_context(name, options)


def test_two_processes_agree_about_the_shards() -> None:
    shards = {environment(name)["ACTIVITY_SHARDS"] for name in OURS if name != "migrate"}

    assert len(shards) == 1


def test_a_beat_is_asked_for_the_lock_that_beats_hold() -> None:
    assert f'"{RedBeatConfig(celery()).lock_key}"' in health_check("beat-1")[-1]
    assert SERVICES["beat-1"] == SERVICES["beat-2"]


def test_the_broker_evicts_nothing_and_survives_a_restart() -> None:
    words = SERVICES["redis"]["command"]
    options = dict(zip(words[2::2], words[3::2], strict=True))

    assert (options["--maxmemory-policy"], options["--appendonly"]) == ("noeviction", "yes")


def test_a_worker_has_the_time_that_its_soft_shutdown_takes() -> None:
    worker = SERVICES["worker"]

    assert worker["stop_signal"] == "SIGQUIT"
    assert seconds(worker["stop_grace_period"]) >= celery().conf.worker_soft_shutdown_timeout + 10


def test_a_worker_may_grow_to_its_own_limit_before_it_meets_the_containers() -> None:
    limit_mb = int(SERVICES["worker"]["deploy"]["resources"]["limits"]["memory"].removesuffix("M"))
    processes = int(environment("worker")["ACTIVITY_WORKER_CONCURRENCY"])

    assert limit_mb > processes * settings.load().worker_max_memory_mb + 256


def binds(name: str) -> list[dict[str, Any]]:
    """Return the files and folders of this repository that the service mounts."""
    return [mount for mount in SERVICES[name].get("volumes", []) if isinstance(mount, dict)]


@each_service
def test_what_is_mounted_exists(name: str) -> None:
    for mount in binds(name):
        assert (ROOT / mount["source"]).exists(), mount["source"]
        assert mount["bind"] == {"create_host_path": False}
    named = [mount.partition(":")[0] for mount in SERVICES[name].get("volumes", []) if isinstance(mount, str)]
    assert set(named) <= set(COMPOSE["volumes"])


def test_secrets_are_made_once_and_for_their_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"

    subprocess.run([MAKE_SECRETS, str(folder)], check=True)
    again = subprocess.run([MAKE_SECRETS, str(folder)], check=False, capture_output=True, text=True)

    assert {path.name for path in folder.iterdir()} == set(COMPOSE["secrets"])
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o644}
    assert (again.returncode, again.stderr) == (
        1, f"make-secrets: {folder}: exists; remove it first, or choose another folder\n",
    )  # fmt: skip


def test_passwords_are_long_and_differ(tmp_path: Path) -> None:
    subprocess.run([MAKE_SECRETS, str(tmp_path / "secrets")], check=True)
    made = [word for path in (tmp_path / "secrets").iterdir() for word in re.findall("[0-9a-f]{48}", path.read_text())]

    # The owner's and the broker's are in two files each: theirs, and the URL.
    assert (len(made), len(set(made))) == (11, 9)


def test_the_image_is_built_from_the_lock_and_holds_no_tool_to_build_with() -> None:
    stages = DOCKERFILE.split("\nFROM ")

    assert [image.split()[0] for image in instructions("FROM")] == ["python:3.12-slim"] * 2
    assert len(stages) == 3
    downloads = [line for line in instructions("RUN") if "pip download" in line]
    assert len(downloads) == 1
    assert "--require-hashes" in downloads[0]
    assert "--requirement requirements.lock" in downloads[0]
    assert all("--no-index" in line for line in instructions("RUN") if re.search("pip.* (install|wheel) ", line))
    assert not re.search(r"apt-get|pip (install|download)|gcc", stages[2])
    assert "pip uninstall" in stages[2]


def test_the_image_runs_activity_as_nobody_in_particular() -> None:
    assert instructions("USER") == ["10001:10001"]
    assert {SERVICES[name]["user"] for name in OURS} == {"10001:10001"}
    assert instructions("ENTRYPOINT") == ['["activity"]']
    assert instructions("HEALTHCHECK") == ["NONE"]
    assert "activity" in PROJECT["project"]["scripts"]


def test_the_builder_is_sent_what_it_copies_and_nothing_else() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    sent = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    copied = {word for line in instructions("COPY") if "--from" not in line for word in line.split()[:-1]}

    assert rules[0] == "*"
    assert sent == copied
    assert all((ROOT / name).exists() for name in copied)
    assert {package.partition(".")[0] for package in PROJECT["tool"]["setuptools"]["packages"]} <= copied
