"""Import directions of the packages (docs/architecture.md#import-directions)."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("api", "ingest", "migrations", "ops", "snapshots", "worker")

#: What a part may import of the others; `benchmarks` and `tests` are outside and import what they measure.
ALLOWED = {
    "api": {"snapshots"},
    "ingest": {"snapshots"},
    "migrations": {"snapshots"},
    "ops": {"api", "ingest", "migrations", "snapshots", "worker"},
    "snapshots": set[str](),
    "worker": {"snapshots"},
}

#: Modules of the worker that Celery starts or configures; the engine, the SQL and the writer stay free of it.
CELERY_SHELLS = {"app.py", "message_expiry.py", "main.py", "tasks.py"}


def modules(part: str) -> list[Path]:
    return sorted((ROOT / part).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Return the top-level names that a module imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("part", PARTS)
def test_a_part_imports_only_what_it_may(part: str) -> None:
    for path in modules(part):
        foreign = imported(path) & set(PARTS) - {part} - ALLOWED[part]
        assert not foreign, f"{path.relative_to(ROOT)} imports {', '.join(sorted(foreign))}"


def test_the_boundary_knows_neither_celery_nor_falcon() -> None:
    for path in modules("snapshots"):
        assert not imported(path) & {"celery", "kombu", "falcon", "granian"}, path.name


def test_the_engine_does_not_import_celery() -> None:
    for path in modules("worker"):
        if path.name not in CELERY_SHELLS:
            assert not imported(path) & {"celery", "kombu", "redbeat"}, path.name


def test_the_read_layer_is_free_of_celery_and_flask() -> None:
    for path in modules("api"):
        assert not imported(path) & {"celery", "flask", "kombu"}, path.name


def test_package_files_hold_a_docstring_and_nothing_else() -> None:
    for part in PARTS:
        for path in (ROOT / part).rglob("__init__.py"):
            body = ast.parse(path.read_text()).body
            assert [type(node) for node in body] == [ast.Expr], path.relative_to(ROOT)


def test_the_read_layers_process_carries_no_celery() -> None:
    loaded = "import sys, ops.commands.api, ops.cli, api.wsgi; print('celery' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", loaded], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"
