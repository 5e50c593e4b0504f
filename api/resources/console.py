"""GET /console/: the page for people, and its files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import falcon

from api.bundle import INDEX
from api.http.conditions import is_held

if TYPE_CHECKING:
    from collections.abc import Mapping

    from falcon import Request, Response

    from api.bundle import File

PATH: Final = "/console/"
#: The page's own script, style and requests, and nothing from anywhere else; no script or style inside the page.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'"
)


class Console:
    """The files of the console; a name that is none of them leads nowhere."""

    def __init__(self, files: Mapping[str, File]) -> None:
        """Take the files by name."""
        self._files = files

    def on_get(self, req: Request, resp: Response, name: str) -> None:
        """Send a file, or 304 when the client holds it. Raises HTTPRouteNotFound where there is none of that name."""
        file = self._files.get(name or INDEX)
        if file is None:
            raise falcon.HTTPRouteNotFound
        resp.set_headers({"Cache-Control": file.cache_control, "ETag": f'W/"{file.etag}"', "Vary": "Accept-Encoding"})
        resp.set_header("Content-Security-Policy", POLICY)
        resp.set_header("Cross-Origin-Opener-Policy", "same-origin")
        if is_held(req, file.etag):
            resp.status = falcon.HTTP_304
            return
        resp.content_type = file.media_type
        resp.data, coding = file.body(req.get_header("Accept-Encoding", default=""))
        if coding is not None:
            resp.set_header("Content-Encoding", coding)

    def on_head(self, req: Request, resp: Response, name: str) -> None:
        """Answer as GET does; Falcon leaves the body out."""
        self.on_get(req, resp, name)


class ConsoleFolder:
    """GET /console: the console's address without its last slash."""

    def on_get(self, req: Request, resp: Response) -> None:
        """Send the browser to the page."""
        redirect(resp, falcon.HTTP_308)

    on_head = on_get


def redirect(resp: Response, status: str) -> None:
    """Send the browser to the page."""
    resp.status = status
    resp.set_header("Location", PATH)
