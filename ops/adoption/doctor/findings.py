"""Findings of the doctor, each with its level and the remedy, as text and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Final

#: From harmless to hopeless. `note` is worth knowing, `empty` silences an answer, `suspicious` may make one wrong, and
#: with `blocked` nothing works.
LEVELS: Final = ("ok", "note", "empty", "suspicious", "blocked")
_EXIT_CODES: Final = {"ok": 0, "note": 0, "empty": 1, "suspicious": 1, "blocked": 1}


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding: what was found, what that does to the answers, what to do, and statements that do it."""

    id: str
    level: str
    found: str
    effect: str = ""
    advice: str = ""
    commands: tuple[str, ...] = ()

    def as_text(self) -> str:
        """Return the finding in lines."""
        lines = [f"{self.level:<10} {self.id}: {self.found}"]
        lines += [f"{'':<11}{words}" for words in (self.effect, f"do: {self.advice}" if self.advice else "") if words]
        return "\n".join([*lines, *(f"{'':<11}{command};" for command in self.commands)])


@dataclass(slots=True)
class Diagnosis:
    """All findings of one host."""

    findings: list[Finding] = field(default_factory=list)

    @property
    def level(self) -> str:
        """Return the worst level."""
        return max((finding.level for finding in self.findings), key=LEVELS.index, default="ok")

    @property
    def exit_code(self) -> int:
        """Return 0 where nothing is suspicious, 1 where something is; the level says how bad."""
        return _EXIT_CODES[self.level]

    def as_text(self) -> str:
        """Return the findings in lines, and the sum of them."""
        counts = ", ".join(f"{n} {level}" for level in LEVELS if (n := self._count(level)))
        return "\n".join([*(finding.as_text() for finding in self.findings), f"{self.level}: {counts}"])

    def as_dict(self) -> dict[str, object]:
        """Return the findings for JSON."""
        shown = [asdict(finding) for finding in self.findings]
        return {"verdict": self.level, "exit_code": self.exit_code, "findings": shown}

    def _count(self, level: str) -> int:
        return sum(finding.level == level for finding in self.findings)
