"""The part of PromQL that our alerts and panels are written in: parsed, and evaluated over planted scrapes.

It knows instant and range selectors, comparisons, arithmetic, `and` and `or` over equal labels, aggregation `by`, and
`rate` and `delta` without Prometheus' extrapolation. Whatever else an expression has is an error.
"""

from __future__ import annotations

import operator
import re
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_TOKEN: Final = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?)|(?P<word>[a-zA-Z_][\w]*)|(?P<string>\"[^\"]*\")|(?P<range>\[\d+[smhd]\])"
    r"|(?P<sign>=~|!~|!=|==|>=|<=|[=<>+*/(){},-]))"
)
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_AGGREGATES: Final[Mapping[str, Callable[[list[float]], float]]] = {"sum": sum, "max": max, "min": min}
_COMPARISONS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "==": operator.eq, "!=": operator.ne, ">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le,
}  # fmt: skip
_ARITHMETIC: Final[Mapping[str, Callable[[float, float], float]]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": lambda a, b: a / b if b else float("nan"),
}  # fmt: skip
#: The binary operators, those that bind least first.
_LEVELS: Final = (("or",), ("and",), tuple(_COMPARISONS), ("+", "-"), ("*", "/"))
_Item = TypeVar("_Item")
#: A sample is found for so long after its scrape, seconds.
_LOOK_BACK_S: Final = 300

Labels = frozenset[tuple[str, str]]
Vector = dict[Labels, float]
Series = tuple[str, Labels]


@dataclass(frozen=True)
class Number:
    """A number."""

    value: float


@dataclass(frozen=True)
class Selector:
    """A metric, some of its series, and for a range its length in seconds."""

    name: str
    matchers: tuple[tuple[str, str, str], ...] = ()
    range_s: int | None = None

    def matches(self, labels: Labels) -> bool:
        """Tell whether a series of this name is selected."""
        return all(_matches(dict(labels).get(label, ""), sign, wanted) for label, sign, wanted in self.matchers)


@dataclass(frozen=True)
class Call:
    """A function of expressions."""

    function: str
    arguments: tuple[Expression, ...]


@dataclass(frozen=True)
class Aggregate:
    """One number per group of series that share the labels `by`."""

    function: str
    by: tuple[str, ...]
    of: Expression


@dataclass(frozen=True)
class Binary:
    """Two expressions and what stands between them."""

    sign: str
    left: Expression
    right: Expression


Expression = Number | Selector | Call | Aggregate | Binary


def _matches(value: str, sign: str, wanted: str) -> bool:
    if sign in {"=", "!="}:
        return (value == wanted) == (sign == "=")
    return bool(re.fullmatch(wanted, value)) == (sign == "=~")


def parse(text: str) -> Expression:
    """Return what `text` says. Raises ValueError for what is not of the part described above."""
    parser = _Parser(list(_tokens(text)))
    found = parser.binary(0)
    parser.expect("end")
    return found


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    place, text = 0, text.rstrip()
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None or found.lastgroup is None:
            raise ValueError(f"not understood: {text[place:]!r}")
        yield found.lastgroup, found[found.lastgroup]
        place = found.end()
    yield "end", ""


@dataclass
class _Parser:
    tokens: list[tuple[str, str]]
    place: int = 0

    def take(self) -> tuple[str, str]:
        self.place += 1
        return self.tokens[self.place - 1]

    def expect(self, kind: str, value: str | None = None) -> str:
        found = self.take()
        if found[0] != kind or (value is not None and found[1] != value):
            raise ValueError(f"expected {value or kind}, found {found[1]!r}")
        return found[1]

    def at(self, *values: str) -> bool:
        kind, value = self.tokens[self.place]
        return kind in {"sign", "word"} and value in values

    def binary(self, level: int) -> Expression:
        if level == len(_LEVELS):
            return self.primary()
        left = self.binary(level + 1)
        while self.at(*_LEVELS[level]):
            left = Binary(self.take()[1], left, self.binary(level + 1))
        return left

    def primary(self) -> Expression:
        kind, value = self.take()
        if kind == "number":
            return Number(float(value))
        if (kind, value) == ("sign", "("):
            return self._closed(self.binary(0))
        if kind != "word":
            raise ValueError(f"not expected: {value!r}")
        if value in _AGGREGATES:
            return self._aggregate(value)
        return self._call(value) if self.at("(") else self._selector(value)

    def _closed(self, found: Expression) -> Expression:
        self.expect("sign", ")")
        return found

    def _aggregate(self, function: str) -> Aggregate:
        by: tuple[str, ...] = ()
        if self.at("by"):
            self.take()
            self.expect("sign", "(")
            by = tuple(self._listed(lambda: self.expect("word")))
        self.expect("sign", "(")
        return Aggregate(function, by, self._closed(self.binary(0)))

    def _call(self, function: str) -> Call:
        self.expect("sign", "(")
        return Call(function, tuple(self._listed(lambda: self.binary(0))))

    def _selector(self, name: str) -> Selector:
        matchers: tuple[tuple[str, str, str], ...] = ()
        if self.at("{"):
            self.take()
            matchers = tuple(self._listed(self._matcher, "}"))
        if self.tokens[self.place][0] == "range":
            span = self.take()[1]
            return Selector(name, matchers, int(span[1:-2]) * _UNITS[span[-2]])
        return Selector(name, matchers)

    def _matcher(self) -> tuple[str, str, str]:
        return self.expect("word"), self.expect("sign"), self.expect("string").strip('"')

    def _listed(self, one: Callable[[], _Item], end: str = ")") -> Iterator[_Item]:
        while True:
            yield one()
            if self.expect("sign") == end:
                return


