"""`activity up`: the whole system in the foreground."""

from __future__ import annotations

from pathlib import Path

import click

from ops.installation import Installation, Wishes
from ops.interruption import Interruption
from ops.progress import Progress
from snapshots import settings


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
    current = settings.load(**({} if port is None else {"api_port": port}))
    wishes = Wishes(data_dir.resolve(), demo=not no_demo, ready_file=ready_file)
    with Interruption() as interruption, Progress() as progress:
        Installation(wishes, current, progress.say, interruption).run()
