"""The load generator wrk: one load on one server, and what its output says of it."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from snapshots.errors import ActivityError

if TYPE_CHECKING:
    from collections.abc import Mapping

_MANY: Final = Path(__file__).parent / "many.lua"
_THREADS: Final = 2
#: Unless a target has its own.
CONNECTIONS: Final = 16
#: Above the slowest answer that is measured: wrk counts a later one as an error.
_TIMEOUT: Final = "60s"
_MILLISECONDS: Final = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0, "h": 3_600_000.0}
#: What ends with the load may take this much longer than it, seconds.
_GRACE_S: Final = 90


class WrkError(ActivityError):
    """The load generator is missing, cannot reach the server, or says what is not understood."""


@dataclass(frozen=True, slots=True)
class Target:
    """Requests of a load: one path with some headers, or each drawn from a file of paths and tokens."""

    port: int
    path: str = "/"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    drawn_from: Path | None = None
    connections: int = CONNECTIONS


@dataclass(frozen=True, slots=True)
class Load:
    """Result of one load; `refused` are answers of 400 and above, `failed` requests without an answer."""

    requests: int
    per_second: float
    p50_ms: float
    p99_ms: float
    refused: int
    failed: int


def check_installed() -> None:
    """Raise WrkError unless wrk is on the PATH."""
    if shutil.which("wrk") is None:
        raise WrkError("wrk: not on the PATH; it generates the load. Debian and Ubuntu: apt install wrk")


def run(target: Target, seconds: int) -> Load:
    """Load `target` for `seconds` from two threads. Raises WrkError when that cannot be done."""
    try:
        done = subprocess.run(  # noqa: S603  # our own arguments
            _command(target, seconds), capture_output=True, text=True, check=False, timeout=seconds + _GRACE_S
        )
    except subprocess.TimeoutExpired as ex:
        raise WrkError(f"wrk: still running {_GRACE_S} s after its time") from ex
    if done.returncode != 0:
        raise WrkError(f"wrk: {(done.stderr or done.stdout).strip()}")
    return parse(done.stdout)


def _command(target: Target, seconds: int) -> list[str]:
    sizes = ["-t", str(_THREADS), "-c", str(target.connections), "-d", f"{seconds}s", "--timeout", _TIMEOUT]
    headers = [word for name, value in target.headers.items() for word in ("-H", f"{name}: {value}")]
    command = ["wrk", *sizes, "--latency", *headers]
    url = f"http://127.0.0.1:{target.port}{target.path}"
    if target.drawn_from is None:
        return [*command, url]
    return [*command, "-s", str(_MANY), url, "--", str(target.drawn_from)]


def parse(words: str) -> Load:
    """Return what the output of `wrk --latency` says. Raises WrkError when it lacks a figure."""
    # The line of refused answers is absent where there are none, and so is the one of failures.
    refused = re.search(r"^ +Non-2xx or 3xx responses: (\d+)$", words, re.MULTILINE)
    failed = re.search(r"^ +Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)$", words, re.MULTILINE)
    return Load(
        requests=int(_found(r"^ +(\d+) requests in ", words)[1]),
        per_second=float(_found(r"^Requests/sec: +([\d.]+)$", words)[1]),
        p50_ms=_latency_ms("50%", words),
        p99_ms=_latency_ms("99%", words),
        refused=int(refused[1]) if refused else 0,
        failed=sum(map(int, failed.groups())) if failed else 0,
    )


def _latency_ms(percentile: str, words: str) -> float:
    """Return a row of the latency distribution, milliseconds. A unit of one letter has a space after it."""
    match = _found(rf"^ +{percentile} +([\d.]+)(us|ms|s|m|h) *$", words)
    return float(match[1]) * _MILLISECONDS[match[2]]


def _found(pattern: str, words: str) -> re.Match[str]:
    match = re.search(pattern, words, re.MULTILINE)
    if match is None:
        raise WrkError(f"wrk: expected a line like {pattern!r}, got: {words.strip()[:300]!r}")
    return match
