"""`activity load`: runs, traces and steps from files, in native form or as other tools write them."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from ingest.exports.loading import READERS, Wishes, load_spans
from ingest.files.loading import load as load_files
from ingest.files.progress import BarProgress, LineProgress
from ingest.prices import price_file, read_prices
from snapshots import settings
from snapshots.pooling import session_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ingest.exports.loading import SpanReport
    from ingest.files.progress import LoadProgress
    from ingest.files.reports import LoadReport
    from snapshots.settings import Settings


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--format",
    "format_",
    type=click.Choice(["native", *READERS]),
    default="native",
    show_default=True,
    help="What the files hold.",
)
@click.option("--tenant", help="Whose traces they are; the native format names tenants itself, the others need it.")
@click.option("--prices", type=click.Path(path_type=Path), help="What models cost; default ACTIVITY_PRICES_FILE.")
@click.option("--strict", is_flag=True, help="Load nothing at all when a line is bad.")
def load(paths: tuple[Path, ...], format_: str, tenant: str | None, prices: Path | None, *, strict: bool) -> None:
    """Load runs, traces and steps from each PATH: a file, or a folder of files, optionally .gz.

    The native format holds runs, aos_traces and aos_trace_steps (.jsonl or .csv); otlp holds requests of OpenTelemetry
    in JSON, one on each line; langfuse and phoenix hold what these tools export. Loading twice changes nothing. Bad
    lines are reported by file and line and skipped; the exit code is 1 then. All is loaded together, or nothing.
    """
    current = settings.load()
    if format_ == "native":
        _refuse_options(tenant=tenant, prices=prices)
        _load_rows(current, paths, strict=strict)
    else:
        _load_spans(current, paths, _wishes(current, format_, tenant, prices, strict=strict))


def _load_rows(current: Settings, paths: Sequence[Path], *, strict: bool) -> None:
    with _progress() as progress:
        report = load_files(session_url(current, "owner"), *paths, strict=strict, progress=progress)
    _finish(report)


def _load_spans(current: Settings, paths: Sequence[Path], wishes: Wishes) -> None:
    with _progress() as progress:
        report = load_spans(session_url(current, "owner"), paths, wishes, progress)
    _finish(report)


def _refuse_options(**given: object) -> None:
    for name, value in given.items():
        if value is not None:
            raise click.UsageError(f"--{name}: not for --format native, whose files say it themselves")


def _wishes(current: Settings, format_: str, tenant: str | None, prices: Path | None, *, strict: bool) -> Wishes:
    if not tenant or not tenant.strip() or "\0" in tenant:
        raise click.UsageError(f"--tenant: missing; --format {format_} needs the tenant whose traces they are")
    found = read_prices(prices or price_file(current.prices_file))
    return Wishes(tenant, format_, found, strict, current.derive)


@contextmanager
def _progress() -> Iterator[LoadProgress]:
    console = Console(stderr=True)
    if not console.is_terminal:
        yield LineProgress()
        return
    with BarProgress(console) as progress:
        yield progress


def _finish(report: LoadReport | SpanReport) -> None:
    """Print what is wrong, then what was done, and exit."""
    _print_problems(report.problems, report.skipped)
    click.echo(report.as_text())
    sys.exit(1 if report.skipped else 0)


def _print_problems(problems: Sequence[str], skipped: int) -> None:
    for problem in problems:
        click.echo(problem, err=True)
    if skipped > len(problems):
        click.echo(f"... and {skipped - len(problems)} more bad lines", err=True)
