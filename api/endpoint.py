"""What every endpoint of the API does before it answers: the key, the capability, the parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from api.parameters import Query

if TYPE_CHECKING:
    from falcon import Request, Response

    from api.authentication import Caller, Gate


class Endpoint(ABC):
    """A resource that needs a key with `capability` and takes `parameters`."""

    def __init__(self, gate: Gate, capability: str, parameters: frozenset[str]) -> None:
        """Take the gate that every request passes first."""
        self._gate = gate
        self._capability = capability
        self._parameters = parameters

    def on_get(self, req: Request, resp: Response) -> None:
        """Admit the request, then answer it."""
        caller = self._gate.admit(req, self._capability)
        query = Query(req.params, self._parameters)
        resp.set_header("Vary", "Authorization")
        self.answer(caller, query, req, resp)

    def on_head(self, req: Request, resp: Response) -> None:
        """Answer as GET does; Falcon leaves the body out."""
        self.on_get(req, resp)

    @abstractmethod
    def answer(self, caller: Caller, query: Query, req: Request, resp: Response) -> None:
        """Fill `resp` for `caller`. Raises ProblemError for what cannot be answered."""
