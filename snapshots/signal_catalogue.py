"""Signal catalogue: the published face of every signal, read from `worker/signals/<name>/signal.toml`.

Settings, schedule, routes, OpenAPI, capabilities, health, movement, backtest and the console follow from it. The files
are data: this package does not import the worker. Source: docs/add-a-signal.md.
"""

from __future__ import annotations

import re
import tomllib
from importlib import resources
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from snapshots.errors import SignalDeclarationError
from snapshots.setting_kinds import Flag

if TYPE_CHECKING:
    from collections.abc import Mapping
    from importlib.resources.abc import Traversable

#: Names that become SQL identifiers, settings and JSON members.
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,40}$")]


class Threshold(BaseModel):
    """One threshold of a signal: an operator's setting, and a member of the body's `parameters`.

    `minimum` and `maximum` are inclusive, `above` is exclusive. The setting is `ACTIVITY_<SETTING>`; without `setting`
    it has the threshold's own name. An `extra` one is stated in `extra_parameters`: it belongs to fields that the
    specification does not know.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["integer", "number", "boolean"]
    default: int | float | bool
    description: str
    unit: str = ""
    setting: Name | None = None
    minimum: float | None = None
    above: float | None = None
    maximum: float | None = None
    extra: bool = False


class ItemColumn(BaseModel):
    """One column of a plain signal's items, in its SQL, in its body and on its console card."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["text", "integer", "number", "boolean", "timestamp"]
    description: str
    unit: str = ""


class Level(BaseModel):
    """One level of a component: the run's value that it stands for, and its score."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    score: float = Field(gt=0, le=1)
    value: str
    title: str


class Component(BaseModel):
    """One part of a score. Its share of the score is its weight times the score of the run's level.

    A component without levels has a continuous score from 0 to 1. `code` is a two-letter abbreviation.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    code: str = Field(min_length=2, max_length=2)
    levels: tuple[Level, ...] = ()


class Kind(BaseModel):
    """One kind of item of a signal whose items differ in kind, with the rule in one sentence."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    rule: str


class SignalDefinition(BaseModel):
    """The published face of one signal.

    `item_list` is the body's member that holds the items, `item_key` the members that identify one. `body` names the
    body's schema in OpenAPI. A signal with `columns` is a plain one: its body, movement and explanation follow from
    them, and `severity` names the column that rises and falls.

    `explanation`, `components` and `kinds` are what a reader of the result needs. A threshold's name in braces, in
    `explanation` or in the rule of a kind, stands for the value in the body's `parameters`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    order: int
    title: str
    finds: str
    explanation: str = ""
    route: Annotated[str, Field(pattern=r"^/[a-z][a-z0-9-]*$")]
    capability: Annotated[str, Field(pattern=r"^activity\.[a-z][a-z0-9_]*$")]
    operation: Annotated[str, Field(pattern=r"^get[A-Z][A-Za-z0-9]*$")]
    body: Annotated[str, Field(pattern=r"^[A-Z][A-Za-z0-9]*$")]
    item_list: Name
    item_key: tuple[Name, ...] = Field(min_length=1)
    period_s: int = Field(ge=1, le=86_400)
    takes_limit: bool = False
    severity: Name | None = None
    source: Literal["source_run", "source_trace"] = "source_run"
    thresholds: dict[Name, Threshold] = {}
    columns: dict[Name, ItemColumn] = {}
    components: dict[Name, Component] = {}
    kinds: dict[Name, Kind] = {}

    @property
    def is_plain(self) -> bool:
        """Tell whether the engine builds body, movement and explanation from the columns."""
        return bool(self.columns)

    @model_validator(mode="after")
    def _columns_hold_key_and_severity(self) -> SignalDefinition:
        if not self.columns:
            return self
        for name in (*self.item_key, self.severity or "severity"):
            if name not in self.columns:
                msg = f"columns: {name!r} is missing; expected every item_key column and the severity column"
                raise ValueError(msg)
        if self.columns[self.severity or "severity"].type not in {"integer", "number"}:
            msg = f"columns.{self.severity or 'severity'}: expected a column of type integer or number"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _texts_name_thresholds(self) -> SignalDefinition:
        for text in (self.explanation, *(kind.rule for kind in self.kinds.values())):
            for name in re.findall(r"{(.*?)}", text):
                if name not in self.thresholds:
                    raise ValueError(f"{{{name}}} in {text!r}: expected the name of a threshold")
        return self

    def settings(self) -> Mapping[str, Threshold]:
        """Return the signal's thresholds by the name of their setting."""
        return {threshold.setting or name: threshold for name, threshold in self.thresholds.items()}


def read(name: str, text: str) -> SignalDefinition:
    """Return the definition that `text`, the content of a `signal.toml`, holds.

    Raises SignalDeclarationError naming the file, the field and what was expected.
    """
    try:
        return SignalDefinition(**{**tomllib.loads(text), "name": name})
    except tomllib.TOMLDecodeError as ex:
        raise SignalDeclarationError(f"signals/{name}/signal.toml: {ex}") from None
    except ValidationError as ex:
        problems = (f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in ex.errors())
        raise SignalDeclarationError(f"signals/{name}/signal.toml: {'; '.join(problems)}") from None


def _load(folder: Traversable) -> Mapping[str, SignalDefinition]:
    """Return the definitions of the folders below `folder`, in the order that answers list them in."""
    files = {entry.name: entry.joinpath("signal.toml") for entry in folder.iterdir() if entry.is_dir()}
    found = [read(name, file.read_text(encoding="utf-8")) for name, file in files.items() if file.is_file()]
    _check_unique(found)
    return MappingProxyType({each.name: each for each in sorted(found, key=lambda each: (each.order, each.name))})


def _check_unique(found: list[SignalDefinition]) -> None:
    """Raise SignalDeclarationError where two signals share what must be their own."""
    taken: dict[tuple[str, str], str] = {}
    for each in found:
        own = [("route", each.route), ("operation", each.operation), ("body", each.body)]
        own += [("setting", setting) for setting in each.settings()]
        for field, value in own:
            if (field, value) in taken:
                other = taken[field, value]
                raise SignalDeclarationError(f"signals/{each.name}/signal.toml: {field} {value} is {other}'s already")
            taken[field, value] = each.name


CATALOGUE: Final = _load(resources.files("worker").joinpath("signals"))


def setting_fields(definition: SignalDefinition) -> dict[str, Any]:
    """Return the settings of a signal as pydantic fields: its period and its thresholds, by the setting's name."""
    period = Field(definition.period_s, ge=1, le=86_400, description=f"Seconds between refreshes of {definition.name}")
    fields: dict[str, Any] = {f"{definition.name}_period_s": (int, period)}
    return fields | {name: _field(threshold) for name, threshold in definition.settings().items()}


def _field(threshold: Threshold) -> tuple[Any, Any]:
    if threshold.type == "boolean":
        return (Flag, Field(default=bool(threshold.default), description=threshold.description))
    bounds = {"ge": threshold.minimum, "gt": threshold.above, "le": threshold.maximum}
    kind: type = int if threshold.type == "integer" else float
    given: dict[str, Any] = {name: bound for name, bound in bounds.items() if bound is not None}
    if kind is float:
        given["allow_inf_nan"] = False
    return (kind, Field(default=threshold.default, description=threshold.description, **given))
