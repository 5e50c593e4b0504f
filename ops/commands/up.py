"""`activity up`: the whole system in the foreground."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ops.local import exported
from ops.local.installation import Installation, Wishes
from ops.local.interruption import Interruption
from ops.local.progress import Progress
from snapshots import settings
from snapshots.setting_files import PREFIX

if TYPE_CHECKING:
    from collections.abc import Sequence


@click.command()
@click.option("--port", type=click.IntRange(1, 65_535), help="Port of the API; default ACTIVITY_API_PORT.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".activity"),
    show_default=True,
    help="Where the embedded servers keep their data.",
)
@click.option("--no-demo", is_flag=True, help="Load no demo data, and add none to what is there.")
@click.option(
    "--ready-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write addresses and the key to this file (JSON, mode 0600) once ready; removed at the end.",
)
def up(*, port: int | None, data_dir: Path, no_demo: bool, ready_file: Path | None) -> None:
    """Run database, broker, worker, beat and API in the foreground until Ctrl-C or SIGTERM."""
    ignored = exported.recognised(os.environ)  # noqa: TID251  # exported by ourselves, and no settings here
    unset = {name.removeprefix(PREFIX).lower(): None for name in ignored}
    current = settings.load(**unset, **({} if port is None else {"api_port": port}))
    wishes = Wishes(data_dir.resolve(), demo=not no_demo, ready_file=ready_file)
    with Interruption() as interruption, Progress() as progress:
        if ignored:
            progress.say(_explain(ignored))
        Installation(wishes, current, progress.say, interruption).run()


def _explain(ignored: Sequence[str]) -> str:
    folder = os.environ.get(exported.FOLDER_VARIABLE)  # noqa: TID251  # as above
    return f"ignoring {', '.join(ignored)}: exported by {folder}/environment; `activity up` has servers of its own"
