"""Alembic's environment: our schema alone, a version table of our own, one transaction per revision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alembic import context

from migrations.objects import LOCK_TIMEOUT
from snapshots.tables import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

#: Partitions come and go with the days; `created_object` and the version table are the runner's.
_UNMANAGED_PREFIX = "snapshot_history_"


def include_name(
    name: str | None, kind: str, parents: MutableMapping[Any, str | None] | Mapping[Any, str | None]
) -> bool:
    """Tell autogenerate which names are ours."""
    if kind == "schema":
        return name == SCHEMA
    if kind == "table":
        return parents.get("schema_name") == SCHEMA and not str(name).startswith(_UNMANAGED_PREFIX)
    return True


connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    # The caller's; a comparison alone needs it.
    target_metadata=context.config.attributes.get("metadata"),
    version_table_schema=SCHEMA,
    include_schemas=True,
    include_name=include_name,
    transaction_per_migration=True,
    compare_server_default=False,
)
connection.exec_driver_sql(f"set lock_timeout = '{LOCK_TIMEOUT}'")
connection.exec_driver_sql("set statement_timeout = 0")
connection.commit()
with context.begin_transaction():
    context.run_migrations()
