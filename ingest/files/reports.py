"""What a load did."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class TableReport:
    """The lines of one table by what became of them; to `superseded` ones a later line of the same key came."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    superseded: int = 0
    skipped: int = 0

    @property
    def lines(self) -> int:
        """Return how many lines there were."""
        return self.inserted + self.updated + self.unchanged + self.superseded + self.skipped

    def as_text(self) -> str:
        """Return the counts in words."""
        known = f"{self.inserted} inserted, {self.updated} updated, {self.unchanged} unchanged, {self.skipped} skipped"
        return f"{known}, {self.superseded} superseded by later lines" if self.superseded else known


@dataclass(slots=True)
class LoadReport:
    """The result of a load; `problems` holds the first bad lines as `file:line: field: what was expected`.

    `remarks` counts rows that were stored and may not mean what their writer meant.
    """

    tables: dict[str, TableReport] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    files: int = 0
    seconds: float = 0.0
    is_stored: bool = True

    @property
    def skipped(self) -> int:
        """Return how many lines were bad."""
        return sum(table.skipped for table in self.tables.values())

    @property
    def lines(self) -> int:
        """Return how many lines were read."""
        return sum(table.lines for table in self.tables.values())

    def as_text(self) -> str:
        """Return the report in lines; the problems are not in it."""
        rate = self.lines / self.seconds if self.seconds else 0.0
        if not self.is_stored:
            return f"nothing was loaded: {self.skipped} of {self.lines} lines are bad, and --strict was given"
        counts = [f"{name}: {table.as_text()}" for name, table in self.tables.items() if table.lines]
        remarks = [f"note: {each}" for each in self.remarks]
        return "\n".join(
            [*counts, *remarks, f"{self.lines} lines of {self.files} files in {self.seconds:.1f} s, {rate:,.0f}/s"]
        )
