"""`activity load`: runs, traces and steps from files, in native form or as other tools write them."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from ingest.exports.load_spans import READERS, SpanLoadOptions, load_spans
from ingest.files.load_rows import load_rows
from ingest.files.report import BarProgress, LineProgress
from ingest.prices import prices_of
from snapshots import settings
from snapshots.pooling import session_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.exports.load_spans import SpanReport
    from ingest.files.report import LoadProgress, LoadReport


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--format",
    "format_",
    type=click.Choice(["native", *READERS]),
    default="native",
    show_default=True,
    help="Format of the files.",
)
@click.option("--tenant", help="Tenant of the traces; files in the native format name tenants themselves.")
@click.option("--prices", type=click.Path(path_type=Path), help="Price file; default ACTIVITY_PRICES_FILE.")
@click.option("--strict", is_flag=True, help="Load nothing at all when a line is bad.")
def load(paths: tuple[Path, ...], format_: str, tenant: str | None, prices: Path | None, *, strict: bool) -> None:
    """Load runs, traces and steps from each PATH: a file, or a folder of files, optionally .gz.

    The native format holds runs, aos_traces and aos_trace_steps (.jsonl or .csv); otlp holds requests of OpenTelemetry
    in JSON, one on each line; langfuse and phoenix hold what these tools export. Loading twice changes nothing. Bad
    lines are reported by file and line and skipped; the exit code is 1 then. All is loaded together, or nothing.
    """
    current = settings.load()
    report: LoadReport | SpanReport
    if format_ == "native":
        for name, value in (("tenant", tenant), ("prices", prices)):
            if value is not None:
                raise click.UsageError(f"--{name}: not for --format native, whose files say it themselves")
        with _progress() as progress:
            report = load_rows(session_url(current, "owner"), *paths, strict=strict, progress=progress)
    else:
        if not tenant or not tenant.strip() or "\0" in tenant:
            raise click.UsageError(f"--tenant: missing; --format {format_} needs the tenant whose traces they are")
        options = SpanLoadOptions(tenant, format_, prices_of(current, prices), strict, current.derive)
        with _progress() as progress:
            report = load_spans(session_url(current, "owner"), paths, options, progress)
    for problem in report.problems:
        click.echo(problem, err=True)
    if report.skipped > len(report.problems):
        click.echo(f"... and {report.skipped - len(report.problems)} more bad lines", err=True)
    click.echo(report.as_text())
    sys.exit(1 if report.skipped else 0)


@contextmanager
def _progress() -> Iterator[LoadProgress]:
    console = Console(stderr=True)
    if not console.is_terminal:
        yield LineProgress()
        return
    with BarProgress(console) as progress:
        yield progress