def parts(found: Expression) -> Iterator[Expression]:
    """Yield `found` and every expression in it."""
    yield found
    inner: Sequence[Expression] = ()
    if isinstance(found, Binary):
        inner = (found.left, found.right)
    elif isinstance(found, Call):
        inner = found.arguments
    elif isinstance(found, Aggregate):
        inner = (found.of,)
    for each in inner:
        yield from parts(each)


@dataclass
class Scrapes:
    """Stored samples by series, as Prometheus has them, each at an instant in seconds."""

    samples: dict[Series, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))

    def add(self, at_s: float, series: Mapping[Series, float]) -> None:
        """Store what one scrape brought."""
        for key, value in series.items():
            self.samples[key].append((at_s, value))

    def fires(self, text: str, at_s: float) -> bool:
        """Tell whether an alert's expression has a result at an instant."""
        return bool(self.vector(parse(text), at_s))

    def vector(self, found: Expression, at_s: float) -> Vector:
        """Return the value of an expression that is no bare number."""
        match found:
            case Selector(range_s=None):
                return {labels: points[-1][1] for labels, points in self._points(found, at_s, _LOOK_BACK_S)}
            case Call(function="rate" | "delta" as function, arguments=(Selector(range_s=int(span)) as selector,)):
                changes = {
                    labels: _change(points, function, span) for labels, points in self._points(selector, at_s, span)
                }
                return {labels: change for labels, change in changes.items() if change is not None}
            case Aggregate():
                return self._aggregated(found, at_s)
            case Binary():
                return self._combined(found, at_s)
        raise ValueError(f"not evaluated: {found}")

    def _points(
        self, selector: Selector, at_s: float, span: float
    ) -> Iterator[tuple[Labels, list[tuple[float, float]]]]:
        for (name, labels), points in self.samples.items():
            recent = [point for point in points if at_s - span < point[0] <= at_s]
            if name == selector.name and selector.matches(labels) and recent:
                yield labels, recent

    def _aggregated(self, found: Aggregate, at_s: float) -> Vector:
        groups: dict[Labels, list[float]] = defaultdict(list)
        for labels, value in self.vector(found.of, at_s).items():
            groups[frozenset(pair for pair in labels if pair[0] in found.by)].append(value)
        return {labels: float(_AGGREGATES[found.function](values)) for labels, values in groups.items()}

    def _combined(self, found: Binary, at_s: float) -> Vector:
        left = self.vector(found.left, at_s)
        if isinstance(found.right, Number):
            number = found.right.value
            right = dict.fromkeys(left, number)
        else:
            right = self.vector(found.right, at_s)
        if found.sign == "or":
            return right | left
        if found.sign == "and":
            return {labels: value for labels, value in left.items() if labels in right}
        both = {labels: (value, right[labels]) for labels, value in left.items() if labels in right}
        if found.sign in _COMPARISONS:
            return {labels: a for labels, (a, b) in both.items() if _COMPARISONS[found.sign](a, b)}
        return {labels: _ARITHMETIC[found.sign](a, b) for labels, (a, b) in both.items()}


def _change(points: list[tuple[float, float]], function: str, span: float) -> float | None:
    """Return the change per second, or over the span; a counter that falls began anew."""
    if len(points) < 2:
        return None
    steps = [b[1] - a[1] for a, b in pairwise(points)]
    if function == "rate":
        steps = [step if step >= 0 else points[index + 1][1] for index, step in enumerate(steps)]
    slope = sum(steps) / (points[-1][0] - points[0][0])
    return slope if function == "rate" else slope * span
