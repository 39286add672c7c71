"""The judge, the measures and the dump, on schedules written by hand: right ones pass, doctored ones are caught."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from rq_sched.errors import InvalidValue
from rq_sched.model.resources import Resources
from rq_sched.simulate.judge import judge
from rq_sched.simulate.measures import lower_bound, measure, series
from rq_sched.simulate.records import BACK, RESIZED, Records, ReservedSpan, read_dump, records_of, write_dump
from rq_sched.simulate.workload import Node, Row, Workload


def row(name: str, cpu: int, memory: int = 1, *, at: int = 0, duration: int = 10, priority: int = 0) -> Row:
    return Row(name, Resources(cpu, memory), duration, priority=priority, submit_at=at)


def cluster(*rows: Row, cpu: int = 4, nodes: int = 1) -> Workload:
    return Workload([Node(f"n{i}", Resources(cpu, 100)) for i in range(nodes)], rows)


def schedule(workload: Workload, *facts: tuple[str, str, int, int], **changes: Any) -> Records:
    """Records from (task, node, start, end), with the tasks' needs."""
    needs = {one.task_id: one.need for one in workload.rows}
    lines = [
        {
            "task_id": task,
            "node_id": node,
            "start": start / 1000,
            "end": end / 1000,
            "cpu": needs[task].cpu,
            "memory": needs[task].memory,
        }
        for task, node, start, end in facts
    ]
    records = records_of(lines, workload)
    for kept in changes.get("reserved", ()):
        records.reserved.append(kept)
    return records


THREE = cluster(row("big", 4), row("small", 1), row("last", 3))


def test_gap_filling_is_no_inversion():
    """`wide` waits for `first`; `small` fits beside it, and comes later."""
    workload = cluster(row("first", 2), row("wide", 4), row("small", 1))
    verdict = judge(
        workload, schedule(workload, ("first", "n0", 0, 10), ("small", "n0", 0, 10), ("wide", "n0", 10, 20))
    )
    assert (verdict.over_allocations, verdict.inversions, verdict.gap_filled, verdict.starts) == (0, 0, 1, 3)


def test_an_over_allocation_is_found():
    verdict = judge(THREE, schedule(THREE, ("big", "n0", 0, 10), ("small", "n0", 5, 15), ("last", "n0", 15, 20)))
    assert verdict.over_allocations == 1
    assert "-1 CPU" in verdict.described[0]


def test_a_node_that_lacks_a_label_is_found():
    nodes = [Node("n0", Resources(4, 100), ("gpu",)), Node("n1", Resources(4, 100), ("ssd",))]
    workload = Workload(nodes, [Row("a", Resources(1, 1), 10, require=("gpu",)), row("b", 1)])
    assert judge(workload, schedule(workload, ("a", "n0", 0, 10), ("b", "n1", 0, 10))).over_allocations == 0
    verdict = judge(workload, schedule(workload, ("a", "n1", 0, 10), ("b", "n0", 0, 10)))
    assert (verdict.over_allocations, verdict.inversions) == (1, 0)
    assert "lacks a label" in verdict.described[0]


def test_who_may_not_run_there_is_not_overtaken():
    nodes = [Node("n0", Resources(4, 100), ("gpu",)), Node("n1", Resources(4, 100))]
    rows = [
        Row("a", Resources(4, 1), 10, require=("gpu",)),
        Row("b", Resources(4, 1), 10, require=("gpu",)),
        row("c", 4),
    ]
    workload = Workload(nodes, rows)
    assert (
        judge(workload, schedule(workload, ("a", "n0", 0, 10), ("c", "n1", 0, 10), ("b", "n0", 10, 20))).inversions == 0
    )
    assert (
        judge(workload, schedule(workload, ("a", "n0", 0, 10), ("c", "n0", 10, 20), ("b", "n0", 20, 30))).inversions
        == 1
    )


def test_memory_counts_too():
    workload = cluster(row("a", 1, 60), row("b", 1, 60))
    assert judge(workload, schedule(workload, ("a", "n0", 0, 10), ("b", "n0", 9, 19))).over_allocations == 1
    assert judge(workload, schedule(workload, ("a", "n0", 0, 10), ("b", "n0", 10, 20))).over_allocations == 0


