"""Query files: what their headers claim is what their text does."""

from __future__ import annotations

import re

import pytest

from snapshots.errors import QueryDeclarationError
from snapshots.queries import parse
from worker.engine import queries
from worker.signals.attention.signal import ATTENTION_WEIGHTS, WeightsError, check_weights
from worker.signals.registry import SIGNALS

_HEADER = "-- Finds runs.\n-- reads: signals.source_run\n-- grain: one row per run\n-- params: as_of, tenants\n"
_BODY = "select :as_of, :tenants from signals.source_run"
_RELATION = re.compile(r"(?:\bfrom|\bjoin)\s+((?:signals|pg_temp|pg_catalog)\.\w+)", re.IGNORECASE)


def test_a_query_carries_its_header_apart_and_its_name_in_front() -> None:
    query = parse("runs", _HEADER + _BODY + ";\n")

    assert query.text.text == f"/* signal:runs */\n{_BODY}"
    assert (query.finds, query.reads, query.grain) == ("Finds runs.", ("signals.source_run",), "one row per run")
    assert query.params == ("as_of", "tenants")


def test_a_field_may_take_several_lines() -> None:
    query = parse("runs", _HEADER.replace("as_of, tenants", "as_of,\n--     tenants") + _BODY)

    assert query.params == ("as_of", "tenants")


def test_a_query_without_binds_says_so() -> None:
    query = parse("runs", _HEADER.replace("as_of, tenants", "none") + "select 1")

    assert query.params == ()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (_HEADER + _BODY + " where n > :least", "runs.sql: uses least without declaring it"),
        (_HEADER + "select :as_of", "runs.sql: declares tenants without using it"),
        (_HEADER + "select :as_of, :other", "declares tenants without using it; uses other without declaring it"),
        (_BODY, "runs.sql: the header lacks finds, reads, grain, params"),
        (_HEADER.replace("-- grain: one row per run\n", "") + _BODY, "runs.sql: the header lacks grain"),
        (_HEADER.replace("one row per run", "") + _BODY, "runs.sql: the header lacks grain"),
        (_HEADER + _BODY + " -- :ghost", "runs.sql: uses ghost without declaring it"),
    ],
)
def test_a_header_that_differs_from_its_text_is_refused(source: str, message: str) -> None:
    with pytest.raises(QueryDeclarationError, match=message):
        parse("runs", source)


@pytest.mark.parametrize(
    "call",
    ["now()", "NOW ( )", "current_timestamp", "clock_timestamp()", "random()", "current_date", "localtime"],
)
def test_a_select_that_asks_for_the_clock_or_for_chance_is_refused(call: str) -> None:
    with pytest.raises(QueryDeclarationError, match=r"expected a function of the tables and the binds"):
        parse("runs", f"{_HEADER}{_BODY} where {call} is not null")


@pytest.mark.parametrize("harmless", ["'now()'", "known(1)", "-- now()\n 1", "/* random() */ 1"])
def test_a_name_in_a_literal_or_comment_is_no_call(harmless: str) -> None:
    assert parse("runs", f"{_HEADER}{_BODY} where {harmless} is not null").name == "runs"


def test_a_statement_that_publishes_may_read_the_clock() -> None:
    statement = "insert into snapshot select :as_of, :tenants, clock_timestamp()"

    assert parse("publish", _HEADER + statement).name == "publish"


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(QueryDeclarationError, match=r"nothing\.sql: not in the package"):
        queries.load("nothing")


@pytest.mark.parametrize("name", queries.names())
def test_every_query_of_the_package_reads_what_it_declares(name: str) -> None:
    query = queries.load(name)

    assert set(_RELATION.findall(query.text.text)) == set(query.reads)


@pytest.mark.parametrize("signal", SIGNALS)
def test_signals_are_made_of_pure_queries(signal: str) -> None:
    for step in SIGNALS[signal].steps:
        assert re.search(r"\b(insert|update|delete)\b", queries.load(step.query).text.text, re.IGNORECASE) is None


def test_weights_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(WeightsError, match=r"add up to 0\.8999"):
        check_weights({**ATTENTION_WEIGHTS, "evidence": 0.0})
