"""What the schedulers of HyperQueue and Dask are tested for, in our words and on our scripts.

HyperQueue (tako): ``test_schedule_gap_filling``, ``test_schedule_multiple_resources1``, and the cases that its list of
things to do names: what can't be scheduled doesn't block, reservation. Dask (``test_resources.py``):
``test_resource_submit``, ``test_submit_many_non_overlapping``, ``test_constrained_tasks_respect_priority``.
"""

from __future__ import annotations

import pytest

from rq_sched.model.states import State
from tests.lua.cell import ON_A_SERVER, Cell


def placed(cell: Cell, *tasks: tuple[int, int]) -> set[int]:
    """Which of the tasks, given as (priority, cores) in the order of their arrival, are placed."""
    for i, (priority, cpu) in enumerate(tasks):
        cell.submit(f"t{i}", cpu=cpu, memory=1, priority=priority)
    cell.place()
    return {i for i in range(len(tasks)) if cell.state(f"t{i}") is State.ASSIGNED}


@pytest.mark.parametrize(
    ("cores", "tasks", "expected"),
    [
        (10, [(1, 7), (1, 7), (0, 3)], {0, 2}),  # the gap beside the first is for the small one of lower priority
        (10, [(1, 5), (1, 5), (1, 5), (0, 1)], {0, 1}),  # no gap
        (11, [(1, 5), (1, 5), (1, 5), (0, 1), (0, 1)], {0, 1, 3}),  # a gap of one
        (11, [(1, 5), (1, 5), (1, 5), (2, 1), (0, 1)], {0, 1, 3}),  # it belongs to the higher priority
        (12, [(0, 1), (1, 5), (2, 7), (1, 5), (0, 1)], {1, 2}),  # priority, not arrival
        (9, [(1, 8), (0, 2), (0, 1)], {0, 2}),  # of those that come later the first that fits
    ],
)
def test_hyperqueue_gap_filling(cell: Cell, cores: int, tasks: list[tuple[int, int]], expected: set[int]) -> None:
    cell.node("w", cores, 1000)
    assert placed(cell, *tasks) == expected


def test_hyperqueue_gap_filling_on_several_workers(cell: Cell) -> None:
    """The two of high priority take a worker each; what is left there goes to lower ones that fit, in order."""
    cell.node("w1", 4, 1000)
    cell.node("w2", 6, 1000)
    assert placed(cell, (0, 3), (5, 4), (5, 4), (0, 2), (0, 1)) == {1, 2, 3}
    assert cell.free("w1")[0] + cell.free("w2")[0] == 0


def test_hyperqueue_multiple_resources(cell: Cell) -> None:
    """Either of the two resources can be what is short; who is short of one leaves the other to those behind."""
    cell.node("w", 4, 1000)
    cell.submit("both", cpu=2, memory=600)
    cell.submit("memory-short", cpu=1, memory=600, priority=-1)
    cell.submit("cpu-short", cpu=3, memory=100, priority=-2)
    cell.submit("fits", cpu=2, memory=400, priority=-3)
    cell.place()
    states = {name: cell.state(name) for name in ("both", "memory-short", "cpu-short", "fits")}
    assert [name for name, state in states.items() if state is State.ASSIGNED] == ["both", "fits"]


def test_hyperqueue_several_priorities_with_resources(cell: Cell) -> None:
    """Batches of two shapes, turn by turn in priority: each gets what the order gives it, no shape runs ahead."""
    cell.node("w1", 8, 100)
    cell.node("w2", 8, 100)
    shapes = {"a": (1, 1), "b": (2, 30)}
    for priority, (shape, count) in enumerate([("b", 2), ("a", 5), ("b", 2), ("a", 4), ("b", 2), ("a", 3)]):
        cpu, memory = shapes[shape]
        cell.submit(*(f"{shape}{priority}.{k}" for k in range(count)), cpu=cpu, memory=memory, priority=priority)
    cell.place()
    running = {*cell.starts("w1"), *cell.starts("w2")}
    # 3 of one core, 2 of two, 4 of one, 2 of two, 1 of one: 16 cores
    assert {name.partition(".")[0] for name in running} == {"a5", "b4", "a3", "b2", "a1"}
    assert sum(name.startswith("a1") for name in running) == 1
    assert len(running) == 12


@ON_A_SERVER
def test_what_cannot_be_scheduled_does_not_block(cell: Cell) -> None:
    cell.node("w", 4, 1000)
    for i in range(200):
        cell.submit(f"huge{i}", cpu=5 + i, memory=1, priority=9)
    cell.submit("small")
    cell.place()
    assert cell.state("small") is State.ASSIGNED
    assert cell.state("huge0") is State.PENDING


def test_hyperqueue_reservation(cell: Cell) -> None:
    """A task that needs the whole worker gets it although two smaller ones could always go on without a pause."""
    cell.node("w", 4, 1000)
    cell.submit("s0", "s1", cpu=2)
    cell.place()
    starts = cell.starts("w")
    cell.submit("whole", cpu=4)
    cell.submit("s2", "s3", cpu=2)
    cell.run(cell.store.reserve())
    cell.now += 30_000
    assert cell.run(cell.store.reserve()).node_id == "w"
    assert cell.finish("w", starts["s0"])[1] == {}
    assert set(cell.finish("w", starts["s1"])[1]) == {"whole"}


def test_dask_resource_submit_and_capacity_that_joins_later(cell: Cell) -> None:
    """Each goes where its need can be met; one that no worker can meet waits, and runs on one that joins."""
    cell.node("a", 4, 100)
    cell.node("b", 1, 9000)
    cell.submit("wants-cores", cpu=3, memory=50)
    cell.submit("wants-memory", cpu=1, memory=5000)
    cell.submit("wants-both", cpu=3, memory=5000)
    cell.place()
    assert (cell.info("wants-cores").node_id, cell.info("wants-memory").node_id) == ("a", "b")
    assert cell.state("wants-both") is State.PENDING
    cell.node("c", 8, 16_000)
    cell.place()
    assert cell.info("wants-both").node_id == "c"


def test_dask_many_that_do_not_overlap(cell: Cell) -> None:
    """Never more at once than the resource allows, and all get their turn."""
    cell.node("w", 8, 100)
    names = [f"t{i}" for i in range(6)]
    cell.submit(*names, cpu=1, memory=60)
    cell.place()
    running, order = cell.starts("w"), []
    while running:
        assert len(running) == 1
        ((name, start),) = running.items()
        order.append(name)
        running = cell.finish("w", start)[1]
    assert order == names


def test_dask_constrained_tasks_respect_priority(cell: Cell) -> None:
    cell.node("w", 4, 100)
    for i, priority in enumerate((1, 3, 2)):
        cell.submit(f"t{i}", cpu=1, memory=100, priority=priority)
    cell.place()
    (first,) = cell.starts("w").values()
    (second,) = cell.finish("w", first)[1].values()
    (third,) = cell.finish("w", second)[1].values()
    assert [first.task_id, second.task_id, third.task_id] == ["t1", "t2", "t0"]
