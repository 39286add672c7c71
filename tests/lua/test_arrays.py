"""Arrays: one record and one entry for many elements, which become tasks when they are placed, or named."""

from __future__ import annotations

from typing import Any

import pytest

from rq_sched.errors import InvalidValue, TaskNotFound, WrongState
from rq_sched.model.states import State
from rq_sched.model.task import TaskRequest
from tests.lua.cell import Cell


def submit_array(cell: Cell, array_id: str = "a", indexes: str = "1-5", cpu: int = 1, **fields: Any) -> list[str]:
    request = TaskRequest("m:f", task_id=array_id, cpu_needed=cpu, memory_needed=100, array=indexes, **fields).check()
    return cell.run(cell.store.submit([request]))


def counts(cell: Cell) -> dict[str, int]:
    return {name: n for name, n in cell.run(cell.store.counts()).items() if n}


def test_elements_become_tasks_as_they_are_placed(cell: Cell) -> None:
    cell.node("n", cpu=2)
    assert submit_array(cell) == ["new"]
    assert submit_array(cell) == ["same"]
    assert submit_array(cell, indexes="1-6") == ["conflict"]
    assert counts(cell) == {"submitted": 5, "pending": 5}
    assert cell.place() == 2
    assert list(cell.starts("n")) == ["a/1", "a/2"]
    assert counts(cell) == {"submitted": 5, "pending": 3}
    array = cell.info("a")
    assert array.array == "1-5"
    assert array.elements == {"waiting": 3, "active": 2, "completed": 0, "failed": 0, "cancelled": 0}
    assert cell.info("a/3").state is State.PENDING
    assert cell.info("a/1").state is State.ASSIGNED
    with pytest.raises(TaskNotFound):
        cell.run(cell.store.result("a/6"))


def test_an_array_ends_with_its_last_element(cell: Cell) -> None:
    cell.node("n", cpu=2)
    submit_array(cell, indexes="7-9")
    cell.place()
    todo = cell.starts("n")
    ended = []
    while todo:
        task_id, order = todo.popitem()
        assert cell.info("a").state in (State.PENDING, State.RUNNING)
        ended.append(task_id)
        _, more = cell.finish("n", order)
        todo.update(more)
    assert sorted(ended) == ["a/7", "a/8", "a/9"]
    assert cell.info("a").state is State.COMPLETED
    assert counts(cell) == {"submitted": 3, "completed": 3}


def test_an_element_is_made_when_somebody_names_it(cell: Cell) -> None:
    cell.node("n", cpu=1)
    submit_array(cell)
    assert cell.run(cell.store.hold("a/3")) is State.HELD
    assert cell.run(cell.store.prioritize("a/4", 7)) is State.PENDING
    assert cell.run(cell.store.cancel("a/1", requeue=False)).outcome == "cancelled"
    assert cell.run(cell.store.requeue("a/2")) is State.PENDING
    assert counts(cell) == {"submitted": 5, "pending": 3, "cancelled": 1}
    order = run_all(cell, "n")
    assert order == ["a/4", "a/2", "a/5"]
    assert cell.info("a").state is State.RUNNING
    cell.run(cell.store.unhold("a/3"))
    assert run_all(cell, "n") == ["a/3"]
    assert cell.info("a").state is State.CANCELLED
    assert cell.info("a").elements == {"waiting": 0, "active": 0, "completed": 4, "failed": 0, "cancelled": 1}


NAMED = pytest.mark.parametrize("named", [[2, 3, 4], [4, 3, 2], [1, 2, 3, 4, 5], [5, 3, 1, 2, 4], [3, 5]])


@NAMED
def test_each_element_runs_once_whatever_was_named_before(cell: Cell, named: list[int]) -> None:
    submit_array(cell)
    for index in named:
        cell.run(cell.store.prioritize(f"a/{index}", 1))
    cell.node("n", cpu=1)
    others = [i for i in range(1, 6) if i not in named]
    assert run_all(cell, "n") == [f"a/{i}" for i in sorted(named) + others]
    assert cell.info("a").state is State.COMPLETED


