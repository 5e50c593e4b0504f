"""Writer of snapshots/catalogue.json: python -m tests.migrations.write_catalogue URL_OF_A_MIGRATED_DATABASE."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from snapshots import catalogue, database

if TYPE_CHECKING:
    from collections.abc import Iterable

    from snapshots.catalogue import Part

FILE = Path(catalogue.__file__).with_name("catalogue.json")


def as_text(parts: Iterable[Part]) -> str:
    """Return the parts as JSON, one a line."""
    ordered = sorted(parts, key=lambda part: (part.kind, part.name, part.state))
    return "[\n" + ",\n".join(json.dumps(part) for part in ordered) + "\n]\n"


def write(url: str) -> None:
    """Write the catalogue of the database at `url`."""
    engine = database.connect(url)
    with engine.connect() as conn:
        FILE.write_text(as_text(catalogue.read(conn, with_repair=True)), encoding="utf-8")
    engine.dispose()


if __name__ == "__main__":
    write(sys.argv[1])
