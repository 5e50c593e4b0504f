"""Faults of processes and servers; each returns when it is over, with its own measurements."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from ops.health.broker import BEAT_LOCK_KEY
from snapshots.signals import LOCK_CLASS
from tests.chaos.crew import kill

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import psutil

    from tests.chaos.crew import Member
    from tests.chaos.readers import Readers
    from tests.chaos.world import World


class Unavailable(Exception):  # noqa: N818  # no error: the fault is left out
    """This machine cannot have the fault; the message says why."""


Measured = dict[str, float | int | str]

#: A process that is started again is up within so long, seconds.
_UP_S: Final = 60.0
#: A fault comes at some moment of a period.
_MOMENT_S: Final = 2.0
_KILLED_AT_ONCE: Final = 10


@dataclass
class Scene:
    """Targets of a fault, and its source of chance; `is_full` asks for the sizes of a full run."""

    world: World
    readers: Readers
    chance: random.Random
    is_full: bool

    def pause(self, most_s: float = _MOMENT_S) -> None:
        """Let some time pass, at most `most_s` seconds."""
        self.world.wait(self.chance.random() * most_s)


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault by its name; `kills` counts the processes that it ends by SIGKILL."""

    name: str
    strike: Callable[[Scene], Measured]
    kills: int = 0


def kill_child(scene: Scene) -> Measured:
    """Kill one of the processes that refresh, while a refresh is under way where one comes in time."""
    world = scene.world
    world.until(lambda: locks_held(world) > 0, _MOMENT_S)
    worker = scene.chance.choice([each for each in world.crew.of("worker") if each.is_up])
    lost = [scene.chance.choice(family)] if (family := worker.family()) else []
    kill(lost)
    return {"replaced_s": _measure(world, lambda: _size_without(worker, lost) >= world.settings.worker_concurrency)}


def _size_without(worker: Member, lost: Sequence[psutil.Process]) -> int:
    """Return how many children a worker has, those that were killed and not yet noticed aside."""
    return len(set(worker.family()) - set(lost))


def kill_worker(scene: Scene) -> Measured:
    """Kill a worker's first process; what it leaves behind ends with it, as in a container."""
    worker = scene.chance.choice(scene.world.crew.of("worker"))
    kill([worker.process])
    scene.world.until(lambda: not worker.is_up, _UP_S)
    return {"replaced_s": _measure(scene.world, lambda: worker.is_up and worker.has_said(b"ready"))}


def kill_beat(scene: Scene) -> Measured:
    """Kill the beat that rings, and say how long until another one holds the lock."""
    world = scene.world
    world.until(lambda: world.crew.active_beat() is not None, _UP_S)
    beat = world.crew.active_beat()
    with world.broker() as broker:
        before = broker.get(BEAT_LOCK_KEY)
        kill([beat.process] if beat else [])
        return {"failover_s": _measure(world, lambda: broker.get(BEAT_LOCK_KEY) not in {None, before})}


def kill_api(scene: Scene) -> Measured:
    """Kill the API's first process, or the one that answers, and say how long until it answers again."""
    world, api = scene.world, scene.world.crew.of("api")[0]
    scene.readers.api_is_down.set()
    kill([scene.chance.choice([api.process, *api.family()])])
    world.wait(0.2)
    back_s = _measure(world, lambda: api.is_up and world.api_is_up())
    scene.readers.api_is_down.clear()
    return {"back_s": back_s}


def kill_many(scene: Scene) -> Measured:
    """Kill one process after another, without waiting for the one before."""
    for number in range(_KILLED_AT_ONCE):
        members = [each for each in scene.world.crew.of(("worker", "beat")[number % 2]) if each.is_up]
        if members:
            kill([scene.chance.choice(members).process])
        scene.pause()
    return {}


def flush_broker(scene: Scene) -> Measured:
    """Have the broker forget everything: messages, beat's schedule, beat's lock."""
    with scene.world.broker() as broker:
        broker.flushall()
    return {}


