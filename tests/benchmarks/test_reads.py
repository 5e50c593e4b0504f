"""Parsing of wrk's output, and the loads of each round."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from click.testing import CliRunner

from benchmarks import audience, read_goals, wrk
from benchmarks.reads import main
from benchmarks.reads_app import pattern_statements
from benchmarks.wrk import Load, WrkError

if TYPE_CHECKING:
    from pathlib import Path

_FAST: Final = """\
Running 2s test @ http://127.0.0.1:8941/constant
  2 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   538.39us  719.81us  11.57ms   90.59%
    Req/Sec    20.77k     3.35k   28.99k    65.00%
  Latency Distribution
     50%  299.00us
     75%  616.00us
     90%    1.21ms
     99%    3.60ms
  82725 requests in 2.00s, 114.95MB read
Requests/sec:  41312.62
Transfer/sec:     57.40MB
"""
#: A space follows each unit of one letter here: `(_)` stands for it.
_SLOW: Final = """\
Running 4s test @ http://127.0.0.1:8934/
  2 threads and 8 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.23s    19.83ms   1.24s    63.64%
    Req/Sec     5.56      6.56    20.00     88.89%
  Latency Distribution
     50%    1.23s(_)
     75%    1.24s(_)
     90%    1.24s(_)
     99%    1.24s(_)
  22 requests in 4.01s, 2.43KB read
Requests/sec:      5.49
Transfer/sec:     620.01B
""".replace("(_)", " ")
_REFUSED: Final = """\
Running 1s test @ http://127.0.0.1:8931/nothing
  2 threads and 4 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     3.12ms    1.13ms  13.52ms   80.89%
    Req/Sec   634.75     44.46   707.00     60.00%
  Latency Distribution
     50%    2.94ms
     75%    3.49ms
     90%    4.27ms
     99%    7.55ms
  1266 requests in 1.00s, 642.89KB read
  Non-2xx or 3xx responses: 1266
Requests/sec:   1264.36
Transfer/sec:    642.06KB
"""
_TIMED_OUT: Final = """\
Running 4s test @ http://127.0.0.1:8933/
  2 threads and 4 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     0.00us    0.00us   0.00us    -nan%
    Req/Sec     2.14      3.48    10.00     85.71%
  Latency Distribution
     50%    0.00us
     75%    0.00us
     90%    0.00us
     99%    0.00us
  12 requests in 4.01s, 1.32KB read
  Socket errors: connect 0, read 0, write 0, timeout 12
Requests/sec:      2.99
Transfer/sec:     338.09B
"""
_MET: Final = {
    "snapshot_to_constant": 0.8,
    "p99_to_constant": 2.0,
    "not_modified_to_constant": 1.0,
    "snapshot_to_live": 1000.0,
    "busy_to_live": 1000.0,
    "tenants_to_live": 1000.0,
    "memory_mb": 80.0,
}


def test_a_load_is_read_in_milliseconds_whatever_unit_wrk_took() -> None:
    assert wrk.parse(_FAST) == Load(82_725, per_second=41_312.62, p50_ms=0.299, p99_ms=3.6, refused=0, failed=0)
    assert wrk.parse(_SLOW) == Load(22, per_second=5.49, p50_ms=1230.0, p99_ms=1240.0, refused=0, failed=0)


def test_answers_that_are_errors_and_requests_without_an_answer_are_counted() -> None:
    assert wrk.parse(_REFUSED).refused == 1266
    assert wrk.parse(_TIMED_OUT).failed == 12


def test_words_without_a_figure_are_refused_with_the_words() -> None:
    with pytest.raises(WrkError, match="unable to connect"):
        wrk.parse("unable to connect to 127.0.0.1:8931 Connection refused")


def test_each_load_is_compared_with_the_constant_one_of_its_own_round() -> None:
    """The machine is twice as fast in the second round, and so are both."""
    rounds = [
        {"constant": _load(10_000, 1.0), "patterns": _load(9_000, 1.5), "not_modified": _load(11_000)},
        {"constant": _load(20_000, 0.5), "patterns": _load(18_000, 0.75), "not_modified": _load(22_000)},
    ]

    assert read_goals.ratios(rounds) == pytest.approx(
        {"snapshot_to_constant": 0.9, "p99_to_constant": 1.5, "not_modified_to_constant": 1.1}
    )


def test_snapshots_are_compared_with_live_answers_of_two_tenants_and_of_many() -> None:
    fast = {"patterns": _load(10_000), "busy": _load(8_000), "drawn": _load(6_000)}
    slow = {"live": _load(10), "live_busy": _load(4), "live_tenants": _load(2)}

    found = read_goals.live_ratios(read_goals.medians([fast | slow]))

    assert found == {"snapshot_to_live": 1000, "busy_to_live": 2000, "tenants_to_live": 3000}


def test_half_of_the_runs_are_of_tenants_as_large_as_that_of_the_median_run_or_larger() -> None:
    assert audience.of_median_run({"a": 50, "b": 10, "c": 30, "d": 8}) == "a"
    assert audience.of_median_run({"a": 40, "b": 10, "c": 30, "d": 18}) == "c"


def test_a_goal_is_met_at_its_limit() -> None:
    assert len(read_goals.judged(_MET)) == len(read_goals.GOALS)
    assert all(row["met"] for row in read_goals.judged(_MET))


@pytest.mark.parametrize(
    ("name", "figure"),
    [
        ("snapshot_to_constant", 0.79),
        ("p99_to_constant", 2.01),
        ("not_modified_to_constant", 0.99),
        ("snapshot_to_live", 999.0),
        ("tenants_to_live", 999.0),
        ("memory_mb", 80.1),
    ],
)
def test_a_goal_is_missed_beyond_its_limit(name: str, figure: float) -> None:
    lines = list(read_goals.table({**_MET, name: figure}))

    assert [line.startswith("MISSED") for line in lines].count(True) == 1


def test_what_was_not_measured_is_not_judged() -> None:
    assert [row["goal"] for row in read_goals.judged({"memory_mb": 70.0})] == [80]


def test_the_definition_has_four_statements_about_patterns() -> None:
    assert len(pattern_statements()) == 4


def test_without_the_load_generator_the_benchmark_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    result = CliRunner().invoke(main, ["--json", str(tmp_path / "reads.json")])

    assert result.exit_code == 2
    assert "apt install wrk" in result.output
    assert not (tmp_path / "reads.json").exists()


def _load(per_second: float, p99_ms: float = 1.0) -> Load:
    return Load(requests=1000, per_second=per_second, p50_ms=0.5, p99_ms=p99_ms, refused=0, failed=0)
