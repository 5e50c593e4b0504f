"""docker-compose.yml as it is parsed, and what its services run, for the tests of it."""

from __future__ import annotations

from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, Final

import yaml  # type: ignore[import-untyped]  # its types are no dependency of ours

ROOT: Final = Path(__file__).parents[2]
COMPOSE: Final[dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: Final[dict[str, dict[str, Any]]] = COMPOSE["services"]
#: The services that run our image; the others run somebody else's.
OURS: Final = [name for name, service in SERVICES.items() if "build" in service]
SECRETS: Final = "/run/secrets/"


def environment(name: str) -> dict[str, str]:
    """Return the variables that the service is given."""
    found: dict[str, str] = SERVICES[name].get("environment", {})
    return found


def in_order() -> list[str]:
    """Return the database, the broker and the services of ours, each after those that it waits for."""
    graph = {name: set(SERVICES[name].get("depends_on", {})) for name in OURS}
    return list(TopologicalSorter(graph).static_order())


def health_check(name: str) -> list[str]:
    """Return the command that tells whether the service is healthy, as its container would run it."""
    form, *words = (word.replace("$$", "$") for word in SERVICES[name]["healthcheck"]["test"])
    return words if form == "CMD" else ["sh", "-c", *words]


def seconds(duration: str) -> float:
    """Return a duration of the file's, which are all in whole seconds."""
    return float(duration.removesuffix("s"))
