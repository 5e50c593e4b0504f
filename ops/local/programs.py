"""The processes of an installation: what each runs, and the secrets that it is given."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from ops.local.children import INSTANCE_VARIABLE
from ops.local.supervisor import Program
from snapshots.setting_files import PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from snapshots.settings import Settings

#: The URLs that each process is given, and no other: what it cannot reach it cannot harm.
_URLS: Final[Mapping[str, Sequence[str]]] = {
    "worker": ("worker_database_url", "broker_url"),
    "beat": ("broker_url",),
    "api": ("auth_database_url", "reader_database_url", "triage_database_url"),
    "demo-feed": ("database_url",),
}
#: URLs that nothing stands in for.
_OPTIONAL: Final[Mapping[str, Sequence[str]]] = {"api": ("rate_limit_url",)}
_SECRETS: Final = frozenset(
    f"{PREFIX}{name}_URL"
    for name in (
        "DATABASE",
        "WORKER_DATABASE",
        "AUTH_DATABASE",
        "READER_DATABASE",
        "TRIAGE_DATABASE",
        "INGEST_DATABASE",
        "BROKER",
        "RATE_LIMIT",
    )
)


def program(name: str, current: Settings, folder: Path) -> Program:
    """Return the process `name` of the installation in `folder`, run by this interpreter."""
    options = ["--port", str(current.api_port), "--port-is-held"] if name == "api" else []
    inherited = {key: value for key, value in os.environ.items() if key.removesuffix("_FILE") not in _SECRETS}  # noqa: TID251  # handed on
    environment = {**inherited, **_urls(name, current), INSTANCE_VARIABLE: str(folder)}
    return Program(name, [sys.executable, "-m", "ops.cli", name, *options], environment)


def operator_urls(current: Settings) -> dict[str, str]:
    """Return the variables of every URL that is set: what an operator's commands need."""
    fields = {variable: variable.removeprefix(PREFIX).lower() for variable in sorted(_SECRETS)}
    found = {variable: getattr(current, name) for variable, name in fields.items()}
    return {variable: str(url.get_secret_value()) for variable, url in found.items() if url is not None}


def _urls(name: str, current: Settings) -> dict[str, str]:
    """Return the variables of the URLs that `name` needs; the owner's stands in under its own name, as everywhere."""
    needed = [url if getattr(current, url) is not None else "database_url" for url in _URLS[name]]
    wanted = [url for url in _OPTIONAL.get(name, ()) if getattr(current, url) is not None]
    return {f"{PREFIX}{url.upper()}": str(getattr(current, url).get_secret_value()) for url in (*needed, *wanted)}
