"""Completeness of the wheel: it holds every package and every data file."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PARTS = ("api", "ingest", "migrations", "ops", "snapshots", "worker")
#: What is for a checkout: units, container files, dashboards, the console's sources. The wheel goes without.
OF_THE_CHECKOUT = ("api/console", "ops/containers", "ops/monitoring", "ops/systemd")
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def test_every_package_is_listed() -> None:
    found = {path.parent for part in PARTS for path in (ROOT / part).rglob("__init__.py")}

    assert {".".join(folder.relative_to(ROOT).parts) for folder in found} == set(SETUPTOOLS["packages"])


def test_every_data_file_is_listed() -> None:
    listed = {
        path
        for part, globs in SETUPTOOLS["package-data"].items()
        for each in globs
        for path in (ROOT / part).glob(each)
    }
    present = {path for part in PARTS for path in (ROOT / part).rglob("*") if path.is_file()}
    apart = {path for path in present if any(path.is_relative_to(ROOT / folder) for folder in OF_THE_CHECKOUT)}

    assert {path for path in present - apart if path.suffix not in {".py", ".pyc"}} == listed


def test_the_lock_names_no_address() -> None:
    lock = (ROOT / "requirements.lock").read_text()

    assert "://" not in lock
    assert "--hash=sha256:" in lock
