"""Consistency of the committed console bundle and API types with their sources, checked without Node.js."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from api.openapi import typescript

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "api" / "console"
BUNDLE = ROOT / "api" / "bundle"
MANIFEST = json.loads((BUNDLE / "manifest.json").read_text())


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def hash_of_sources() -> str:
    """Return the hash of all sources, as `vite.config.js` computes it."""
    paths = (path for path in SOURCES.rglob("*") if path.is_file() and "node_modules" not in path.parts)
    names = sorted(path.relative_to(SOURCES).as_posix() for path in paths)
    return sha256("".join(f"{name}\n{sha256((SOURCES / name).read_bytes())}\n" for name in names).encode())


def test_bundle_matches_the_sources() -> None:
    assert MANIFEST["sources"] == hash_of_sources(), "run `make console` and commit api/bundle"


def test_bundle_files_match_the_manifest() -> None:
    found = {
        path.name: {"sha256": sha256(path.read_bytes())}
        for path in BUNDLE.iterdir()
        if path != BUNDLE / "manifest.json"
    }

    assert found == MANIFEST["files"]


def test_types_match_the_openapi_document() -> None:
    header = (SOURCES / "src" / "openapi.d.ts").read_text().partition("\n")[0]

    assert typescript.sha256() in header, "run `make console` and commit api/console/src/openapi.d.ts and api/bundle"


def test_types_do_not_depend_on_signals_or_texts() -> None:
    schemas = json.loads(typescript.as_bytes())["components"]["schemas"]

    assert schemas["Change"]["properties"]["signal"] == {"type": "string"}
    assert "description" not in schemas["Signal"]["properties"]["route"]
    assert "description" in schemas["Signal"]["properties"]["columns"]["items"]["properties"]


def test_package_lock_has_no_registry_address() -> None:
    lock = (SOURCES / "package-lock.json").read_text()

    assert '"resolved"' not in lock
    assert '"integrity": "sha512-' in lock


def test_bundle_has_no_external_url() -> None:
    names = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xhtml", "http://www.w3.org/1998/Math/MathML"}
    for path in BUNDLE.glob("*.*"):
        text = path.read_text()
        for name in sorted(names):
            text = text.replace(name, "")
        assert "http://" not in text, path.name
        assert "https://" not in text, path.name
