"""Screenshots for docs/images from a running installation: `. .activity/environment; make pictures`."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from PIL import Image
from playwright.sync_api import sync_playwright

from tests.browser.conftest import CHROMIUM, OPTIONS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

#: Palette size: the console has few colours, and a palette makes a file a third as large.
_COLOURS: Final = 128
FOLDER: Final = Path(__file__).parents[2] / "docs" / "images"


@dataclass(frozen=True, slots=True)
class Picture:
    """A screenshot: name, window size, theme, and the link of the overview that opens its view."""

    name: str
    width: int
    height: int
    scheme: Literal["light", "dark"]
    link: str | None = None


_PATIENCE_MS: Final = 120_000

PICTURES: Final = (
    Picture("console-overview", 1440, 1000, "light"),
    Picture("console-overview-dark", 1440, 1000, "dark"),
    Picture("console-run", 1280, 660, "light", "#patterns .card:has-text('Timeout cascade') .run-links a"),
    Picture("console-agent", 1280, 760, "dark", "#cost .agent a"),
    Picture("console-narrow", 360, 780, "light"),
    Picture("console-wide", 2560, 1300, "light"),
)


def main() -> None:
    """Take every screenshot."""
    url = os.environ["ACTIVITY_URL"]  # noqa: TID251  # of the running installation
    key = os.environ["ACTIVITY_KEY"]  # noqa: TID251  # of the running installation
    FOLDER.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(OPTIONS))
        for picture in PICTURES:
            page = _open(browser, url, key, picture)
            page.mouse.move(0, picture.height - 1)
            page.wait_for_timeout(1500)
            (FOLDER / f"{picture.name}.png").write_bytes(small(page.screenshot()))
            page.context.close()
        browser.close()


def small(png: bytes) -> bytes:
    """Return a screenshot as a PNG with an own palette, as small as possible."""
    with Image.open(io.BytesIO(png)) as picture:
        reduced = picture.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
    written = io.BytesIO()
    reduced.save(written, "PNG", optimize=True)
    return written.getvalue()


def _open(browser: Browser, url: str, key: str, picture: Picture) -> Page:
    context = browser.new_context(
        viewport={"width": picture.width, "height": picture.height},
        color_scheme=picture.scheme,
        timezone_id="UTC",
        locale="en-GB",
    )
    context.request.post(f"{url}/api/v1/session", data={"api_key": key})
    page = context.new_page()
    page.goto(f"{url}/console/")
    # Sparklines need a second refresh.
    for selector in ("#queue .item", "#cost .agent", "#patterns .card", "#queue .spark"):
        page.wait_for_selector(selector, timeout=_PATIENCE_MS)
    if picture.link is not None:
        page.locator(picture.link).first.click()
        page.wait_for_selector(".detail .panel")
    return page


if __name__ == "__main__":
    main()
