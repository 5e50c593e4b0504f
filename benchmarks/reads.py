"""Our read layer beside a constant body on the same server, and beside the specification's SQL run at each request.

    python -m benchmarks.reads [--scale s|m] [--seconds N] [--rounds N] [--json PATH]
        [--processes N] [--threads N] [--data FOLDER]

Everything that is compared runs in turns in one run; each ratio is printed, with its goal from docs/performance.md, and
saved as JSON. The load comes from wrk, on the same machine.
"""

from __future__ import annotations

import json
import tempfile
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from sqlalchemy import select

from api.app import PREFIX
from benchmarks import audience, read_goals, wrk
from benchmarks.reads_app import CONSTANT_PATH, LIVE_PATH
from benchmarks.refresh import spec_indexes_only
from benchmarks.scales import SCALES, filled_database
from benchmarks.serving import serving
from benchmarks.wrk import Target
from ops.local.interruption import Interruption
from snapshots import settings as settings_module
from snapshots.body import DEFAULT_LIMIT, ITEM_LISTS, cut_items, parts_of
from snapshots.errors import ActivityError
from snapshots.movement import movement
from snapshots.signals import SIGNALS
from snapshots.tables import snapshot
from worker.engine.refresh import refresh

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import Engine

    from benchmarks.audience import Audience
    from benchmarks.serving import Answer, Server
    from benchmarks.wrk import Load

#: Everything on, and no limit that the load could reach.
_API: Final = {
    "ACTIVITY_RATE_LIMIT_SNAPSHOTS": "10000000",
    "ACTIVITY_RATE_LIMIT_LIVE": "10000000",
    "ACTIVITY_METRICS": "true",
    "ACTIVITY_ACCESS_LOG": "true",
}
_PATHS: Final = {
    "patterns": f"{PREFIX}/patterns",
    "attention": f"{PREFIX}/attention-queue",
    "cost": f"{PREFIX}/cost-analysis",
}
_ENCODINGS: Final = ("gzip", "zstd")
_WARM_S: Final = 1
#: Fewer: more would only wait for the database.
_LIVE_CONNECTIONS: Final = 8
#: Memory is weighed after so many requests.
_WEIGHED_AFTER: Final = 100_000
_OK: Final = 200
_NOT_MODIFIED: Final = 304