@NAMED
@pytest.mark.parametrize("cpu", [2, 3, 4])
def test_elements_made_before_their_turn_keep_their_places(cell: Cell, named: list[int], cpu: int) -> None:
    """Also where one script places more than one."""
    submit_array(cell)
    for index in named:
        cell.run(cell.store.requeue(f"a/{index}"))
    cell.submit("t")
    cell.node("n", cpu=cpu)
    cell.place()
    todo = cell.starts("n")
    assert list(todo) == [f"a/{i}" for i in range(1, cpu + 1)]
    ran = []
    while todo:
        task_id = next(iter(todo))
        ran.append(task_id)
        todo.update(cell.finish("n", todo.pop(task_id))[1])
    assert ran == [*(f"a/{i}" for i in range(1, 6)), "t"]


def test_elements_have_their_places_among_other_tasks(cell: Cell) -> None:
    cell.submit("before")
    submit_array(cell, indexes="1-2")
    cell.submit("after")
    submit_array(cell, "b", "1-2", priority=1)
    cell.submit("large", cpu=2, priority=2)
    cell.node("n", cpu=1)
    assert run_all(cell, "n") == ["b/1", "b/2", "before", "a/1", "a/2", "after"]


def test_cancel_cuts_off_what_is_left(cell: Cell) -> None:
    cell.node("n", cpu=2)
    submit_array(cell, indexes="1-1000000")
    cell.place()
    starts = cell.starts("n")
    assert cell.run(cell.store.cancel("a", requeue=False)).outcome == "stopping"
    assert set(cell.stops("n")) == {"a/1", "a/2"}
    assert cell.info("a/77").state is State.CANCELLED
    assert cell.info("a").elements == {"waiting": 0, "active": 2, "completed": 0, "failed": 0, "cancelled": 999_998}
    for order in starts.values():
        cell.finish("n", order, "stopped")
    assert cell.info("a").state is State.CANCELLED
    assert cell.run(cell.store.info()).tasks["cancelled"] == 1_000_000
    assert cell.run(cell.store.requeue("a/77")) is State.PENDING
    assert cell.info("a").state is State.RUNNING
    assert run_all(cell, "n") == ["a/77"]
    assert cell.run(cell.store.forget_ids(["a"])) == 1_000_000
    assert counts(cell) == {"submitted": 1_000_000, "cancelled": 1_000_000, "completed": 1, "forgotten": 1_000_000}
    assert cell.run(cell.store.states(["a", "a/1", "a/5"])) == [None, None, None]


def test_the_elements_in_a_state_are_found(cell: Cell) -> None:
    cell.node("n", cpu=2)
    submit_array(cell, indexes="1-1200")
    cell.place()
    starts = cell.starts("n")
    cell.finish("n", starts["a/1"], "failed", reason="error", error="boom")
    cell.run(cell.store.hold("a/1150"))

    def found(**which: Any) -> list[str]:
        return [info.task_id for info in cell.run(cell.store.list_elements("a", **which)).tasks]

    assert found(limit=4) == ["a/1", "a/2", "a/3", "a/4"]
    assert found(state="failed") == ["a/1"]
    assert found(state="held") == ["a/1150"]
    assert found(node="n") == ["a/1", "a/2", "a/3"]
    assert len(found(state="pending", limit=2000)) == 1196
    cell.submit("t")
    with pytest.raises(InvalidValue):
        cell.run(cell.store.list_elements("t"))


def test_an_array_that_was_cancelled_before_anything_was_made(cell: Cell) -> None:
    submit_array(cell)
    assert cell.run(cell.store.cancel("a", requeue=False)).outcome == "cancelled"
    assert cell.run(cell.store.cancel("a", requeue=False)).outcome == "already cancelled"
    assert cell.run(cell.store.forget(state=State.CANCELLED)) == 1
    assert counts(cell) == {"submitted": 5, "cancelled": 5, "forgotten": 5}


