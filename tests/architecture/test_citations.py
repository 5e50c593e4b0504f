"""Citations and links: what code and documents refer to exists, and docstrings begin with their subject."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from snapshots.setting_files import URLS
from snapshots.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[2]
#: Folders that are still to be rewritten: they may cite ruling numbers and begin docstrings with a question word.
EXEMPT: tuple[str, ...] = ()
FOLDERS: Final = ("api", "benchmarks", "ingest", "migrations", "ops", "snapshots", "tests", "worker")
DOCUMENTS: Final = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
CODE: Final = [
    path
    for folder in FOLDERS
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in {".py", ".sql", ".toml"} and "node_modules" not in path.parts
]

_CITATION: Final = re.compile(r"\bdocs/[\w/.-]+\.md(?:#[\w-]+)?")
_LINK: Final = re.compile(r"(?<!!)\[[^\]]*\]\(([^()\s]+)\)")
_HEADING: Final = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
_FENCED: Final = re.compile(r"^(`{3,}|~{3,}).*?^\1", re.DOTALL | re.MULTILINE)
_RULING: Final = re.compile(r"\bR[0-9]{1,2}[a-z]?\b")
_ABSENT: Final = re.compile(r"(?:\brulings|\bstyle|(?<!docs/)(?<!\]\()(?<!`)\barchitecture)\.md\b")
_QUESTION: Final = re.compile(r"(?:What|Who|How|Where|Whether|Why)(?:ever)?\b")
#: Variables of the shell in examples, which the demo exports or a reader sets.
_NO_SETTINGS: Final = frozenset({"ACTIVITY_INGEST_KEY", "ACTIVITY_KEY", "ACTIVITY_TENANT", "ACTIVITY_URL"})


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def is_exempt(path: Path) -> bool:
    return path.relative_to(ROOT).parts[0] in EXEMPT


def targets(document: Path) -> Iterator[str]:
    """Yield the targets of a document's links that are neither addresses nor in a fenced block."""
    text = _FENCED.sub("", document.read_text())
    yield from (target for target in _LINK.findall(text) if "://" not in target and not target.startswith("mailto:"))


@cache
def anchors(document: Path) -> frozenset[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    headings = _HEADING.findall(_FENCED.sub("", document.read_text()))
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings)
    return frozenset(re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain)


def fault(target: str, *, folder: Path, document: Path | None = None) -> str | None:
    """Return what is wrong with a reference from `folder`, or None; one without a path is to `document` itself."""
    path, _, anchor = target.partition("#")
    found = (folder / path).resolve() if path else document
    if found is None or not found.exists():
        return f"{target}: no such file"
    if anchor and anchor not in anchors(found):
        return f"{target}: no such heading"
    return None


@pytest.mark.parametrize("path", CODE, ids=name)
def test_every_citation_in_code_resolves(path: Path) -> None:
    cited = {citation.rstrip(".") for citation in _CITATION.findall(path.read_text())}

    assert not [found for each in sorted(cited) if (found := fault(each, folder=ROOT))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_link_in_a_document_resolves(document: Path) -> None:
    found = [fault(target, folder=document.parent, document=document) for target in targets(document)]

    assert not [each for each in found if each]


@pytest.mark.parametrize("path", [path for path in (*CODE, *DOCUMENTS) if not is_exempt(path)], ids=name)
def test_nothing_cites_ruling_numbers_or_absent_files(path: Path) -> None:
    if path == Path(__file__):
        return
    text = path.read_text()

    assert not _RULING.findall(text)
    assert not _ABSENT.findall(text)


@pytest.mark.parametrize("path", [path for path in CODE if path.suffix == ".py" and not is_exempt(path)], ids=name)
def test_docstrings_begin_with_their_subject(path: Path) -> None:
    nodes = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    texts = [ast.get_docstring(node) or "" for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, nodes)]

    assert not [text for text in texts if _QUESTION.match(text)]


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_documents_name_only_settings_that_exist(document: Path) -> None:
    settings = {f"ACTIVITY_{field.upper()}" for field in Settings.model_fields}
    settings |= {f"ACTIVITY_{field.upper()}_FILE" for field in URLS}
    named = set(re.findall(r"\bACTIVITY_[A-Z0-9_]*[A-Z0-9]\b", document.read_text()))

    assert named - settings - _NO_SETTINGS == set()
