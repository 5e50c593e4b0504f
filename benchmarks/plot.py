"""A line chart as SVG: enough to see whether something grows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_WIDTH: Final = 720
_HEIGHT: Final = 320
_LEFT: Final = 60
_TOP: Final = 40
_COLOURS: Final = ("#0b62a4", "#b3541e", "#3a7d44", "#7a3e9d")


def line_chart(title: str, series: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Return an SVG document with one line per series of (minute, value), from 0 up."""
    far = max((x for points in series.values() for x, _ in points), default=1) or 1
    high = max((y for points in series.values() for _, y in points), default=1) or 1
    lines = [
        _line(name, [_place(x / far, y / high) for x, y in points], number)
        for number, (name, points) in enumerate(series.items())
    ]
    axes = (
        f'<path d="M{_LEFT} {_TOP}V{_HEIGHT - 40}H{_WIDTH - 20}" fill="none" stroke="#888"/>'
        f'<text x="8" y="{_TOP + 4}">{high:.1f}</text><text x="40" y="{_HEIGHT - 40}">0</text>'
        f'<text x="{_WIDTH - 90}" y="{_HEIGHT - 16}">{far:.0f} minutes</text>'
    )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" font-family="sans-serif"'
    background = '<rect width="100%" height="100%" fill="#fff"/>'
    title_text = f'<text x="{_LEFT}" y="22">{escape(title)}</text>'
    return f'{head} font-size="12">{background}{title_text}{axes}{"".join(lines)}</svg>\n'


def _place(across: float, up: float) -> tuple[float, float]:
    width, height = _WIDTH - 20 - _LEFT, _HEIGHT - 40 - _TOP
    return _LEFT + across * width, _TOP + (1 - up) * height


def _line(name: str, places: Sequence[tuple[float, float]], number: int) -> str:
    colour = _COLOURS[number % len(_COLOURS)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    label = f'<text x="{_LEFT + 10 + 150 * number}" y="{_TOP + 12}" fill="{colour}">{escape(name)}</text>'
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>{label}'
