"""`activity support-bundle`: what somebody who helps needs to know."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import click

from ops.health.support_bundle import Bundle
from snapshots import settings
from snapshots.errors import ActivityError


@click.command()
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), help="The file to write; must not exist yet."
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".activity"),
    show_default=True,
    help="Where `activity up` keeps its data, for its logs.",
)
@click.option("--no-plans", is_flag=True, help="Run no query for its plan.")
def support_bundle(output: Path | None, data_dir: Path, *, no_plans: bool) -> None:
    """Write a file for whoever helps: versions, settings, state, sizes, plans, logs.

    It holds no secret, no tenant's name and no content of rows; read it before you send it all the same.
    """
    target = output or Path(f"activity-support-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.tar.gz")
    bundle = Bundle(settings.load(), data_dir, with_plans=not no_plans)
    click.echo(f"{target}: {', '.join(write(bundle, target))}")


def write(bundle: Bundle, target: Path) -> list[str]:
    """Write a file that is not there yet, all of it or none, and return what it holds."""
    names: list[str] = []
    try:
        file = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as ex:
        raise _unwritable(target, ex) from ex
    try:
        with open(file, "wb") as opened:  # noqa: PTH123  # a file of that mode
            names = bundle.write(opened)
    except OSError as ex:
        raise _unwritable(target, ex) from ex
    finally:
        if not names:
            # Half a bundle helps nobody, and would be in the way of the next one.
            target.unlink(missing_ok=True)
    return names


def _unwritable(target: Path, ex: OSError) -> ActivityError:
    return ActivityError(f"{target}: cannot be written ({ex.strerror})")
