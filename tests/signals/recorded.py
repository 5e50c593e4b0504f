"""The recorded runs beside the repository, and the answers computed for them by others."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

FOLDER: Final = Path(__file__).parents[3] / "shared" / "data"
_KEYS: Final = {"runs": {"run_id": "id"}}


def load(conn: Connection, name: str, *, started_at: datetime | None = None) -> None:
    """Copy one folder's rows into the source tables; `started_at` stands in where a trace has none."""
    for target in ("runs", "aos_traces", "aos_trace_steps"):
        path = FOLDER / name / f"{target}.csv.gz"
        rows = list(_rows(path))
        if target == "aos_traces" and started_at is not None:
            rows = [{**row, "started_at": row.get("started_at") or started_at.isoformat()} for row in rows]
        _copy(conn, f"public.{target}", [_named(target, row) for row in rows])
    # The specified queries take minutes when planned on the statistics of the empty tables that other tests leave.
    conn.execute(text("analyze public.runs, public.aos_traces, public.aos_trace_steps"))


def apply_overlay(conn: Connection, name: str) -> None:
    """Replace the five columns that no source recorded by those derived by fixed rules."""
    rows = list(_rows(FOLDER / name / "overlay_signals.csv.gz"))
    columns = [column for column in rows[0] if column != "run_id"]
    shape = f"select id as run_id, {', '.join(columns)} from runs limit 0"  # noqa: S608  # names of our own columns
    conn.execute(text(f"create temporary table overlay on commit drop as {shape}"))
    _copy(conn, "overlay", rows)
    replaced = ", ".join(f"{column} = overlay.{column}" for column in columns)
    conn.execute(text(f"update runs set {replaced} from overlay where overlay.run_id = runs.id"))  # noqa: S608  # the same


def answers(name: str) -> dict[str, Any]:
    """Return the reference answers of one folder."""
    return dict(json.loads((FOLDER / name / "reference.json").read_text()))


def _rows(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return [{k: v for k, v in row.items() if not k.startswith("x_")} for row in csv.DictReader(file)]


def _named(target: str, row: dict[str, str]) -> dict[str, str]:
    keys = _KEYS.get(target, {})
    return {keys.get(name, name): value for name, value in row.items()}


def _copy(conn: Connection, target: str, rows: list[dict[str, str]]) -> None:
    if not rows:
        return
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]))
    writer.writerows(rows)
    buffer.seek(0)
    columns = ", ".join(f'"{name}"' for name in rows[0])
    driver_connection: Any = conn.connection.driver_connection
    with driver_connection.cursor() as cursor:
        cursor.copy_expert(f"copy {target} ({columns}) from stdin (format csv)", buffer)
