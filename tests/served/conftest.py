"""Fixtures of the suites against real API processes: a database with two tenants, shared by the session."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.served.tenants import Estate, furnish

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.postgres import Server


@pytest.fixture(scope="session")
def estate(server: Server, private_folder: Path) -> Iterator[Estate]:
    """Yield a database with two tenants, their snapshots and their credentials."""
    url = server.create_migrated_database()
    yield furnish(url, private_folder / "estate")
    server.drop_database(url)


@pytest.fixture(scope="session")
def is_full_size(request: pytest.FixtureRequest) -> bool:
    """Return whether the suites run at full size, as `make test-hostile` asks for."""
    return bool(request.config.getoption("--full-size"))