class MissingProgramError(click.ClickException):
    """The load generator is not there."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Stage:
    """The servers, of which one is under load at a time, who asks, and where files go."""

    engine: Engine
    audience: Audience
    folder: Path
    api: Server
    constant: Server
    live: Server

    @property
    def caller(self) -> dict[str, str]:
        """Return the headers of the tenant in the middle."""
        return _authorization(self.audience, self.audience.median)


@click.command()
@click.option("--scale", type=click.Choice(["s", "m"]), default="s", show_default=True)
@click.option("--seconds", type=click.IntRange(1, 600), default=5, show_default=True, help="Length of each load.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Counted rounds after a warm one.")
@click.option("--processes", type=click.IntRange(1, 64), default=2, show_default=True, help="Processes per server.")
@click.option(
    "--threads",
    type=click.IntRange(1, 256),
    default=settings_module.Settings.model_fields["api_threads"].default,
    show_default=True,
    help="ACTIVITY_API_THREADS of every server.",
)
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Folder that keeps the database.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), default="reads.json", show_default=True)
def main(scale: str, seconds: int, rounds: int, data: Path | None, json_path: Path, **sizes: int) -> None:
    """Measure how fast snapshots are read, and what memory the API takes."""
    try:
        wrk.check_installed()
    except wrk.WrkError as ex:
        raise MissingProgramError(str(ex)) from ex
    figures: dict[str, Any] | None = None
    with Interruption():
        figures = _figures(scale, data, sizes, seconds, rounds)
    if figures is None:
        raise click.Abort
    json_path.write_text(json.dumps(figures, indent=2) + "\n")
    click.echo("\n".join(read_goals.table(figures["ratios"])))


def _figures(scale: str, data: Path | None, sizes: Mapping[str, int], seconds: int, rounds: int) -> dict[str, Any]:
    """Return everything that is measured at one scale, and the goals held against it."""
    click.echo(f"scale {scale}: generating")
    try:
        with filled_database(SCALES[scale], data) as (engine, _), _staged(engine, sizes) as stage:
            figures = measure(stage, seconds, rounds)
    except ActivityError as ex:
        raise click.ClickException(str(ex)) from ex
    goals = read_goals.judged(figures["ratios"])
    return {"scale": scale, **sizes, "seconds": seconds, **figures, "goals": goals}


@contextmanager
def _staged(engine: Engine, sizes: Mapping[str, int]) -> Iterator[Stage]:
    """Yield the three servers over published snapshots; none is left when it is over."""
    for name in SIGNALS:
        refresh(engine, name, settings_module.load(), mode="reconcile")
    common = {f"ACTIVITY_API_{name.upper()}": str(value) for name, value in {"host": "127.0.0.1", **sizes}.items()}
    live_settings = {**common, "ACTIVITY_DATABASE_URL": engine.url.render_as_string(hide_password=False)}
    api_settings = {**common, **_API, **audience.role_urls(engine)}
    listeners = audience.gather(engine)
    apps = "benchmarks.reads_app"
    with tempfile.TemporaryDirectory(prefix="activity-reads-") as name:
        folder = Path(name)
        with serving("api", ["ops.cli", "api"], api_settings, folder) as api:
            first = _probe(api, _PATHS["patterns"], _authorization(listeners, listeners.median))
            sized = {**common, "READS_BODY_BYTES": str(len(first.body))}
            with (
                serving("constant", [apps, "constant"], sized, folder) as constant,
                serving("live", [apps, "live"], live_settings, folder) as live,
            ):
                yield Stage(engine, listeners, folder, api, constant, live)


def measure(stage: Stage, seconds: int, rounds: int) -> dict[str, Any]:
    """Return probes, loads, memory and ratios. Raises ActivityError when an answer is not what it should be."""
    begun = stage.api.memory_mb()
    probes = _probes(stage)
    _tell_probes(stage, probes)
    fast = _rounds(stage, _fast_targets(stage, probes), [_WARM_S, *[seconds] * rounds])
    _probe(stage.api, _PATHS["patterns"], _holding(stage, probes), expected=_NOT_MODIFIED)
    with spec_indexes_only(stage.engine):
        slow = _rounds(stage, _live_targets(stage), [seconds] * (rounds + 1))
    memory = {"at_start": begun, **_memory_under_load(stage, seconds)}
    medians = {**read_goals.medians(fast), **read_goals.medians(slow)}
    largest = max(memory["after_load"]["rss"])
    return {
        "tenants": len(stage.audience.tokens),
        "median_tenant": stage.audience.median,
        "tenant_of_median_run": stage.audience.of_median_run,
        "probes": {name: _summary(answer) for name, answer in probes.items()},
        "rounds": [{name: asdict(load) for name, load in each.items()} for each in [*fast, *slow]],
        "medians": medians,
        "memory": memory,
        "ratios": {**read_goals.ratios(fast), **read_goals.live_ratios(medians), "memory_mb": largest},
    }


def _probes(stage: Stage) -> dict[str, Answer]:
    """Return one answer of each kind, made sure to be what the load is meant to measure."""
    answers = {name: _probe(stage.api, path, stage.caller) for name, path in _PATHS.items()}
    for name in SIGNALS:
        _check_content(stage, name, answers[name].body)
    if not any(b'"snoozed"' in answer.body for answer in answers.values()):
        raise ActivityError("nothing is snoozed; expected what the audience was given")
    for encoding in _ENCODINGS:
        answers[encoding] = _probe(stage.api, _PATHS["patterns"], {**stage.caller, "Accept-Encoding": encoding})
    held = _holding(stage, answers)
    answers["not_modified"] = _probe(stage.api, _PATHS["patterns"], held, expected=_NOT_MODIFIED)
    answers["constant"] = _probe(stage.constant, CONSTANT_PATH, {})
    answers["live"] = _probe(stage.live, _live_path(stage.audience.median), {})
    return answers


def _probe(server: Server, path: str, headers: Mapping[str, str], *, expected: int = _OK) -> Answer:
    answer = server.get(path, headers)
    if answer.status != expected:
        raise ActivityError(f"{path}: answered {answer.status}, expected {expected}: {answer.body[:200]!r}")
    return answer


def _check_content(stage: Stage, signal: str, body: bytes) -> None:
    """Raise ActivityError unless `body` holds what is stored, byte for byte and in order, movement and triage aside."""
    begin = 0
    for part in _stored_parts(stage, signal):
        found = body.find(part.encode(), begin)
        if found < 0:
            raise ActivityError(f"{signal}: the body is not the snapshot that is stored: {body[:200]!r}")
        begin = found + len(part.encode())


def _stored_parts(stage: Stage, signal: str) -> list[str]:
    """Return what stands before the items, each item as far as its last brace, and what follows the items."""
    member = ITEM_LISTS[signal]
    stored = select(snapshot.c.content, snapshot.c["items"], movement.c.lengths).join_from(
        snapshot,
        movement,
        (movement.c.tenant_id == snapshot.c.tenant_id) & (movement.c.signal == snapshot.c.signal),
    )
    own = snapshot.c.tenant_id == stage.audience.median, snapshot.c.signal == signal
    with stage.engine.connect() as conn:
        content, apart, lengths = conn.execute(stored.where(*own)).one()
    items = apart[:DEFAULT_LIMIT] if apart else cut_items(content, member, lengths)
    head, tail = parts_of(content, member, items)
    return [head[1:], *(item[:-1] for item in items), tail[:-1]]


def _fast_targets(stage: Stage, probes: Mapping[str, Answer]) -> dict[str, Target]:
    """Return the loads of a round; the constant one gets the same request as the snapshot."""
    port, caller, path = stage.api.port, stage.caller, _PATHS["patterns"]
    encoded = {name: Target(port, path, {**caller, "Accept-Encoding": name}) for name in _ENCODINGS}
    return {
        "constant": Target(stage.constant.port, CONSTANT_PATH, caller),
        "patterns": Target(port, path, caller),
        "not_modified": Target(port, path, _holding(stage, probes)),
        "busy": Target(port, path, _authorization(stage.audience, stage.audience.of_median_run)),
        "attention": Target(port, _PATHS["attention"], caller),
        "cost": Target(port, _PATHS["cost"], caller),
        **encoded,
        "tenants": Target(port, drawn_from=_requests(stage, "tenants", [path])),
        "drawn": Target(port, drawn_from=_drawn_requests(stage, path)),
    }


def _live_targets(stage: Stage) -> dict[str, Target]:
    """Return the loads of the specification's SQL: the tenant in the middle, that of the median run, and drawn ones."""
    drawn = stage.folder / "live.txt"
    drawn.write_text("".join(f"{_live_path(tenant)}\n" for tenant in stage.audience.drawn))
    port, connections = stage.live.port, _LIVE_CONNECTIONS
    return {
        "live": Target(port, _live_path(stage.audience.median), connections=connections),
        "live_busy": Target(port, _live_path(stage.audience.of_median_run), connections=connections),
        "live_tenants": Target(port, drawn_from=drawn, connections=connections),
    }


