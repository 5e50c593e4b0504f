"""The `.sql` files of the revisions, statement by statement."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from alembic import op

if TYPE_CHECKING:
    from sqlalchemy import Connection


def run(name: str) -> None:
    """Run the statements of `migrations/sql/<name>.sql` as part of a revision."""
    run_on(op.get_bind(), name)


def run_on(conn: Connection, name: str) -> None:
    """Run the statements of `migrations/sql/<name>.sql`; a statement ends with `;` before an empty line."""
    for statement in files("migrations").joinpath(f"sql/{name}.sql").read_text(encoding="utf-8").split(";\n\n"):
        run_one(conn, statement.strip().removesuffix(";"))


def run_one(conn: Connection, statement: str) -> None:
    """Run a statement as it is: a colon or a percent sign in a host's name is no parameter."""
    conn.exec_driver_sql(statement.replace("%", "%%"))
