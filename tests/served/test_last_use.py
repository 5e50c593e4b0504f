"""A real process writes down that a key was used, though no answer of its waits for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from ops.keys import create_key
from snapshots.database import connect
from snapshots.tables import api_key
from tests.api.arrange import PREFIX
from tests.served.serving import serving, until

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

    from tests.postgres import Server
    from tests.served.tenants import Estate


def is_written_down(owner: Engine, key_id: str) -> bool:
    """Tell whether a use of the key is."""
    with owner.connect() as conn:
        used = select(api_key.c.last_used_at).where(api_key.c.key_id == key_id)
        return conn.execute(used).scalar_one() is not None


def test_the_use_of_a_key_is_written_down(server: Server, estate: Estate, private_folder: Path) -> None:
    owner = connect(estate.database)
    with owner.begin() as conn:
        made = create_key(conn, "tenant-of-uses", capabilities=["activity.patterns"])

    with serving(server, estate.database, private_folder, api_processes=1) as served:
        assert served.get(f"{PREFIX}/patterns", made.token)[0] == 200
        until(lambda: is_written_down(owner, made.key_id), "written down")
    owner.dispose()