def test_an_inversion_is_found():
    """`small` and `last` take the node although `big` was there first and would have had it."""
    verdict = judge(THREE, schedule(THREE, ("small", "n0", 0, 10), ("last", "n0", 0, 10), ("big", "n0", 10, 20)))
    assert (verdict.over_allocations, verdict.inversions) == (0, 2)


def test_what_a_later_start_of_the_same_instant_took_counts_as_free():
    """Nothing is free after the instant, yet `middle` would have fitted in the place of `last`."""
    workload = cluster(row("first", 2), row("middle", 2), row("last", 2))
    bad = schedule(workload, ("first", "n0", 0, 10), ("last", "n0", 0, 10), ("middle", "n0", 10, 20))
    assert judge(workload, bad).inversions == 1
    good = schedule(workload, ("first", "n0", 0, 10), ("middle", "n0", 0, 10), ("last", "n0", 10, 20))
    assert judge(workload, good).inversions == 0


def test_what_an_earlier_start_of_the_same_instant_took_does_not():
    workload = cluster(row("first", 3), row("middle", 2), row("last", 1))
    verdict = judge(workload, schedule(workload, ("first", "n0", 0, 9), ("last", "n0", 0, 9), ("middle", "n0", 9, 19)))
    assert verdict.inversions == 0


def test_priority_is_order_too():
    workload = cluster(row("a", 4), row("urgent", 4, priority=1))
    assert judge(workload, schedule(workload, ("a", "n0", 0, 10), ("urgent", "n0", 10, 20))).inversions == 1
    assert judge(workload, schedule(workload, ("urgent", "n0", 0, 10), ("a", "n0", 10, 20))).inversions == 0


def test_who_has_not_arrived_is_not_overtaken():
    workload = cluster(row("urgent", 4, at=5, priority=1), row("a", 4))
    assert judge(workload, schedule(workload, ("a", "n0", 0, 10), ("urgent", "n0", 10, 20))).inversions == 0
    assert judge(workload, schedule(workload, ("a", "n0", 5, 15), ("urgent", "n0", 15, 25))).inversions == 1


def test_who_waits_for_others_is_judged_from_their_ends():
    second = row("second", 4)
    second.after = ("first",)
    workload = cluster(row("first", 4), second, row("last", 1))
    late = schedule(workload, ("first", "n0", 0, 10), ("last", "n0", 10, 20), ("second", "n0", 20, 30))
    assert judge(workload, late).inversions == 1  # at 10 `second` would have fitted
    early = schedule(workload, ("first", "n0", 5, 15), ("last", "n0", 15, 20), ("second", "n0", 0, 5))
    assert "task 1 started at 0 ms, but didn't wait then" in judge(workload, early).described
    right = schedule(workload, ("first", "n0", 0, 10), ("second", "n0", 10, 20), ("last", "n0", 20, 30))
    assert judge(workload, right).inversions == 0
    assert lower_bound(workload) == 23


def test_a_start_before_the_arrival_is_found():
    workload = cluster(row("a", 1, at=5))
    assert judge(workload, schedule(workload, ("a", "n0", 4, 14))).inversions == 1


def test_a_task_that_runs_twice_at_once_is_found():
    workload = cluster(row("a", 1), nodes=2)
    assert judge(workload, schedule(workload, ("a", "n0", 0, 10), ("a", "n1", 5, 15))).inversions == 1


def test_a_task_that_fits_no_node_is_overtaken_by_all():
    workload = cluster(row("huge", 5), row("a", 4))
    verdict = judge(workload, schedule(workload, ("a", "n0", 0, 10)))
    assert (verdict.inversions, verdict.gap_filled) == (0, 0)


