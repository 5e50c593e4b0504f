"""Query files of the worker: those of the signals, and those of the engine."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from snapshots.errors import QueryDeclarationError
from snapshots.queries import Query, parse

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable


#: Queries that are generated from a signal's columns, by name.
_GENERATED: dict[str, Query] = {}


def register(query: Query) -> None:
    """Make a generated query loadable by its name."""
    _GENERATED[query.name] = query


def load(name: str) -> Query:
    """Return the query `<signal>/<step>` of a signal's folder, or `engine/<name>` of the engine.

    Raises QueryDeclarationError naming the file and what is wrong with it.
    """
    return _GENERATED.get(name) or _read(name)


@cache
def _read(name: str) -> Query:
    group, _, stem = name.rpartition("/")
    source = _folder(group).joinpath(f"{stem}.sql")
    if not source.is_file():
        raise QueryDeclarationError(f"{name}.sql: not in the package; expected a file in {_folder(group)}")
    return parse(name, source.read_text(encoding="utf-8"))


def names() -> tuple[str, ...]:
    """Return the names of all query files, sorted."""
    signals = resources.files("worker").joinpath("signals")
    groups = ["engine", *(entry.name for entry in signals.iterdir() if entry.is_dir())]
    return tuple(
        sorted(
            f"{group}/{entry.name.removesuffix('.sql')}"
            for group in groups
            for entry in _folder(group).iterdir()
            if entry.name.endswith(".sql")
        )
    )


def _folder(group: str) -> Traversable:
    parts = ("engine", "sql") if group == "engine" else ("signals", group)
    return resources.files("worker").joinpath(*parts)
