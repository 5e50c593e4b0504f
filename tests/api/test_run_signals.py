"""The signals that a run appears in: why, for whom, and for which instant."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import delete, insert

from snapshots.items import attention_item, cost_item, pattern_item
from snapshots.signals import CAPABILITIES
from tests.api.arrange import NOW, OTHER_TENANT, PREFIX, TENANT, Api, bearer
from tests.api.test_freshness import set_aside
from tests.factories import insert_run

if TYPE_CHECKING:
    from collections.abc import Iterator

RUN = "run-1"
PATH = f"{PREFIX}/runs/{RUN}"


@pytest.fixture(autouse=True)
def _emptied(api: Api) -> Iterator[None]:
    """Remove the rows that only these tests make."""
    yield
    with api.owner.begin() as conn:
        for rows in (pattern_item, cost_item, attention_item):
            conn.execute(delete(rows))


def put(api: Api, rows: Any, **values: object) -> None:  # noqa: ANN401  # a table of items
    """Insert a row of an item table, as a refresh would leave it."""
    with api.owner.begin() as conn:
        conn.execute(insert(rows).values({"tenant_id": TENANT, **values}))


def put_attention(api: Api, **values: object) -> None:
    parts = {f"{name}_contribution": "0.1000004" for name in ("risk", "impact", "latency", "recency", "evidence")}
    row = {"rank": 3, "run_id": RUN, "attention_score": "0.5000020", "reasons": ["at risk"], "is_abandoned": False}
    put(api, attention_item, **parts, **row, **values)


def put_cost(api: Api, **values: object) -> None:
    row = {
        "rank": 2,
        "agent_id": "agent-1",
        "current_avg_cost": "1.1234567894",
        "total_cost": 5,
        "run_count": 4,
        "baseline_avg": "0.500",
        "baseline_run_count": 9,
        "z_score": "3.14159",
        "is_anomaly": True,
    }
    put(api, cost_item, **(row | values))


def unknown_instants() -> dict[str, None]:
    return dict.fromkeys(("patterns", "attention", "cost"))


def test_a_run_id_that_two_tenants_use_shows_each_its_own_signals(api: Api) -> None:
    with api.owner.begin() as conn:
        insert_run(conn, id=RUN, tenant_id=TENANT)
    foreign = {"pattern_type": "retry_loop", "rank": 1, "run_id": RUN, "skill_id": "foreign", "retry_count": 9}
    put(api, pattern_item, tenant_id=OTHER_TENANT, **foreign)
    put_attention(api, tenant_id=OTHER_TENANT)
    put_cost(api, tenant_id=OTHER_TENANT)

    body = api.get(PATH).json

    assert "foreign" not in json.dumps(body)
    assert body["signals"] == {"patterns": [], "attention": None, "cost": None, "as_of": unknown_instants()}


def test_the_signals_say_why_the_run_is_in_them(api: Api) -> None:
    with api.owner.begin() as conn:
        insert_run(conn, id=RUN, tenant_id=TENANT, agent_id="agent-1")
    cascade = {"slow_step_count": 2, "avg_duration_ms": "6000.123456"}
    put(api, pattern_item, pattern_type="timeout_cascade", rank=1, run_id=RUN, **cascade)
    put(api, pattern_item, pattern_type="step_oscillation", rank=2, run_id=RUN, skill_id="read", oscillation_count=4)
    put(api, pattern_item, pattern_type="step_oscillation", rank=1, run_id=RUN, skill_id=None, oscillation_count=5)
    put(api, pattern_item, pattern_type="retry_loop", rank=1, run_id="another", retry_count=3)
    put_attention(api)
    put_cost(api)

    body = api.get(PATH).json

    assert body["signals_withheld"] == []
    assert body["signals"] == {
        "patterns": [
            {"pattern_type": "step_oscillation", "rank": 1, "skill_id": None, "oscillation_count": 5},
            {"pattern_type": "step_oscillation", "rank": 2, "skill_id": "read", "oscillation_count": 4},
            {
                "pattern_type": "timeout_cascade",
                "rank": 1,
                "skill_id": None,
                "slow_step_count": 2,
                "avg_duration_ms": 6000.1235,
            },
        ],
        "attention": {
            "rank": 3,
            "attention_score": 0.500002,
            "contributions": dict.fromkeys(("risk", "impact", "latency", "recency", "evidence"), 0.1),
            "reasons": ["at risk"],
        },
        "cost": {
            "agent_id": "agent-1",
            "rank": 2,
            "z_score": 3.1416,
            "is_anomaly": True,
            "current_avg_cost": 1.12345679,
            "baseline_avg": 0.5,
        },
        "as_of": unknown_instants(),
    }
    assert '"baseline_avg":0.5}' in api.get(PATH).text


def test_a_run_without_an_agent_is_the_unknown_agent_s(api: Api) -> None:
    with api.owner.begin() as conn:
        insert_run(conn, id=RUN, tenant_id=TENANT, agent_id=None)
    put_cost(api, agent_id="unknown", baseline_avg=None, z_score=0, is_anomaly=False)

    cost = api.get(PATH).json["signals"]["cost"]

    assert (cost["agent_id"], cost["baseline_avg"], cost["z_score"]) == ("unknown", None, 0)


@pytest.mark.parametrize(
    ("signal", "capability"),
    [
        ("patterns", "activity.patterns"),
        ("attention", "activity.attention_queue"),
        ("cost", "activity.cost_analysis"),
    ],
)
def test_a_signal_needs_its_own_capability(api: Api, statements: list[str], signal: str, capability: str) -> None:
    with api.owner.begin() as conn:
        insert_run(conn, id=RUN, tenant_id=TENANT)
    put(api, pattern_item, pattern_type="retry_loop", rank=1, run_id=RUN, retry_count=3)
    put_attention(api)
    put_cost(api)
    token = api.add_key(capabilities=[name for name in CAPABILITIES if name != capability])

    body = api.client.simulate_get(PATH, headers=bearer(token)).json

    assert body["signals_withheld"] == [signal]
    filled = {name for name in ("patterns", "attention", "cost") if body["signals"][name]}
    assert filled == {"patterns", "attention", "cost"} - {signal}
    assert signal not in body["signals"]["as_of"]
    # What is withheld is not even read.
    tables = {"patterns": "pattern_item", "attention": "attention_item", "cost": "cost_item"}
    # The proof of visibility names every table that the role may read.
    reads = [each.partition("end $proof$;")[2] or each for each in statements]
    assert tables[signal] not in "".join(reads)


def test_each_signal_names_the_instant_that_its_own_endpoint_names(api: Api) -> None:
    with api.owner.begin() as conn:
        insert_run(conn, id=RUN, tenant_id=TENANT)
    for signal in ("patterns", "attention"):
        api.publish(signal, '{"queue":[]}')
        api.verify(signal)
    # The run's agent was never judged: nothing is known of the cost signal.

    as_of = api.get(PATH).json["signals"]["as_of"]

    shown = {
        signal: api.get(f"{PREFIX}/{path}").headers["snapshot-as-of"]
        for signal, path in (("patterns", "patterns"), ("attention", "attention-queue"))
    }
    assert as_of == {**shown, "cost": None}
    assert shown["patterns"] != shown["attention"]


def test_a_signal_whose_tenant_is_set_aside_names_the_instant_that_it_was_last_confirmed_for(api: Api) -> None:
    with api.owner.begin() as conn:
        insert_run(conn, id=RUN, tenant_id=TENANT)
    for signal in ("patterns", "attention", "cost"):
        api.verify(signal)
    for signal in ("patterns", "attention"):
        api.publish(signal, '{"queue":[]}', as_of=NOW - timedelta(minutes=20))
    set_aside(api, "patterns", 10, as_of=NOW - timedelta(minutes=11), window_json='"last"')
    set_aside(api, "attention", 10, as_of=NOW - timedelta(minutes=11))
    set_aside(api, "cost", 10)

    as_of = api.get(PATH).json["signals"]["as_of"]

    shown = {
        signal: api.get(f"{PREFIX}/{path}").headers["snapshot-as-of"]
        for signal, path in (("patterns", "patterns"), ("attention", "attention-queue"))
    }
    assert as_of == {**shown, "cost": None}
    assert as_of["patterns"] == "2026-01-17T11:49:00.000000Z"
