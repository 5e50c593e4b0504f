"""History by day: partitions come ahead of their rows, take over rows that came first, and go by retention."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from threading import Barrier
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, insert, select, text

from snapshots.tables import snapshot_history

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Engine

DAY: Final = date(2026, 1, 17)
NOON: Final = datetime(2026, 1, 17, 12, tzinfo=UTC)


def _ensure(conn: Connection, day: date) -> bool:
    return bool(conn.execute(select(func.signals.ensure_history_partition(day))).scalar_one())


def _drop_before(conn: Connection, day: date) -> int:
    return int(conn.execute(select(func.signals.drop_history_before(day))).scalar_one())


def _keep(conn: Connection, replaced_at: datetime, version: int = 1) -> None:
    conn.execute(
        insert(snapshot_history).values(
            tenant_id="acme",
            signal="cost",
            version=version,
            content="{}",
            as_of=replaced_at,
            computed_at=replaced_at,
            rule_version="1",
            replaced_at=replaced_at,
        )
    )


def _places(conn: Connection) -> list[tuple[str, int]]:
    rows = conn.execute(text("select tableoid::regclass::text, version from signals.snapshot_history order by version"))
    return [(place.removeprefix("signals."), version) for place, version in rows]


def test_a_partition_is_made_once(conn: Connection) -> None:
    assert [_ensure(conn, DAY), _ensure(conn, DAY)] == [True, False]


def test_a_partition_holds_its_day_in_utc_whatever_the_sessions_zone(conn: Connection) -> None:
    conn.execute(text("set local timezone = 'Pacific/Auckland'"))
    _ensure(conn, DAY)

    for version, instant in enumerate(
        (
            datetime(2026, 1, 16, 23, 59, 59, 999_999, tzinfo=UTC),
            datetime(2026, 1, 17, tzinfo=UTC),
            datetime(2026, 1, 17, 23, 59, 59, 999_999, tzinfo=UTC),
            datetime(2026, 1, 18, tzinfo=UTC),
        )
    ):
        _keep(conn, instant, version)

    assert [place for place, _ in _places(conn)] == [
        "snapshot_history_default",
        "snapshot_history_20260117",
        "snapshot_history_20260117",
        "snapshot_history_default",
    ]


def test_rows_that_came_before_their_partition_move_into_it(conn: Connection) -> None:
    _keep(conn, NOON, 1)
    _keep(conn, NOON.replace(day=18), 2)

    _ensure(conn, DAY)

    assert _places(conn) == [("snapshot_history_20260117", 1), ("snapshot_history_default", 2)]


def test_a_partition_that_exists_is_found_without_a_lock(fresh_database: str, owner: Callable[[str], Engine]) -> None:
    with owner(fresh_database).begin() as conn:
        _ensure(conn, DAY)

    with owner(fresh_database).connect() as blocker, owner(fresh_database).connect() as conn:
        blocker.execute(text("lock table signals.snapshot_history, signals.snapshot_history_default"))
        conn.execute(text("set lock_timeout = '1ms'"))

        assert _ensure(conn, DAY) is False


def test_two_sessions_that_need_the_same_partition_make_one(
    fresh_database: str, owner: Callable[[str], Engine]
) -> None:
    start = Barrier(2)

    def ensure(version: int) -> bool:
        with owner(fresh_database).begin() as conn:
            start.wait()
            made = _ensure(conn, DAY)
            _keep(conn, NOON, version)
            return made

    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(ensure, (1, 2)))

    assert sorted(made) == [False, True]
    with owner(fresh_database).connect() as conn:
        assert _places(conn) == [("snapshot_history_20260117", 1), ("snapshot_history_20260117", 2)]


def test_retention_drops_the_days_before_and_keeps_the_day_itself(conn: Connection) -> None:
    for day in (15, 16, 17):
        _ensure(conn, DAY.replace(day=day))
        _keep(conn, NOON.replace(day=day), day)
    _keep(conn, NOON.replace(day=14), 14)
    _keep(conn, NOON.replace(day=18), 18)

    dropped = _drop_before(conn, DAY)

    assert dropped == 2
    assert _places(conn) == [("snapshot_history_20260117", 17), ("snapshot_history_default", 18)]


def test_retention_with_nothing_old_drops_nothing(conn: Connection) -> None:
    _ensure(conn, DAY)

    assert _drop_before(conn, DAY) == 0
