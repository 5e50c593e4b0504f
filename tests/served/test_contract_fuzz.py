"""The served API against its own OpenAPI document: schemathesis, with all of its checks and phases."""

from __future__ import annotations

import logging
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

from tests.served.serving import Served, serving, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from schemathesis.core.failures import Failure
    from schemathesis.core.transport import Response
    from schemathesis.engine.recorder import ScenarioRecorder

    from tests.postgres import Server
    from tests.served.tenants import Estate

#: Requests at least, and the examples per operation that make so many; the rest are the coverage phase's.
SMALL: Final = (600, 10)
FULL: Final = (20_000, 1600)
_ANSWERED: Final = re.compile(r"^activity_http_request_duration_seconds_count{.*} (\S+)$", re.MULTILINE)

_log = logging.getLogger(__name__)


@pytest.fixture
def served(server: Server, estate: Estate, private_folder: Path) -> Iterator[Served]:
    with serving(server, estate.database, private_folder, api_threads=16, api_live_concurrency=16) as started:
        yield started


@dataclass
class Findings:
    """The checks that ran and the statuses that they saw, counted, and what they object to, each kind once."""

    checks: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    faults: dict[str, str] = field(default_factory=dict)

    def add(self, event: events.EngineEvent) -> None:
        """Take note of an event."""
        if isinstance(event, events.FatalError):
            raise event.exception
        if isinstance(event, events.NonFatalError):
            self.faults[f"{event.label}: {event.value!r}"] = ""
        if isinstance(event, events.ScenarioFinished):
            self._add_scenario(event.recorder)

    def _add_scenario(self, recorder: ScenarioRecorder) -> None:
        self.statuses.update(each.response.status_code for each in recorder.interactions.values() if each.response)
        for check in (check for checks in recorder.checks.values() for check in checks):
            self.checks[check.name] += 1
            if check.failure_info is not None:
                failure = check.failure_info.failure
                self.faults[f"{check.name}: {failure.operation}: {failure.title}"] = check.failure_info.code_sample


def explore(served: Served, token: str, examples: int) -> Findings:
    """Try the operations of the served document with a valid key, each with `examples` in each phase."""
    config = SchemathesisConfig.from_dict(
        {
            "headers": {"Authorization": f"Bearer {token}"},
            "seed": 1,
            "continue-on-failure": True,
            "generation": {"max-examples": examples, "database": "none"},
            "cache": {"enabled": False},
            # A query string that is too long is refused as such, whatever else is wrong with it.
            "checks": {"negative_data_rejection": {"expected-statuses": [400, 401, 403, 404, 405, 414, 415]}},
        }
    )
    schema = schemathesis.openapi.from_url(f"{served.url}/openapi.json", config=config)
    schema.hook(filter_failure)
    findings = Findings()
    for event in from_schema(schema).execute():
        findings.add(event)
    return findings


def filter_failure(_context: object, failure: Failure, _case: object, response: Response) -> bool:
    """Keep a failure, unless a valid request was refused for what no schema can say.

    A cursor is one that was handed out; `as_of` has passed; changes are read forward or back; and what a decision on an
    item needs depends on its action.
    """
    if failure.title != "Schema-valid request rejected" or response.status_code != 400:
        return True
    problem = response.json()
    if problem["error"] == "invalid_body":
        return problem["member"] not in {"minutes", "until", "reason"}
    unsaid = {
        "cursor": ("cursor",),
        "as_of": ("future",),
        "since": ("cursor", "future"),
        "before": ("cursor", "no `since` beside it"),
    }
    return not any(word in problem.get("expected", "") for word in unsaid.get(problem.get("parameter"), ()))


def answered(served: Served) -> int:
    """Return how many requests the processes say they have answered."""
    return sum(int(float(count)) for count in _ANSWERED.findall(served.get("/metrics")[1].decode()))


def test_the_server_keeps_every_promise_of_its_document(served: Served, estate: Estate, *, is_full_size: bool) -> None:
    least, examples = FULL if is_full_size else SMALL
    before = answered(served)

    findings = explore(served, estate.first.key, examples)

    # Each process works off its numbers twice a second.
    until(lambda: answered(served) - before >= findings.statuses.total(), "counted")
    sent = answered(served) - before
    _log.info("%d requests; checks: %s; statuses: %s", sent, dict(findings.checks), dict(findings.statuses))
    assert findings.faults == {}, "\n".join(f"{what}\n{how}" for what, how in findings.faults.items())
    assert sent >= least
    assert findings.statuses[200] > least / 10
    assert not any(status >= 500 for status in findings.statuses)
    assert served.log().count('"level": "ERROR"') == 0
