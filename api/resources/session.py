"""POST, GET and DELETE /api/v1/session: the console's way in and out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import falcon

from api.auth import session
from api.auth.authentication import unauthorized
from api.http import payload, wire
from api.http.parameters import Query
from snapshots.body import instant

if TYPE_CHECKING:
    from falcon import Request, Response

    from api.auth.limits import FailureLimit
    from api.http.endpoint import Guard


class Session:
    """The session of a browser; its cookie is a credential like the header, and the header wins."""

    def __init__(self, guard: Guard, failures: FailureLimit) -> None:
        """Take the guard of a session in use, and what bounds wrong credentials."""
        self._guard = guard
        self._failures = failures

    def on_post(self, req: Request, resp: Response) -> None:
        """Begin a session with the credential in the body.

        Raises ProblemError: 400 and 415 for another body, 401 for a credential that is not valid, 403 for another
        site's page, 429 after too many that were not valid.
        """
        session.check_login(req)
        Query(req.params, ())
        credential = session.credential_from(payload.members(req, {"api_key"}).get("api_key"))
        if self._failures.bounded(req.remote_addr, lambda: self._guard.gate.caller(credential)) is None:
            raise unauthorized()
        _have_kept(resp, session.begun(req, credential))

    def on_get(self, req: Request, resp: Response) -> None:
        """Say whom the session speaks for, and what it may do.

        Raises ProblemError: 400 for a parameter, of which there are none, 401 without a valid one, 429.
        """
        caller = self._guard.admit(req, None)
        Query(req.params, ())
        until = None if caller.valid_until is None else instant(caller.valid_until)
        capabilities = sorted(caller.capabilities)
        body: dict[str, object] = {"tenant_id": caller.tenant_id, "capabilities": capabilities, "valid_until": until}
        resp.data = wire.dump(body)
        resp.append_header("Vary", "Authorization, Cookie")
        resp.set_header("Cache-Control", "no-store")

    def on_head(self, req: Request, resp: Response) -> None:
        """Answer as GET does; Falcon leaves the body out."""
        self.on_get(req, resp)

    def on_delete(self, req: Request, resp: Response) -> None:
        """End the session, valid or not; there may be none.

        Raises ProblemError: 400 for a parameter, 403 for another site's page.
        """
        session.credential_of(req)
        Query(req.params, ())
        _have_kept(resp, session.ended())


def _have_kept(resp: Response, cookies: tuple[str, ...]) -> None:
    """Say `cookies`, and nothing else."""
    for cookie in cookies:
        resp.append_header("Set-Cookie", cookie)
    resp.status = falcon.HTTP_204
    resp.set_header("Cache-Control", "no-store")