def _requests(stage: Stage, name: str, paths: Sequence[str]) -> Path:
    """Write a line for each tenant and path, and return the file."""
    file = stage.folder / f"{name}.txt"
    file.write_text("".join(f"{path} {token}\n" for token in stage.audience.tokens.values() for path in paths))
    return file


def _drawn_requests(stage: Stage, path: str) -> Path:
    """Write a line for each tenant that is drawn by its runs, as the live load has them, and return the file."""
    file = stage.folder / "drawn.txt"
    file.write_text("".join(f"{path} {stage.audience.tokens[tenant]}\n" for tenant in stage.audience.drawn))
    return file


def _rounds(stage: Stage, targets: Mapping[str, Target], lengths: Sequence[int]) -> list[dict[str, Load]]:
    """Return the loads of each round but the first, which warms; each begins with another load, and has its seconds."""
    counted, names = [], list(targets)
    for number, lasting in enumerate(lengths):
        first = number % len(names)
        loads = {name: _loaded(stage, name, targets[name], lasting) for name in names[first:] + names[:first]}
        rates = ", ".join(f"{name} {loads[name].per_second:.0f}" for name in names)
        click.echo(f"round {number}, requests per second: {rates}")
        counted += [loads] if number else []
    return counted


def _loaded(stage: Stage, name: str, target: Target, seconds: int) -> Load:
    """Return how a load went. Raises ActivityError unless every request had its answer."""
    load = wrk.run(target, seconds)
    stage.api.forget_log()
    if load.refused or load.failed or not load.requests:
        counts = f"{load.requests} requests, {load.refused} answered with an error, {load.failed} not answered"
        raise ActivityError(f"{name}: {counts}")
    return load


def _memory_under_load(stage: Stage, seconds: int) -> dict[str, Any]:
    """Return the API's memory, MB, once all tenants have asked for all signals over and over."""
    target = Target(stage.api.port, drawn_from=_requests(stage, "everything", list(_PATHS.values())))
    answered = 0
    while answered < _WEIGHED_AFTER:
        answered += _loaded(stage, "everything", target, seconds).requests
    return {"after_load": stage.api.memory_mb(), "requests": answered}


def _tell_probes(stage: Stage, probes: Mapping[str, Answer]) -> None:
    sizes = ", ".join(f"{name} {_size(answer)}" for name, answer in probes.items())
    click.echo(f"{len(stage.audience.tokens)} tenants; bytes answered to {stage.audience.median}: {sizes}")


def _size(answer: Answer) -> str:
    encoding = answer.headers.get("content-encoding")
    return f"{len(answer.body)}" + (f" ({encoding})" if encoding else "")


def _summary(answer: Answer) -> dict[str, Any]:
    encoding = answer.headers.get("content-encoding", "identity")
    return {"status": answer.status, "bytes": len(answer.body), "encoding": encoding}


def _authorization(listeners: Audience, tenant: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {listeners.tokens[tenant]}"}


def _holding(stage: Stage, probes: Mapping[str, Answer]) -> dict[str, str]:
    """Return the headers of a client that has the patterns already."""
    return {**stage.caller, "If-None-Match": probes["patterns"].headers["etag"]}


def _live_path(tenant: str) -> str:
    return f"{LIVE_PATH}?tenant={tenant}"


if __name__ == "__main__":
    main()
