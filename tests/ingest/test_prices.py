"""Price files: what they may say, which price holds, and what is wrong with one."""

from __future__ import annotations

import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from ingest.prices import PriceFileError, Prices, prices_of, read_prices
from ingest.spans import Span
from ops.commands.prices import prices as command
from snapshots import settings

if TYPE_CHECKING:
    from collections.abc import Callable

FILE = Path(__file__).parent / "files" / "prices.toml"
#: 2024-11-01 and 2023-01-01.
AFTER, BEFORE = 1_730_419_200, 1_672_531_200
IN_2026 = 1_768_600_000


def used(model: str, day_s: int = AFTER, **more: object) -> Span:
    fixed = {"trace_id": "a", "span_id": "b", "parent_id": None, "is_root": False, "kind": "model", "name": ""}
    counted = {"model": model, "input_tokens": 1_000_000, "output_tokens": 100_000, "provider": "openai"}
    return Span(**{**fixed, "started_ns": day_s * 10**9, "ended_ns": day_s * 10**9, **counted, **more})  # type: ignore[arg-type]  # named above


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], Path]:
    def write(content: str) -> Path:
        (tmp_path / "prices.toml").write_text(content)
        return tmp_path / "prices.toml"

    return write


@pytest.mark.parametrize(
    ("span", "cost"),
    [
        (used("gpt-4o"), "3.5"),
        (used("gpt-4o", cached_tokens=400_000), "3.0"),
        (used("gpt-4o", BEFORE), "4.2"),
        (used("gpt-4o", provider="elsewhere"), "4.2"),
        (used("gpt-4o-mini"), "4.2"),
        (used("gpt-4"), None),
        (used("gpt-4o", input_tokens=None, output_tokens=None), None),
        (used("gpt-4", cost_usd=0.25), "0.25"),
    ],
)
def test_the_closest_price_of_the_day_holds(span: Span, cost: str | None) -> None:
    assert Prices(read_prices(FILE)).cost(span) == (None if cost is None else Decimal(cost))


def test_without_a_file_and_a_list_no_cost_is_known() -> None:
    assert Prices().cost(used("gpt-4o")) is None
    assert prices_of(settings.load(prices="none")).cost(used("gpt-4o")) is None


@pytest.mark.parametrize(
    ("span", "cost"),
    [
        # 2.50 and 10 dollars per million tokens, 1.25 for cached ones.
        (used("gpt-4o"), "3.5"),
        (used("gpt-4o", provider=None), "3.5"),
        (used("gpt-4o", provider="azure.ai.openai"), "3.5"),
        (used("gpt-4o", cached_tokens=400_000), "3.0"),
        (used("gpt-4o", cached_tokens=2_000_000), "2.25"),
        (used("gpt-4o", input_tokens=None), "1"),
        (used("gpt-4o-2024-08-06"), "3.5"),
        # 3 and 15 dollars, and 6 and 22.50 where more than 200,000 tokens are sent.
        (used("claude-sonnet-4-5", provider="anthropic", input_tokens=1_234), "1.503702"),
        (used("claude-sonnet-4-5", provider="anthropic"), "8.25"),
        # 10 and 40 dollars before 2025-06-10, 2 and 8 since.
        (used("o3"), "14"),
        (used("o3", IN_2026), "2.8"),
        (used("grok-3", provider="x_ai"), "4.5"),
        (used("nonsense"), None),
        (used("gpt-4o", provider="elsewhere"), None),
        (used("gpt-4o", input_tokens=None, output_tokens=None), None),
        (used("nonsense", cost_usd=0.25), "0.25"),
    ],
)
def test_without_a_file_the_public_list_counts(span: Span, cost: str | None) -> None:
    assert prices_of(settings.load()).cost(span) == (None if cost is None else Decimal(cost))


def test_a_price_of_the_file_wins_over_the_public_list(written: Callable[[str], Path]) -> None:
    path = written("[[price]]\nmodel='o3'\ninput_usd_per_million=1\noutput_usd_per_million=1")
    prices = prices_of(settings.load(prices_file=str(path)))

    assert prices.cost(used("o3")) == Decimal("1.1")
    assert prices.cost(used("gpt-4o")) == Decimal("3.5")


def test_the_public_list_is_loaded_where_a_price_is_needed() -> None:
    script = (
        "import sys\nfrom ingest.prices import prices_of\nfrom snapshots import settings\n"
        "import ops.receiver\nprices_of(settings.load())\nprint('genai_prices' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"


def test_json_says_the_same(tmp_path: Path) -> None:
    entry = {"model": "m", "input_usd_per_million": 2.5, "output_usd_per_million": 10, "valid_from": "2024-01-01"}
    (tmp_path / "prices.json").write_text(json.dumps({"price": [entry]}))

    assert Prices(read_prices(tmp_path / "prices.json")).cost(used("m")) == Decimal("3.5")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "expected a list named price"),
        ("price = 1", "expected a list named price"),
        ("[[price]", "prices.toml: "),
        ("[[price]]\nmodel='m'", "price 1: input_usd_per_million: missing"),
        ("[[price]]\nmodel='m'\nper_token=1", "price 1: per_token: unknown"),
        ("[[price]]\nmodel='a*b'\ninput_usd_per_million=1\noutput_usd_per_million=1", "with * at its end alone"),
        ("[[price]]\nmodel='m'\ninput_usd_per_million=-1\noutput_usd_per_million=1", "0 or more"),
        ("[[price]]\nmodel='m'\ninput_usd_per_million=nan\noutput_usd_per_million=1", "0 or more"),
        (
            "[[price]]\nmodel='m'\ninput_usd_per_million=1\noutput_usd_per_million=1\nvalid_from='soon'",
            "expected a date like 2026-01-17",
        ),
        ("[[price]]\nmodel='m'\ninput_usd_per_million=1\noutput_usd_per_million=1\n" * 2, "two prices for one day"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_what_was_expected(
    written: Callable[[str], Path], content: str, words: str
) -> None:
    with pytest.raises(PriceFileError) as caught:
        read_prices(written(content))

    assert words in str(caught.value)


def test_the_command_prints_what_a_file_says() -> None:
    done = CliRunner().invoke(command, ["check", str(FILE)])

    assert done.exit_code == 0
    assert [line.split()[:5] for line in done.output.splitlines()[1:]] == [
        ["gpt-4o", "openai", "2.50", "1.25", "10.00"],
        ["gpt-4o*", "any", "3", "as", "input"],
    ]
