"""Reading and judging of recorded plans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from ops.plans import plans
from ops.plans.verdicts import SHARE_LIMIT, TINY_BLOCKS, Extent, budget_ms, judge, judge_spills

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ops.plans.plans import Plan


def node(kind: str, *children: Mapping[str, Any], **members: object) -> dict[str, Any]:
    """Return a node of a recorded plan, run once with ten rows unless `members` say otherwise."""
    named = {name.replace("_", " "): value for name, value in members.items()}
    return {"Node Type": kind, "Actual Rows": 10.0, "Actual Loops": 1, "Plans": list(children), **named}


def read(root: Mapping[str, Any], ms: float = 1.0) -> Plan:
    return plans.read({"Plan": root, "Planning Time": 0.5, "Execution Time": ms})


WHOLE: Final = node("Seq Scan", Relation_Name="runs")
BY_INDEX: Final = node("Index Scan", Relation_Name="runs", Index_Name="ix_runs")
BITMAP: Final = node("Bitmap Heap Scan", node("Bitmap Index Scan", Index_Name="ix_runs"), Relation_Name="runs")
STAGED: Final = node("Seq Scan", Relation_Name="stage_content")
LARGE: Final = {"runs": Extent(blocks=5000, share=0.01)}


def test_a_plan_is_read_node_by_node() -> None:
    inner = node("Index Scan", Relation_Name="aos_trace_steps", Index_Name="ix_steps", Actual_Rows=12.5, Actual_Loops=4)
    outer = node("Nested Loop", BITMAP, inner, Shared_Hit_Blocks=7, Shared_Read_Blocks=2, Local_Hit_Blocks=1)

    plan = read(outer, ms=3.25)

    assert (plan.ms, plan.buffers) == (3.25, 10)
    assert [(scan.relation, scan.rows) for scan in plan.scans] == [("runs", 10), ("aos_trace_steps", 50)]
    assert plan.indexes == {"ix_runs", "ix_steps"}
    assert plan.rows_of(frozenset({"runs", "aos_trace_steps"})) == 60
    assert plan.rows_of(frozenset({"runs"})) == 10


@pytest.mark.parametrize("root", [BY_INDEX, BITMAP, node("Sort", BITMAP, STAGED)])
def test_an_index_scan_of_the_source_passes(root: Mapping[str, Any]) -> None:
    verdict = judge(read(root), LARGE, 10)

    assert (verdict.passes, verdict.reason) == (True, "by index: runs")


def test_a_sequential_scan_of_the_stage_passes() -> None:
    assert judge(read(STAGED), LARGE, 10).reason == "reads staged rows alone"


@pytest.mark.parametrize("root", [WHOLE, node("Append", BY_INDEX, WHOLE), node("Append", WHOLE, BY_INDEX)])
def test_a_sequential_scan_of_the_source_fails(root: Mapping[str, Any]) -> None:
    verdict = judge(read(root), LARGE, 10)

    assert (verdict.passes, verdict.reason) == (False, "Seq Scan of runs, of which the tenant has 1 %")


def test_a_scan_that_was_never_run_says_nothing() -> None:
    assert judge(read(node("Append", BY_INDEX, {**WHOLE, "Actual Loops": 0})), LARGE, 10).passes


@pytest.mark.parametrize(
    ("extent", "passes"),
    [
        (Extent(5000, SHARE_LIMIT - 0.001), False),
        (Extent(5000, SHARE_LIMIT), True),
        (Extent(5000, SHARE_LIMIT + 0.001), True),
        (Extent(TINY_BLOCKS + 1, 0.01), False),
        (Extent(TINY_BLOCKS, 0.01), True),
        (Extent(0, 0.0), True),
    ],
)
def test_a_table_may_be_read_whole_by_share_or_size(extent: Extent, passes: bool) -> None:  # noqa: FBT001  # a parameter of the case
    assert judge(read(WHOLE), {"runs": extent}, 10).passes is passes


def test_a_tiny_table_is_named_with_its_size() -> None:
    assert judge(read(WHOLE), {"runs": Extent(3, 0.01)}, 10).reason == "Seq Scan of runs, which has 3 blocks"


@pytest.mark.parametrize(
    ("rows", "budget"), [(0, 100.0), (9_999, 100.0), (10_000, 100.0), (10_001, 100.01), (25_000, 250.0)]
)
def test_time_is_in_proportion_to_the_rows(rows: int, budget: float) -> None:
    assert budget_ms(rows) == pytest.approx(budget)
    assert judge(read(BY_INDEX, ms=budget_ms(rows) - 0.001), LARGE, rows).passes
    assert judge(read(BY_INDEX, ms=budget_ms(rows)), LARGE, rows).passes
    late = judge(read(BY_INDEX, ms=budget_ms(rows) + 1), LARGE, rows)
    assert (late.passes, f"where {rows} rows have" in late.reason) == (False, True)


SPILLS: Final = [
    (
        node(
            "Sort", Sort_Method="external merge", Sort_Space_Used=2048, Sort_Space_Type="Disk", Temp_Written_Blocks=256
        ),
        "external merge of 2048 kB on disk",
    ),
    (
        node(
            "Incremental Sort",
            **{"Pre-sorted_Groups": {"Group Count": 2, "Sort Space Disk": {"Peak Sort Space Used": 64}}},
        ),
        "incremental sort of up to 64 kB on disk",
    ),
    (node("Hash Join", node("Hash", Hash_Batches=4)), "hash in 4 batches on disk"),
    (node("Aggregate", Strategy="Hashed", Disk_Usage=512), "hash aggregate of 512 kB on disk"),
    (node("CTE Scan", Temp_Written_Blocks=9), "9 temporary blocks written"),
]


@pytest.mark.parametrize(("root", "reason"), SPILLS)
def test_what_goes_to_disk_fails(root: Mapping[str, Any], reason: str) -> None:
    for verdict in (judge(read(root), LARGE, 10), judge_spills(read(root))):
        assert (verdict.passes, verdict.reason) == (False, reason)


IN_MEMORY: Final = [
    node("Sort", Sort_Method="quicksort", Sort_Space_Used=2048, Sort_Space_Type="Memory"),
    node("Incremental Sort", **{"Full-sort_Groups": {"Sort Space Memory": {"Peak Sort Space Used": 64}}}),
    node("Hash Join", node("Hash", Hash_Batches=1)),
    node("Aggregate", Strategy="Hashed", Disk_Usage=0),
    node("CTE Scan", Temp_Written_Blocks=0),
]


@pytest.mark.parametrize("root", IN_MEMORY)
def test_what_stays_in_memory_passes(root: Mapping[str, Any]) -> None:
    assert judge(read(root), LARGE, 10).passes
    assert judge_spills(read(root)).passes


def test_every_fault_is_named() -> None:
    verdict = judge(read(node("Sort", WHOLE, Temp_Written_Blocks=3), ms=150.4), LARGE, 10)

    assert verdict.reason == (
        "Seq Scan of runs, of which the tenant has 1 %; 3 temporary blocks written; 150 ms, where 10 rows have 100 ms"
    )


def test_all_tenants_at_once_are_judged_for_the_disk_alone() -> None:
    assert judge_spills(read(WHOLE, ms=10_000)).passes
