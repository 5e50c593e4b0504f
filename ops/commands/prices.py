"""`activity prices`: checks of a file of model prices."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from ingest.prices import as_rows, read_prices


@click.group()
def prices() -> None:
    """Check a file of model prices."""


@prices.command()
@click.argument("path", type=click.Path(path_type=Path))
def check(path: Path) -> None:
    """Check the file PATH and print its prices, in US dollars per million tokens."""
    rows = as_rows(read_prices(path))
    table = Table(*rows[0], box=None)
    for row in rows:
        table.add_row(*row.values())
    Console(markup=False, highlight=False, emoji=False).print(table)
