"""The live summaries of real runs, held against the reference answers that were shipped with them.

Source: docs/specification-notes.md#missing-keys-are-unknown.
"""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from sqlalchemy import column, insert, table

from tests.api.arrange import PREFIX, Api

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

DATA: Final = Path(__file__).parents[3] / "shared" / "data"


def read_runs(folder: Path) -> Iterator[dict[str, str | None]]:
    """Yield the rows of a folder as the runs table names them; an empty field is NULL, `x_*` is provenance."""
    with gzip.open(folder / "runs.csv.gz", "rt", newline="") as lines:
        for line in csv.DictReader(lines):
            row = {name: value or None for name, value in line.items() if not name.startswith("x_")}
            yield {"id": row.pop("run_id")} | row


def load(engine: Engine, folder: Path) -> None:
    rows = list(read_runs(folder))
    with engine.begin() as conn:
        conn.execute(insert(table("runs", *map(column, rows[0]), schema="public")), rows)


def counted(summary: dict[str, int]) -> dict[str, int]:
    return {status: count for status, count in summary.items() if count}


def check_status(api: Api, tenant: str, name: str, expected: dict[str, Any]) -> None:
    """Hold one status summary against `expected`, which names its parameters beside the answer unless unfiltered."""
    params = {} if name == "no_filter" else {key: value for key, value in expected.items() if key != "by_status"}
    answer = api.get(f"{PREFIX}/summary/by-status", tenant=tenant, params=params).json

    assert counted(answer["summary"]) == (expected if name == "no_filter" else expected["by_status"])


def check_dimension(api: Api, tenant: str, name: str, expected: dict[str, Any]) -> None:
    """Hold one answer by dimension against `expected`, whose NULL key is the bucket `unknown`."""
    state, dimension = name.split(".")
    answer = api.get(f"{PREFIX}/runs/by-dimension", tenant=tenant, params={"dim": dimension, "state": state}).json

    buckets = [(row["key"] or "unknown", row["count"]) for row in expected["rows"]]
    assert [(bucket["key"], bucket["count"]) for bucket in answer["buckets"]] == sorted(
        buckets, key=lambda bucket: (-bucket[1], bucket[0].encode())
    )[:20]
    assert answer["total_runs"] == expected["total_runs"]


@pytest.mark.parametrize("name", ["timed", "untimed", "nab"])
def test_real_runs_are_summarised_as_their_reference_says(api: Api, name: str) -> None:
    folder = DATA / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent: the real runs are shipped beside the repository")
    load(api.owner, folder)

    summaries = json.loads((folder / "reference.json").read_text())["summaries"]

    assert summaries
    for tenant, answers in summaries.items():
        for case, expected in answers["status_summary"].items():
            check_status(api, tenant, case, expected)
        for case, expected in answers["by_dimension"].items():
            check_dimension(api, tenant, case, expected)