def test_a_reservation_excuses_only_where_when_and_against_whom_it_holds():
    workload = cluster(row("urgent", 2, priority=2), row("wide", 4, priority=1), row("a", 2), row("b", 1))
    facts = [("b", "n0", 0, 10), ("a", "n0", 10, 20), ("wide", "n0", 20, 30), ("urgent", "n0", 30, 40)]
    late = workload.rows[3].first  # b
    number = {one.task_id: one.first for one in workload.rows}
    assert judge(workload, schedule(workload, *facts)).inversions > 0
    # `b` goes before `a`, which would have fitted: fine while the node is kept for `wide`, but not before `urgent`
    kept = ReservedSpan(0, number["wide"], 0, 9)
    verdict = judge(workload, schedule(workload, facts[0], reserved=[kept]))
    assert verdict.inversions == 1
    assert f"task {late} started" in verdict.described[0]
    assert f"task {number['urgent']} comes first" in verdict.described[0]
    without_urgent = cluster(row("wide", 4, priority=1), row("a", 2), row("b", 1))
    # `wide` itself would have fitted into the empty node, so the reservation is no excuse
    assert judge(
        without_urgent, schedule(without_urgent, ("b", "n0", 0, 10), reserved=[ReservedSpan(0, 0, 0, 9)])
    ).inversions
    busy = cluster(row("now", 1, priority=2), row("wide", 4, priority=1), row("a", 2), row("b", 1))
    right = [("now", "n0", 0, 10), ("b", "n0", 0, 5), ("wide", "n0", 10, 20), ("a", "n0", 20, 30)]
    assert judge(busy, schedule(busy, *right)).inversions == 1
    assert judge(busy, schedule(busy, *right, reserved=[ReservedSpan(0, 1, 0, 9)])).inversions == 0
    assert judge(busy, schedule(busy, *right, reserved=[ReservedSpan(0, 1, 1, 9)])).inversions == 1  # later


def test_a_task_that_was_stopped_waits_again_at_its_old_place():
    workload = cluster(row("a", 2), row("b", 2), row("c", 2, at=5))
    ends_well = [("a", "n0", 0, 5), ("b", "n0", 0, 10), ("a", "n0", 6, 16), ("c", "n0", 10, 20)]
    assert judge(workload, schedule(workload, *ends_well)).inversions == 0
    overtaken = [("a", "n0", 0, 5), ("b", "n0", 0, 10), ("c", "n0", 6, 16), ("a", "n0", 10, 20)]
    assert judge(workload, schedule(workload, *overtaken)).inversions == 1


def test_a_resized_run_is_one_start():
    workload = cluster(row("a", 2), row("b", 3))
    records = Records()
    records.add(0, 0, 0, 5, 2, 1, RESIZED)
    records.add(0, 0, 5, 10, 1, 1)
    records.add(1, 0, 5, 15, 3, 1)
    verdict = judge(workload, records)
    assert (verdict.starts, verdict.over_allocations, verdict.inversions) == (2, 0, 0)
    records.cpu[1] = 2
    assert judge(workload, records).over_allocations == 1


def brute_force(workload: Workload, records: Records) -> int:
    """Inversions, the slow way: every start against every task."""
    found = 0
    rows = {one.first: one for one in workload.rows}
    starts = {number: start for number, _, start, *_ in records.rows()}
    everything = list(records.rows())
    for number, node, start, _, _, _, _ in everything:
        here = [r for r in everything if r[1] == node and r[2] <= start < r[3]]
        total = workload.nodes[node].total
        for other, one in rows.items():
            if other >= number or one.submit_at > start or starts.get(other, 1 << 60) <= start:
                continue
            counted = [r for r in here if not (r[2] == start and r[0] > other)]
            if one.need.fits(
                Resources(total.cpu - sum(r[4] for r in counted), total.memory - sum(r[5] for r in counted))
            ):
                found += 1
                break
    return found


@pytest.mark.parametrize("seed", range(30))
def test_random_schedules_are_judged_as_by_brute_force(seed):
    """Greedy schedules with some starts swapped or moved: the trees find exactly what looking at every pair finds."""
    r = random.Random(seed)
    rows = [
        row(f"t{i}", r.randint(1, 4), r.randint(1, 60), at=r.randint(0, 20), priority=r.randint(0, 2))
        for i in range(60)
    ]
    workload = cluster(*rows, nodes=3, cpu=8)
    records = Records()
    for one in workload.rows:
        start = one.submit_at + r.randint(0, 30)
        records.add(one.first, r.randrange(3), start, start + 10, one.need.cpu, one.need.memory)
    verdict = judge(workload, records)
    expected = brute_force(workload, records)
    assert (verdict.starts, verdict.inversions) == (60, expected)


