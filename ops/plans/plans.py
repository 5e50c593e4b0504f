"""Executed plan: scans, indexes, time, buffers, and bytes written to disk.

Reads the output of EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) of PostgreSQL 14 and newer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Node = Mapping[str, Any]

_SEQUENTIAL: Final = "Seq Scan"
_HIT_AND_READ: Final = ("Shared Hit Blocks", "Shared Read Blocks", "Local Hit Blocks", "Local Read Blocks")


@dataclass(frozen=True, slots=True)
class Scan:
    """One executed scan of a table; `rows` is what it returned over all its loops."""

    relation: str
    method: str
    rows: int

    @property
    def is_sequential(self) -> bool:
        """Tell whether the scan read the whole table."""
        return self.method == _SEQUENTIAL


@dataclass(frozen=True, slots=True)
class Plan:
    """One executed statement: time in milliseconds, buffers in blocks, each spill as a phrase."""

    ms: float
    buffers: int
    scans: tuple[Scan, ...]
    indexes: frozenset[str]
    spills: tuple[str, ...]

    def rows_of(self, relations: frozenset[str]) -> int:
        """Return how many rows the scans of `relations` returned."""
        return sum(scan.rows for scan in self.scans if scan.relation in relations)


def read(explained: Node) -> Plan:
    """Return what the only entry of an EXPLAIN's JSON says."""
    root = explained["Plan"]
    executed = [node for node in _nodes(root) if node["Actual Loops"] > 0]
    return Plan(
        ms=float(explained["Execution Time"]),
        buffers=sum(root.get(name, 0) for name in _HIT_AND_READ),
        scans=tuple(_scan(node) for node in executed if "Relation Name" in node),
        indexes=frozenset(node["Index Name"] for node in executed if "Index Name" in node),
        spills=tuple(_spills(root, executed)),
    )


def _nodes(node: Node) -> Iterator[Node]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


def _scan(node: Node) -> Scan:
    """Return the scan; PostgreSQL states rows as an average per loop."""
    return Scan(node["Relation Name"], node["Node Type"], round(node["Actual Rows"] * node["Actual Loops"]))


def _spills(root: Node, executed: list[Node]) -> Iterator[str]:
    """Name every sort and hash on disk, and any other temporary block; the root's count includes its children's."""
    named = [phrase for node in executed for phrase in _spills_of(node)]
    yield from named
    if not named and root.get("Temp Written Blocks", 0):
        yield f"{root['Temp Written Blocks']} temporary blocks written"


def _spills_of(node: Node) -> Iterator[str]:
    if node.get("Sort Space Type") == "Disk":
        yield f"{node['Sort Method']} of {node['Sort Space Used']} kB on disk"
    for groups in ("Full-sort Groups", "Pre-sorted Groups"):
        if "Sort Space Disk" in node.get(groups, {}):
            yield f"incremental sort of up to {node[groups]['Sort Space Disk']['Peak Sort Space Used']} kB on disk"
    if node.get("Hash Batches", 1) > 1:
        yield f"hash in {node['Hash Batches']} batches on disk"
    if node.get("Disk Usage", 0):
        yield f"hash aggregate of {node['Disk Usage']} kB on disk"
