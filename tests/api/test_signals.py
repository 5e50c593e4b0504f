"""The signal catalogue endpoint."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from snapshots import signal_catalogue as definitions
from snapshots.errors import SignalDeclarationError
from snapshots.signal_catalogue import CATALOGUE
from tests.api.arrange import PREFIX, bearer

if TYPE_CHECKING:
    from tests.api.arrange import Api

PATH = f"{PREFIX}/signals"


def catalogue(api: Api) -> dict[str, Any]:
    """Return the catalogue's entries by name."""
    return {each["name"]: each for each in api.get(PATH).json["signals"]}


def test_the_catalogue_lists_every_signal_with_its_route(api: Api) -> None:
    result = api.get(PATH)

    routes = {each["name"]: each["route"] for each in result.json["signals"]}
    assert routes == {name: PREFIX + definition.route for name, definition in CATALOGUE.items()}
    assert result.headers["cache-control"] == "no-store"


def test_a_credential_sees_only_the_signals_that_it_may_read(api: Api) -> None:
    token = api.add_key(capabilities=["activity.cost_analysis", "activity.changes"])

    result = api.client.simulate_get(PATH, headers=bearer(token))

    assert [each["name"] for each in result.json["signals"]] == ["cost"]


def test_thresholds_state_default_unit_and_where_the_value_is(api: Api) -> None:
    thresholds = {each["name"]: each for each in catalogue(api)["cost"]["thresholds"]}

    assert thresholds["z_threshold"] == {
        "name": "z_threshold",
        "type": "number",
        "default": 2,
        "unit": "standard deviations",
        "description": "Standard deviations above the baseline from which a cost is an anomaly",
        "extra": False,
    }
    assert thresholds["robust_score"]["extra"] is True


def test_texts_name_only_thresholds_of_their_signal(api: Api) -> None:
    for entry in catalogue(api).values():
        names = {each["name"] for each in entry["thresholds"]}
        texts = [entry["explanation"], *(kind["rule"] for kind in entry["kinds"])]
        assert all(texts)
        assert {name for text in texts for name in re.findall(r"{(.*?)}", text)} <= names


def test_the_levels_of_a_component_are_listed_highest_first(api: Api) -> None:
    components = {each["name"]: each for each in catalogue(api)["attention"]["components"]}

    assert components["impact"]["levels"] == [
        {"score": 0.8, "value": "policy violation", "title": "Policy violation"},
        {"score": 0.6, "value": "incident", "title": "Incident"},
    ]
    assert components["recency"]["levels"] == []
    for component in components.values():
        scores = [level["score"] for level in component["levels"]]
        assert scores == sorted(scores, reverse=True)


def test_a_text_that_names_no_threshold_is_refused() -> None:
    text = """
        order = 9
        title = "Failing agents"
        finds = "agents that fail"
        explanation = "Agents with {min_run} runs."
        route = "/failing"
        capability = "activity.failing"
        operation = "getFailing"
        body = "Failing"
        item_list = "agents"
        item_key = ["agent_id"]
        period_s = 60
    """

    with pytest.raises(SignalDeclarationError, match=r"\{min_run\} in .*: expected the name of a threshold"):
        definitions.read("failing", text)
