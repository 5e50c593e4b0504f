"""`activity doctor`: what a host has of what the signals read."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ops.adoption.doctor.diagnosing import examine, visit
from ops.adoption.doctor.proposing import propose
from snapshots import database, settings
from snapshots.errors import ActivityError
from snapshots.host_mapping import load


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
@click.option(
    "--mapping",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Look at the host under the names that this TOML file gives.",
)
@click.option(
    "--propose-mapping",
    "draft",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a draft of such a file from the host's catalogue, and do nothing else.",
)
@click.pass_context
def doctor(ctx: click.Context, mapping: Path | None, draft: Path | None, *, as_json: bool) -> None:
    """Look at a host without changing anything: columns, rows, indexes, rights, limits, and what to do about each.

    Works before `activity migrate` and after it. Of a large table some blocks are read, and no statement takes longer
    than ten seconds. Exits 0 where all is well, 1 where something is empty or suspicious or the host cannot be used.
    """
    current = settings.load()
    names = mapping or current.source_mapping
    url = database.url_of(current, "owner")
    if draft is not None:
        with visit(url) as conn:
            _write(draft, propose(conn))
        return
    diagnosis = examine(url, load(names) if names is not None else None)
    click.echo(json.dumps(diagnosis.as_dict(), indent=2) if as_json else diagnosis.as_text())
    ctx.exit(diagnosis.exit_code)


def _write(path: Path, words: str) -> None:
    """Write a draft, and never over a file that somebody may have edited."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(words)
    except FileExistsError:
        raise click.UsageError(f"{path}: exists; name a new file") from None
    except OSError as ex:
        raise ActivityError(f"{path}: cannot be written ({ex.strerror})") from None
    click.echo(f"wrote {path}: check every line, then `activity doctor --mapping {path}`")
