"""The `.sql` files of the revisions, statement by statement."""

from __future__ import annotations

from importlib.resources import files

from alembic import op


def run(name: str) -> None:
    """Run the statements of `migrations/sql/<name>.sql`; a statement ends with `;` before an empty line."""
    for statement in files("migrations").joinpath(f"sql/{name}.sql").read_text(encoding="utf-8").split(";\n\n"):
        op.get_bind().exec_driver_sql(statement.strip().removesuffix(";").replace("%", "%%"))
