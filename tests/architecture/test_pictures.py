"""The documentation's pictures: there, small, and each shown somewhere."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"
SHOWN = re.compile(r"!\[[^\]]+\]\(([^)]+)\)")


def test_every_picture_is_shown_with_words_and_every_one_that_is_shown_is_there() -> None:
    shown = {
        (document.parent / target).resolve()
        for document in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
        for target in SHOWN.findall(document.read_text())
    }

    assert shown == set(IMAGES.iterdir())
    assert sum(path.stat().st_size for path in shown) < 600_000


def test_the_readme_opens_with_the_console() -> None:
    first = (ROOT / "README.md").read_text().split("\n\n")[1]

    assert SHOWN.findall(first) == ["docs/images/console-overview.png"]
