"""Grain of the code: private functions that are called once are hops that a reader pays for."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PARTS = ("api", "ingest", "migrations", "ops", "snapshots", "worker")
#: Of all functions, the share that may be private and called once; lower it when it falls, the goal is 0.15.
LIMIT = 0.29


class Grain(NamedTuple):
    """Counts of one or more modules."""

    functions: int
    hops: tuple[str, ...]


def grain_of(source: str, name: str) -> Grain:
    """Return the functions of a module, and its private ones that are named once besides their definition."""
    tree = ast.parse(source)
    named = Counter(node.id for node in ast.walk(tree) if isinstance(node, ast.Name))
    named += Counter(node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    private = [each.name for each in functions if each.name.startswith("_") and not each.name.startswith("__")]
    return Grain(len(functions), tuple(f"{name}: {each}" for each in private if named[each] == 1))


def test_a_private_function_that_is_called_once_is_counted() -> None:
    source = "def _hop(): ...\ndef _shared(): ...\ndef public():\n    _hop(); _shared(); _shared()\n"

    assert grain_of(source, "module") == Grain(3, ("module: _hop",))


def test_few_private_functions_are_called_once() -> None:
    grains = [
        grain_of(path.read_text(), str(path.relative_to(ROOT)))
        for part in PARTS
        for path in sorted((ROOT / part).rglob("*.py"))
        if "versions" not in path.parts
    ]
    functions, hops = sum(each.functions for each in grains), [hop for each in grains for hop in each.hops]

    assert len(hops) <= LIMIT * functions, f"{len(hops)} of {functions}: " + ", ".join(hops)
