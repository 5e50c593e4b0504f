"""The console's bundle is committed: it must be the one that its sources make, without Node.js to make it again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "api" / "console"
BUNDLE = ROOT / "api" / "bundle"
MANIFEST = json.loads((BUNDLE / "manifest.json").read_text())


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def hash_of_sources() -> str:
    """Return the hash of all sources, as `vite.config.js` writes it down."""
    paths = (path for path in SOURCES.rglob("*") if path.is_file() and "node_modules" not in path.parts)
    names = sorted(path.relative_to(SOURCES).as_posix() for path in paths)
    return sha256("".join(f"{name}\n{sha256((SOURCES / name).read_bytes())}\n" for name in names).encode())


def test_the_bundle_was_made_from_these_sources() -> None:
    assert MANIFEST["sources"] == hash_of_sources(), "run `make console` and commit api/bundle"


def test_the_bundle_is_as_it_was_made() -> None:
    found = {
        path.name: {"sha256": sha256(path.read_bytes())}
        for path in BUNDLE.iterdir()
        if path != BUNDLE / "manifest.json"
    }

    assert found == MANIFEST["files"]


def test_the_lock_of_the_build_names_no_address() -> None:
    lock = (SOURCES / "package-lock.json").read_text()

    assert '"resolved"' not in lock
    assert '"integrity": "sha512-' in lock


def test_the_bundle_asks_nobody_else_for_anything() -> None:
    names = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xhtml", "http://www.w3.org/1998/Math/MathML"}
    for path in BUNDLE.glob("*.*"):
        text = path.read_text()
        for name in sorted(names):
            text = text.replace(name, "")
        assert "http://" not in text, path.name
        assert "https://" not in text, path.name
