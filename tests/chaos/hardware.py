"""Faults of the machine: a worker's clock that is an hour off, and a disk without room."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from ops.local.startup import clock
from snapshots.errors import ActivityError
from tests.chaos.faults import Unavailable, restarted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.chaos.faults import Measured, Scene
    from tests.chaos.world import World

_PATIENCE_S: Final = 60.0
_MOUNT: Final = "/bin/mount"
_UMOUNT: Final = "/bin/umount"
#: Debian's libfaketime, for programs with threads.
_FAKETIME: Final = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
#: What a refresh writes, in a file system that holds so much.
_MOVED: Final = ("snapshot", "attention_item", "cost_item", "pattern_item")
_ROOM_MB: Final = 48
_DISK_FULL: Final = "53100"


def shift_clock(hours: int, scene: Scene) -> Measured:
    """Start one worker anew whose clock is off, let it work for some periods, and start it anew with the right one."""
    if not _FAKETIME:
        raise Unavailable("libfaketime is not installed")
    world = scene.world
    variables = {
        "LD_PRELOAD": str(_FAKETIME[0]),
        "FAKETIME": f"{hours:+d}h",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }
    worker = world.crew.of("worker")[0]
    with restarted(scene, [worker], variables) as started_s:
        since = clock(world.engine)
        fresh_s = world.until(lambda: scene.readers.are_fresh(since), _PATIENCE_S)
        world.wait(15 if scene.is_full else 5)
        is_idle = not worker.has_said(b"state=succeeded")
    measured_s = _PATIENCE_S if fresh_s is None else fresh_s
    return {"started_s": started_s, "fresh_beside_it_s": measured_s, "did_nothing": int(is_idle)}


def fill_disk(scene: Scene) -> Measured:
    """Leave no room where snapshots are written, then make room again."""
    world = scene.world
    with _small_disk(world):
        filled = _fill(world)
        failed_s = world.until(lambda: _failures(world) > 0, _PATIENCE_S)
        world.wait(15 if scene.is_full else 5)
        failures = _failures(world)
        _make_room(world)
    return {"filled_mb": filled, "failed_after_s": _PATIENCE_S if failed_s is None else failed_s, "failures": failures}


@contextmanager
def _small_disk(world: World) -> Iterator[None]:
    """Have the tables of snapshots in a small file system of their own, and bring them back afterwards.

    Raises Unavailable where none can be mounted.
    """
    if not Path(_MOUNT).exists():
        raise Unavailable("no file system can be mounted here")
    folder = world.folder / "small-disk"
    folder.mkdir(exist_ok=True)
    options = f"size={_ROOM_MB}m,uid={_owner_of(world)},mode=700"
    mounted = subprocess.run(
        [_MOUNT, "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        raise Unavailable(f"no file system can be mounted: {mounted.stderr.strip()}")
    try:
        with world.superuser_in().connect() as conn:
            conn.execute(text(f"create tablespace small location '{folder}'"))
            conn.execute(text("grant create on tablespace small to public"))
        _move(world, "small")
        yield
    finally:
        _make_room(world)
        _move(world, "pg_default")
        with world.superuser_in().connect() as conn:
            conn.execute(text("checkpoint"))
            conn.execute(text("drop tablespace if exists small"))
        subprocess.run([_UMOUNT, "--lazy", folder], check=True)  # sessions may hold files of it open still


def _owner_of(world: World) -> int:
    process = world.postgres.process
    if process is None:
        raise ActivityError("the database is not up")
    return process.uids().effective


def _move(world: World, tablespace: str) -> None:
    with world.superuser_in().connect() as conn:
        for name in _MOVED:
            conn.execute(text(f"alter table signals.{name} set tablespace {tablespace}"))


def _fill(world: World) -> int:
    """Write until nothing more fits, in smaller and smaller pieces; return the megabytes."""
    with world.superuser_in().connect() as conn:
        conn.execute(text("create table public.ballast (bytes text) tablespace small"))
        conn.execute(text("alter table public.ballast alter bytes set storage plain"))
        for rows in (2000, 200, 20, 1):
            _fill_with(world, rows)
        return int(conn.execute(text("select pg_table_size('public.ballast') / 1048576")).scalar_one())


def _fill_with(world: World, rows: int) -> None:
    piece = text("insert into public.ballast select repeat('x', 7000) from generate_series(1, :rows)")
    with world.superuser_in().connect() as conn:
        for _ in range(_ROOM_MB * 150):
            try:
                conn.execute(piece, {"rows": rows})
            except DBAPIError as ex:
                if getattr(ex.orig, "pgcode", None) != _DISK_FULL:
                    raise
                return


def _make_room(world: World) -> None:
    with world.superuser_in().connect() as conn:
        conn.execute(text("drop table if exists public.ballast"))


def _failures(world: World) -> int:
    """Return the attempts of the last minute that found no room."""
    failed = text(
        "select count(*) from signals.refresh where error like '%No space left on device%'"
        " and requested_at > clock_timestamp() - interval '1 minute'"
    )
    with world.engine.connect() as conn:
        return int(conn.execute(failed).scalar_one())