def restart_broker(scene: Scene) -> Measured:
    """Kill the broker and start it again."""
    valkey = scene.world.valkey
    kill([valkey.process] if valkey.process else [])
    scene.pause(4)
    valkey.start()
    return {}


def freeze_broker(scene: Scene) -> Measured:
    """Stop the broker where it stands: connections stay, and nothing is answered."""
    process = scene.world.valkey.process
    assert process is not None
    process.suspend()
    try:
        scene.world.wait(60 if scene.is_full else 5)
    finally:
        process.resume()
    return {}


def fill_broker(scene: Scene) -> Measured:
    """Leave the broker no memory for another key, then give it back."""
    with scene.world.broker() as broker:
        broker.config_set("maxmemory", "1mb")
        scene.world.wait(15 if scene.is_full else 5)
        broker.config_set("maxmemory", "0")
    return {}


def restart_database(scene: Scene) -> Measured:
    """Stop PostgreSQL as an operator does, and start it again."""
    scene.world.postgres.stop()
    scene.pause(4)
    scene.world.postgres.start()
    return {}


def kill_database(scene: Scene) -> Measured:
    """Kill the postmaster; the server recovers from its log."""
    postgres = scene.world.postgres
    kill([postgres.process] if postgres.process else [])
    scene.pause(4)
    begun = time.monotonic()
    postgres.start()
    return {"recovery_s": time.monotonic() - begun}


def end_sessions(scene: Scene) -> Measured:
    """End every session of ours."""
    ended = text(
        "select count(pg_terminate_backend(pid)) from pg_stat_activity"
        " where backend_type = 'client backend' and pid <> pg_backend_pid()"
    )
    with scene.world.superuser.connect() as conn:
        return {"sessions": int(conn.execute(ended).scalar_one())}


def hold_lock(scene: Scene) -> Measured:
    """Lock `public.runs` against everybody, as a host's migration does."""
    with scene.world.engine.begin() as conn:
        conn.execute(text("lock table public.runs in access exclusive mode"))
        scene.world.wait(15 if scene.is_full else 6)
    return {}


@contextmanager
def restarted(scene: Scene, members: Sequence[Member], variables: Mapping[str, str]) -> Iterator[float]:
    """Restart processes with further variables in their environment, and without them afterwards.

    Yields the seconds until all of them were ready.
    """
    right = [member.program for member in members]
    for member in members:
        member.program = replace(member.program, env={**member.program.env, **variables})
    try:
        yield _restart(scene, members)
    finally:
        for member, program in zip(members, right, strict=True):
            member.program = program
        _restart(scene, members)


def _restart(scene: Scene, members: Sequence[Member]) -> float:
    """Stop processes as an operator does; return the seconds until the next ones are ready."""
    world, before = scene.world, [member.process for member in members]
    apis = world.crew.of("api")
    if any(member in apis for member in members):
        scene.readers.api_is_down.set()

    def are_ready() -> bool:
        if any(member.process is process or not member.is_up for member, process in zip(members, before, strict=True)):
            return False
        return all(world.api_is_up() if member in apis else member.has_said(b"ready") for member in members)

    for process in before:
        process.terminate()
    took_s = _measure(world, are_ready)
    scene.readers.api_is_down.clear()
    return took_s


def locks_held(world: World) -> int:
    """Return the advisory locks of ours that somebody holds."""
    held = text("select count(*) from pg_locks where locktype = 'advisory' and classid = :ours")
    with world.superuser.connect() as conn:
        return int(conn.execute(held, {"ours": LOCK_CLASS}).scalar_one())


def _measure(world: World, condition: Callable[[], bool]) -> float:
    """Return the seconds until `condition` holds; those of the limit when it does not."""
    took = world.until(condition, _UP_S)
    return _UP_S if took is None else took