def test_an_array_goes_with_its_last_element(cell: Cell) -> None:
    cell.node("n", cpu=4)
    submit_array(cell, args=["x" * 100])
    run_all(cell, "n")
    cell.run(cell.store.forget_ids(["a/1", "a/3"]))
    assert cell.info("a").state is State.COMPLETED
    with pytest.raises(TaskNotFound):
        cell.run(cell.store.requeue("a/1"))
    assert cell.info("a/2").args == ["x" * 100]
    assert cell.run(cell.store.forget()) == 3
    assert cell.run(cell.store.states(["a"])) == [None]


def test_requeue_puts_the_rest_behind_its_equals(cell: Cell) -> None:
    submit_array(cell, indexes="1-3")
    cell.run(cell.store.prioritize("a/2", 0))
    cell.run(cell.store.hold("a/2"))
    cell.submit("t")
    assert cell.run(cell.store.cancel("a")).outcome == "requeued"
    cell.run(cell.store.unhold("a/2"))
    cell.node("n", cpu=1)
    assert run_all(cell, "n") == ["a/2", "t", "a/1", "a/3"]
    with pytest.raises(WrongState):
        cell.run(cell.store.requeue("a"))


def test_hold_and_delay(cell: Cell) -> None:
    cell.node("n", cpu=1)
    submit_array(cell, indexes="1-3", delay=5)
    assert cell.run(cell.store.info()).tasks["delayed"] == 3
    assert cell.info("a/2").state is State.DELAYED
    cell.run(cell.store.requeue("a/2"))
    assert run_all(cell, "n") == ["a/2"]
    cell.run(cell.store.hold("a"))
    assert cell.run(cell.store.info()).tasks["held"] == 2
    assert cell.run(cell.store.unhold("a/3")) is State.DELAYED
    cell.now += 5000
    assert cell.run(cell.store.promote()).promoted == 1
    assert cell.run(cell.store.unhold("a")) is State.PENDING
    assert run_all(cell, "n") == ["a/1", "a/3"]
    assert cell.info("a").state is State.COMPLETED


def test_who_waits_for_an_element_hears_of_it(cell: Cell) -> None:
    cell.node("n", cpu=1)
    submit_array(cell, indexes="1-3")
    assert cell.run(cell.store.watch(["a", "a/2", "a/9", "b/1"], "me")) == [State.PENDING, State.PENDING, None, None]
    with cell.link.listen(cell.store.keys.done("me")) as ears:
        run_all(cell, "n")
        heard: list[str] = []
        while (message := ears.get(0.1)) is not None:
            heard += message[1].partition(b"\n")[0].decode().split(" ")
    assert heard[::2] == ["a/1", "a/2", "a/3", "a"]


def test_the_reservation_is_kept_for_an_element_that_is_not_made(cell: Cell) -> None:
    cell.node("n", cpu=4)
    cell.submit("small", cpu=1)
    cell.place()
    submit_array(cell, indexes="1-2", cpu=4)
    cell.run(cell.store.reserve())
    cell.now += 31_000
    reserved = cell.run(cell.store.reserve())
    assert (reserved.task_id, reserved.node_id) == ("a/1", "n")
    assert cell.run(cell.store.explain("a/1")).reserved_task == "a/1"
    cell.run(cell.store.cancel("a", requeue=False))
    assert cell.run(cell.store.reservation()) is None


def run_all(cell: Cell, node_id: str) -> list[str]:
    """Runs what there is, one after the other as it is ordered: the tasks in that order."""
    cell.place()
    todo = cell.starts(node_id)
    ran = []
    while todo:
        task_id = next(iter(todo))
        ran.append(task_id)
        _, more = cell.finish(node_id, todo.pop(task_id))
        todo.update(more)
    return ran
