"""Bounds of the memory of an API process under any requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import literal_column, select

from api import wsgi
from snapshots import settings

if TYPE_CHECKING:
    import pytest


def test_statements_of_many_shapes_are_not_all_remembered(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTIVITY_DATABASE_URL", database_url)
    engine = wsgi._engine(settings.load(), "reader")  # noqa: SLF001  # as a process makes it
    with engine.connect() as conn:
        for number in range(100):
            conn.execute(select(*(literal_column(f"{place}") for place in range(number + 1)))).all()

    remembered = engine._compiled_cache  # noqa: SLF001  # SQLAlchemy shows it nowhere else
    assert remembered is not None
    assert 0 < len(remembered) <= 24
    engine.dispose()
