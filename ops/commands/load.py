"""`activity load`: runs, traces and steps from files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from ops.loading.loading import load as load_files
from ops.loading.progress import BarProgress, LineProgress
from snapshots import database, settings

if TYPE_CHECKING:
    from sqlalchemy import URL

    from ops.loading.reports import LoadReport


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "_format",
    type=click.Choice(["native"]),
    default="native",
    show_default=True,
    help="What the files hold.",
)
@click.option("--strict", is_flag=True, help="Load nothing at all when a line is bad.")
def load(path: Path, _format: str, *, strict: bool) -> None:
    """Load runs, aos_traces and aos_trace_steps (.jsonl or .csv, optionally .gz) from PATH.

    PATH is a folder of such files, a folder of such folders, or one file. Rows are upserted by their key, so loading
    twice changes nothing; of several lines with one key the later wins. Bad lines are reported by file and line and
    skipped; the exit code is 1 then.
    """
    report = _load(database.url_of(settings.load(), "owner"), path, strict=strict)
    for problem in report.problems:
        click.echo(problem, err=True)
    if report.skipped > len(report.problems):
        click.echo(f"... and {report.skipped - len(report.problems)} more bad lines", err=True)
    click.echo(report.as_text())
    sys.exit(1 if report.skipped else 0)


def _load(url: URL, path: Path, *, strict: bool) -> LoadReport:
    console = Console(stderr=True)
    if not console.is_terminal:
        return load_files(url, path, strict=strict, progress=LineProgress())
    with BarProgress(console) as progress:
        return load_files(url, path, strict=strict, progress=progress)
