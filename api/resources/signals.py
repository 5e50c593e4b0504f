"""GET /api/v1/activity/signals: the catalogue of the signals that the credential may read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from api.http import wire
from api.http.endpoint import Endpoint
from snapshots.signal_catalogue import CATALOGUE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from falcon import Request, Response
    from pydantic import BaseModel

    from api.auth.authentication import Caller
    from api.http.endpoint import Guard
    from api.http.parameters import Query
    from snapshots.signal_catalogue import SignalDefinition

#: Members of a definition that are sent as they are.
_MEMBERS: Final = frozenset(
    {"name", "title", "finds", "explanation", "capability", "item_list", "item_key", "severity", "period_s"}
)


class Signals(Endpoint):
    """The signal catalogue, filtered by the caller's capabilities. Any valid credential may ask."""

    def __init__(self, guard: Guard, prefix: str) -> None:
        """Take the prefix of the routes."""
        super().__init__(guard, None, frozenset())
        self._prefix = prefix

    def answer(self, caller: Caller, query: Query, req: Request, resp: Response) -> None:
        """Send the catalogue. It differs between credentials, so no cache may keep it."""
        readable = [each for each in CATALOGUE.values() if each.capability in caller.capabilities]
        resp.data = wire.dump({"signals": [describe(each, self._prefix) for each in readable]})
        resp.set_header("Cache-Control", "no-store")


def describe(definition: SignalDefinition, prefix: str) -> dict[str, Any]:
    """Return one entry of the catalogue. Columns, thresholds, components and kinds are lists in their order."""
    return {
        **definition.model_dump(mode="json", include=set(_MEMBERS)),
        "route": prefix + definition.route,
        "columns": _listed(definition.columns, "type", "unit", "description"),
        "thresholds": _listed(definition.thresholds, "type", "default", "unit", "description", "extra"),
        "components": _listed(definition.components, "title", "code", "levels"),
        "kinds": _listed(definition.kinds, "title", "rule"),
    }


def _listed(models: Mapping[str, BaseModel], *members: str) -> list[dict[str, Any]]:
    return [{"name": name, **model.model_dump(mode="json", include=set(members))} for name, model in models.items()]
