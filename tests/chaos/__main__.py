"""The chaos suite: an installation under faults of every kind, and whether readers ever saw what they must not.

python -m tests.chaos [--short] [--seed 1] [--minutes 13] [--json PATH]
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import click

from tests.chaos.campaign import FULL, SHORT, Plan, Report, run
from tests.chaos.table import as_table


@click.command()
@click.option("--short", is_flag=True, help="The few faults that the test suite runs.")
@click.option("--seed", type=int, default=1, show_default=True, help="Orders the faults and chooses their victims.")
@click.option("--minutes", type=click.FloatRange(0.1), default=13, show_default=True, help="No fault begins later.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), default="chaos.json", show_default=True)
@click.option("--keep", type=click.Path(path_type=Path), help="Keep servers' data and logs in this folder.")
def main(*, short: bool, seed: int, minutes: float, json_path: Path, keep: Path | None) -> None:
    """Run the faults, print the table, and exit 1 when something was wrong."""
    with tempfile.TemporaryDirectory(prefix="activity-chaos-", ignore_cleanup_errors=True) as temporary:
        folder, plan = keep or Path(temporary), SHORT if short else FULL
        report = run(folder, Plan(plan, seed, minutes * 60, is_full=not short), click.echo)
        if report.violations:
            _keep_logs(folder, json_path.with_suffix(".logs"))
    json_path.write_text(json.dumps(report.as_dict(), indent=2) + "\n")
    _print(report)
    if report.violations:
        raise click.ClickException(f"{len(report.violations)} violations, seed {seed}")


def _keep_logs(folder: Path, into: Path) -> None:
    """Copy what processes and servers wrote to where it outlives the run."""
    for log in folder.rglob("*.log"):
        kept = into / log.relative_to(folder)
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(log, kept)
    click.echo(f"logs are kept in {into}")


def _print(report: Report) -> None:
    click.echo(as_table(report))
    click.echo(json.dumps(report.counts, indent=2))
    for violation in report.violations:
        click.echo(f"VIOLATION {violation}")


if __name__ == "__main__":
    main()
