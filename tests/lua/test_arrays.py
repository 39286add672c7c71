"""Arrays: one record and one entry for many elements, which become tasks when they are placed, or named."""

from __future__ import annotations

from typing import Any

import pytest

from rq_sched.errors import TaskNotFound
from rq_sched.task import State, TaskRequest
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
    array = cell.task("a")
    assert array.array == "1-5"
    assert array.elements == {"waiting": 3, "active": 2, "completed": 0, "failed": 0, "cancelled": 0}
    assert cell.task("a/3").state is State.PENDING
    assert cell.task("a/1").state is State.ASSIGNED
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
        assert cell.task("a").state in (State.PENDING, State.RUNNING)
        ended.append(task_id)
        _, more = cell.finish("n", order)
        todo.update(more)
    assert sorted(ended) == ["a/7", "a/8", "a/9"]
    assert cell.task("a").state is State.COMPLETED
    assert counts(cell) == {"submitted": 3, "completed": 3}