def test_the_dump_keeps_what_the_judge_needs(tmp_path):
    path = tmp_path / "dump.jsonl"
    records = schedule(THREE, ("small", "n0", 0, 10), ("last", "n0", 0, 10), ("big", "n0", 10, 20))
    write_dump(path, THREE, records)
    assert json.loads(path.read_text().splitlines()[0]) == {
        "task_id": "big",
        "node_id": "n0",
        "start": 0.01,
        "end": 0.02,
        "cpu": 4,
        "memory": 1,
    }
    assert judge(THREE, read_dump(path, THREE)) == judge(THREE, records)
    path.write_text('{"task_id": "nobody"}\n')
    with pytest.raises(InvalidValue, match="not a record of this workload"):
        read_dump(path, THREE)
    path.write_text("x\n")
    with pytest.raises(InvalidValue, match="line 1"):
        read_dump(path, THREE)


def test_measures():
    workload = cluster(row("a", 4, 50, duration=20_000), row("b", 2, 50, at=1000, duration=10_000, priority=1))
    records = schedule(workload, ("a", "n0", 0, 20_000), ("b", "n0", 20_000, 30_000))
    m = measure(workload, records)
    assert (m.makespan, m.all.mean, m.all.longest) == (30.0, 9.5, 19.0)
    assert m.all.percentile(0.5) == 0.0
    assert m.all.percentile(0.95) == 19.0
    assert m.all.mean_slowdown == pytest.approx((1 + 2.9) / 2)
    assert list(m.by_priority) == [1, 0]
    assert [m.cpu_utilisation, m.memory_utilisation] == pytest.approx([100 / 120, 0.5])
    assert (m.concurrency, m.peak_concurrency) == (1.0, 1)
    assert len(m.widest.waits) == 1


def test_a_task_killed_and_run_again_waits_until_its_first_start_and_is_slowed_down_by_all():
    workload = cluster(row("a", 1, duration=10_000))
    records = Records()
    records.add(0, 0, 5_000, 15_000, 1, 1, BACK)
    records.add(0, 0, 20_000, 30_000, 1, 1)
    m = measure(workload, records)
    assert (m.all.mean, m.all.mean_slowdown) == (5.0, 3.0)


@pytest.mark.parametrize(
    ("rows", "bound"),
    [
        ([row("a", 4, duration=10), row("b", 4, duration=10)], 20),  # area of CPU
        ([row("a", 1, 100, duration=10), row("b", 1, 100, duration=10)], 20),  # area of memory
        ([row("a", 1, duration=10), row("b", 1, duration=70)], 70),  # the longest
        ([row("a", 1, duration=10), row("b", 1, at=50, duration=5)], 55),  # the last to arrive
        (
            [row("a", 4, duration=10), row("b", 4, at=50, duration=9), row("c", 4, at=51, duration=9)],
            68,
        ),  # area from 50
        ([row("a", 1, duration=10), row("huge", 5, duration=1000)], 10),  # fits nowhere
    ],
)
def test_lower_bound(rows, bound):
    assert lower_bound(cluster(*rows)) == bound


def test_series_has_the_means_of_its_steps():
    workload = cluster(row("a", 4, 50, duration=100), row("b", 2, 50, duration=50))
    course = series(workload, schedule(workload, ("a", "n0", 0, 100), ("b", "n0", 100, 150)), points=3)
    assert course.cpu == pytest.approx([1.0, 1.0, 0.5])
    assert course.memory == pytest.approx([0.5] * 3)
    assert course.running == pytest.approx([1.0] * 3)
    assert course.wait == [0.0, None, 0.1]


CARDS = Workload(
    [Node("n0", Resources(8, 100), offers={"gpu": ("0", "1"), "scratch": 10})],
    [Row(name, Resources(1, 1), 10, resources=(("gpu", amount),)) for name, amount in
     (("one", 1000), ("two", 2000), ("half", 500), ("most", 600))],
)  # fmt: skip


