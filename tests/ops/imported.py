"""An application that tells which process imported it, and which one answers; `--port N` serves it."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

from ops.serving import Serving, serve

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

IMPORTED_BY = os.getpid()


def get_app() -> object:
    """Return the application, as a server asks for it."""
    return _answer


def _answer(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"imported_by": IMPORTED_BY, "answered_by": os.getpid()}).encode()]


if __name__ == "__main__":
    serve("tests.ops.imported:get_app", Serving("127.0.0.1", int(sys.argv[-1]), 2, 1, "info"))
