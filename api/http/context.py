"""Names in the WSGI environment under which the layers of a request exchange values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import datetime

    from api.auth.authentication import Caller

#: The request's name in logs and responses.
REQUEST_ID: Final = "activity.request_id"
#: The template of the path, such as `/api/v1/activity/runs`.
ROUTE: Final = "activity.route"
#: Who asks, once that is known.
CALLER: Final = "activity.caller"
#: A `Repeatable`, where a resource says that its answer may be repeated.
REPEATABLE: Final = "activity.repeatable"


@dataclass(frozen=True, slots=True)
class Repeatable:
    """Properties of a repeatable response: its tag, when it goes stale, until when it may be repeated, and its caller.

    `until` is an instant of the caches' timer, seconds.
    """

    etag: str
    stale_after: datetime
    until: float
    caller: Caller
