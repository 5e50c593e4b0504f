"""The expressions of our alerts and dashboards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import yaml  # type: ignore[import-untyped]  # it ships no types

FOLDER: Final = Path(__file__).parents[2] / "ops" / "monitoring"


def load(name: str) -> Any:  # noqa: ANN401  # whatever the file holds
    """Return the content of a YAML file."""
    return yaml.safe_load((FOLDER / name).read_text())


def rules() -> list[dict[str, Any]]:
    """Return the alerting rules of every group."""
    return [rule for group in load("alerts.yml")["groups"] for rule in group["rules"]]


def alerts() -> dict[str, str]:
    """Return the expression of each alert by its name."""
    return {rule["alert"]: rule["expr"] for rule in rules()}


def dashboard() -> dict[str, Any]:
    """Return the dashboard."""
    found: dict[str, Any] = json.loads((FOLDER / "grafana" / "dashboards" / "activity-signals.json").read_text())
    return found


def panels() -> list[str]:
    """Return the expression of each target of each panel."""
    return [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", ())]