def held(*facts: tuple[str, int, int, str]) -> Records:
    return records_of(
        [
            {"task_id": t, "node_id": "n0", "start": a / 1000, "end": b / 1000, "cpu": 1, "memory": 1, "resources": has}
            for t, a, b, has in facts
        ],
        CARDS,
    )


def test_a_card_that_is_given_twice_is_found():
    right = held(("one", 0, 10, "gpu=0*1000"), ("half", 0, 10, "gpu=1*500"), ("two", 10, 20, "gpu=0*1000,1*1000"),
                 ("most", 20, 30, "gpu=1*600"))  # fmt: skip
    verdict = judge(CARDS, right)
    assert (verdict.over_allocations, verdict.inversions) == (0, 0), verdict.described
    twice = held(("one", 0, 10, "gpu=0*1000"), ("half", 0, 10, "gpu=0*500"), ("most", 10, 20, "gpu=0*600"))
    assert judge(CARDS, twice).over_allocations == 1
    shares = held(("half", 0, 10, "gpu=1*500"), ("most", 5, 15, "gpu=1*600"))
    assert judge(CARDS, shares).over_allocations == 1
    for wrong in ("", "gpu=0*500", "gpu=0*1000,1*1000", "gpu=2*1000", "gpu=0*1000;scratch=#1000"):
        assert judge(CARDS, held(("one", 0, 10, wrong))).over_allocations == 1, wrong


def test_who_needs_a_card_is_not_overtaken_where_one_is_free():
    """`two` comes before `half`, and both cards are free. `one` may go first: it comes before both."""
    verdict = judge(
        CARDS, held(("half", 0, 10, "gpu=0*500"), ("one", 10, 20, "gpu=0*1000"), ("two", 20, 30, "gpu=0*1000,1*1000"))
    )
    assert verdict.inversions == 1
    behind = held(("one", 0, 10, "gpu=0*1000"), ("half", 0, 10, "gpu=1*500"), ("two", 10, 20, "gpu=0*1000,1*1000"))
    assert judge(CARDS, behind).inversions == 0


def test_the_use_of_cards_is_measured():
    records = held(("one", 0, 10, "gpu=0*1000"), ("half", 0, 10, "gpu=1*500"), ("two", 10, 20, "gpu=0*1000,1*1000"))
    assert measure(CARDS, records).resource_utilisation == {"gpu": 0.875, "scratch": 0}
    assert lower_bound(CARDS) == 21, "1 + 2 + 0.5 + 0.6 of 2 cards, for 10 ms each"


def test_a_dump_keeps_what_was_held(tmp_path):
    records = held(("one", 0, 10, "gpu=0*1000"), ("two", 10, 20, "gpu=0*1000,1*1000"))
    write_dump(tmp_path / "dump", CARDS, records)
    assert read_dump(tmp_path / "dump", CARDS).held == records.held == {0: "gpu=0*1000", 1: "gpu=0*1000,1*1000"}


def test_a_limit_that_is_overdrawn_is_found():
    rows = [
        Row(name, Resources(1, 1), 10, limits=(("api", amount),)) for name, amount in (("a", 1), ("b", 2), ("c", 1))
    ]
    workload = Workload([Node("n0", Resources(4, 100)), Node("n1", Resources(4, 100))], rows, limits={"api": 2})
    right = schedule(workload, ("a", "n0", 0, 10), ("c", "n1", 0, 10), ("b", "n0", 10, 20))
    assert (judge(workload, right).over_allocations, judge(workload, right).inversions) == (0, 0)
    assert judge(workload, schedule(workload, ("a", "n0", 0, 10), ("b", "n1", 5, 15))).over_allocations == 1
    late = schedule(workload, ("a", "n0", 20, 30), ("b", "n0", 10, 20), ("c", "n0", 0, 10))
    assert judge(workload, late).inversions == 2
    with pytest.raises(InvalidValue, match="--limit api=20"):
        Workload([], rows)
