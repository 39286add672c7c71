"""What is ahead, and why it waits, where arrays are among what waits: one entry stands for many tasks."""

from __future__ import annotations

import random
from typing import Any

import pytest

from rq_sched.model.states import Reason, State
from rq_sched.model.task import TaskRequest
from tests.lua.cell import ON_A_SERVER, Cell


def submit_array(cell: Cell, array_id: str, indexes: str, cpu: int = 1, **fields: Any) -> None:
    request = TaskRequest("m:f", task_id=array_id, cpu_needed=cpu, memory_needed=100, array=indexes, **fields).check()
    cell.run(cell.store.submit([request]))


def why(cell: Cell, task_id: str) -> dict[str, Any]:
    return cell.run(cell.store.explain(task_id)).to_dict()


def ahead(cell: Cell, *task_ids: str) -> list[int]:
    found = [why(cell, task_id) for task_id in task_ids]
    assert not any(one["ahead_at_least"] for one in found)
    return [one["ahead"] for one in found]


def placed_in_order(cell: Cell) -> list[str]:
    """All that waits, in the order in which a node with one core gets it."""
    cell.node("n", cpu=1)
    cell.place()
    order = []
    todo = cell.starts("n")
    while todo:
        ((task_id, start),) = todo.items()
        order.append(task_id)
        _, todo = cell.finish("n", start)
    return order


def test_elements_are_counted_one_by_one(cell: Cell) -> None:
    cell.submit("before")
    submit_array(cell, "a", "11-20")
    cell.submit("between", cpu=2)
    submit_array(cell, "b", "1-100", priority=5)
    cell.submit("after")
    assert ahead(cell, "b", "b/1", "b/100") == [0, 0, 99]
    assert ahead(cell, "before", "a", "a/11", "a/15", "a/20") == [100, 101, 101, 105, 110]
    assert ahead(cell, "between", "after") == [111, 112]


@ON_A_SERVER
def test_ahead_is_the_place_in_which_it_is_placed(cell: Cell) -> None:
    """Single tasks and arrays of several priorities, elements named before their turn, some requeued."""
    rng = random.Random(3)
    named = []
    for number in range(12):
        cell.submit(f"t{number}", priority=rng.randint(0, 2))
        size = rng.randint(1, 9)
        submit_array(cell, f"a{number}", f"5-{4 + size}", priority=rng.randint(0, 2))
        named += [f"a{number}/{index}" for index in range(5, 5 + size) if rng.random() < 0.4]
    for element in named:
        cell.run(cell.store.prioritize(element, rng.randint(0, 2)))
    cell.run(cell.store.cancel("a3"))
    known = [f"t{n}" for n in range(12)] + [f"a{n}/{i}" for n in range(12) for i in range(5, 14)]
    known = [t for t, state in zip(known, cell.run(cell.store.states(known)), strict=True) if state]
    told = dict(zip(known, ahead(cell, *known), strict=True))
    order = placed_in_order(cell)
    assert sorted(order) == sorted(known)
    assert [told[task_id] for task_id in order] == list(range(len(order)))


def test_many_runs_of_named_elements_are_read_to_a_bound(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    submit_array(cell, "a", "1-100")
    for index in range(2, 40, 2):
        cell.run(cell.store.prioritize(f"a/{index}", -1))
    assert ahead(cell, "a/50") == [30]
    monkeypatch.setattr("rq_sched.store.position.EARLY_RUNS", 10)
    found = why(cell, "a/50")
    assert found["ahead_at_least"] is True
    assert found["ahead"] == 10  # the runs 2, 4 … 20 are read: 1, 3 … 19 are ahead for sure


def test_more_arrays_than_are_read(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        submit_array(cell, f"a{number}", "1-10")
    cell.submit("last")
    assert ahead(cell, "last") == [50]
    for module in ("store.position", "store.reads"):
        monkeypatch.setattr(f"rq_sched.{module}.ARRAYS", 3)
    found = why(cell, "last")
    assert (found["ahead"], found["ahead_at_least"]) == (3 * 10 + 2, True)


def test_what_is_said_of_an_array_is_of_its_next_element(cell: Cell) -> None:
    cell.node("n", cpu=3)
    submit_array(cell, "a", "1-5", cpu=2)
    cell.place()
    cell.run(cell.store.reserve())
    found = why(cell, "a")
    assert (found["state"], found["reason"], found["next"]) == (State.PENDING, Reason.NO_FIT_NOW, "a/2")
    assert (found["array"], found["elements"]["waiting"], found["elements"]["active"]) == ("1-5", 4, 1)
    assert found["ahead"] == 0
    assert found["blocked_since"]
    assert "blocked_since" not in why(cell, "a/3")
    assert why(cell, "a/1")["state"] == State.ASSIGNED


def test_elements_that_are_delayed_or_held_with_their_array(cell: Cell) -> None:
    submit_array(cell, "later", "1-5", delay=60)
    assert why(cell, "later/3")["due"] == why(cell, "later")["due"] is not None
    submit_array(cell, "aside", "1-5")
    cell.run(cell.store.hold("aside"))
    assert why(cell, "aside/3")["held_at"] == why(cell, "aside")["held_at"] is not None


def test_an_array_of_which_all_is_made_or_ended(cell: Cell) -> None:
    cell.node("n", cpu=2)
    submit_array(cell, "a", "1-2")
    cell.place()
    assert why(cell, "a")["state"] == State.RUNNING
    first, second = cell.starts("n").values()
    cell.finish("n", first)
    cell.finish("n", second, "failed", reason="error", error="boom")
    found = why(cell, "a")
    assert (found["state"], found["error"]) == (State.FAILED, "1 of 2 elements failed")


def test_a_dry_run_is_about_the_first_element(cell: Cell) -> None:
    request = TaskRequest("m:f", task_id="a", cpu_needed=1, memory_needed=100, array="1-5").check()
    cell.node("n", cpu=1)
    found = cell.run(cell.store.dry_run(request))
    assert (found.state, found.array, found.elements["waiting"]) == (State.ASSIGNED, "1-5", 5)
    cell.run(cell.store.submit([request]))
    found = cell.run(cell.store.dry_run(request))
    assert (found.exists, found.next) == (True, "a/1")
