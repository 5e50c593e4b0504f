"""Base of every endpoint: it checks the key, the capability and the parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from api.http.context import CALLER
from api.http.parameters import Query

if TYPE_CHECKING:
    from falcon import Request, Response

    from api.auth.authentication import Caller, Gate
    from api.auth.limits import Limit


@dataclass(frozen=True, slots=True)
class Guard:
    """First checks of a request: authentication, then the rate limit of its key."""

    gate: Gate
    limit: Limit

    def admit(self, req: Request, capability: str | None) -> Caller:
        """Return who asks. Raises ProblemError: 401 and 403 as the gate does, 429 above the limit."""
        caller = self.gate.admit(req, capability)
        req.env[CALLER] = caller
        self.limit.check(caller.key_id)
        return caller


class Endpoint(ABC):
    """A resource that needs a key with `capability` (None: any key) and takes `parameters`."""

    def __init__(self, guard: Guard, capability: str | None, parameters: frozenset[str]) -> None:
        """Take the guard that every request passes first."""
        self._guard = guard
        self._capability = capability
        self._parameters = parameters

    def on_get(self, req: Request, resp: Response) -> None:
        """Admit the request, then answer it."""
        caller = self._guard.admit(req, self._capability)
        query = Query(req.params, self._parameters)
        resp.append_header("Vary", "Authorization, Cookie")
        self.answer(caller, query, req, resp)

    def on_head(self, req: Request, resp: Response) -> None:
        """Answer as GET does; Falcon leaves the body out."""
        self.on_get(req, resp)

    @abstractmethod
    def answer(self, caller: Caller, query: Query, req: Request, resp: Response) -> None:
        """Fill `resp` for `caller`. Raises ProblemError for what cannot be answered."""
