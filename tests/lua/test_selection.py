"""Tasks that are chosen by their state: each once, those that were there at the beginning, however they move."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from rq_sched.errors import RqSchedError, TaskFinal, TaskNotFound, WrongType
from rq_sched.link import Link
from rq_sched.link.together import together
from rq_sched.model.states import State
from rq_sched.store import selection
from rq_sched.store.selection import Selection
from tests.conftest import drop
from tests.lua.cell import Cell
from tests.lua.test_lists import end, send


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "BATCH", 3)


@pytest.fixture
def damaged(redis_url: str) -> Iterator[Cell]:
    """A namespace of its own, of which nothing is audited, and nothing stays."""
    link = Link(redis_url)
    yield Cell(link, "t-damaged")
    link.run(drop("t-damaged"))
    link.close()


def chosen(cell: Cell, state: State, between: Callable[[list[str]], None] = lambda ids: None) -> list[str]:
    """All ids, in the order in which they come; after each batch something happens."""
    taken = Selection(cell.store, [state])
    found: list[str] = []
    while ids := cell.run(taken.next_batch()):
        assert len(ids) <= 3
        found += ids
        between(ids)
    assert cell.run(taken.next_batch()) == []
    return found


def test_pending_ones_of_all_classes(cell: Cell):
    for n in range(10):
        cell.submit(f"t{n}", cpu=n % 3 + 1, priority=n % 2)
    assert sorted(chosen(cell, State.PENDING)) == [f"t{n}" for n in range(10)]


def test_what_goes_back_to_the_queue_is_not_chosen_again(cell: Cell):
    cell.submit(*(f"t{n}" for n in range(7)), priority=5)
    cell.submit("last")

    def cancel(ids: list[str]) -> None:
        for task_id in ids:
            cell.run(cell.store.cancel(task_id))
        cell.submit(f"new{ids[0]}", priority=9)

    assert chosen(cell, State.PENDING, cancel) == [*(f"t{n}" for n in range(7)), "last"]


def test_what_fails_again_is_not_chosen_again(cell: Cell):
    cell.node("n1")
    for n in range(7):
        end(cell, f"t{n}", "failed")

    def again(ids: list[str]) -> None:
        cell.now += 1
        for task_id in ids:
            cell.run(cell.store.requeue(task_id))
            cell.place()
            cell.finish("n1", cell.starts("n1")[task_id], "failed", reason="error")

    assert chosen(cell, State.FAILED, again) == [f"t{n}" for n in range(7)]


def test_what_is_delayed_meanwhile_is_not_chosen(cell: Cell):
    names = [f"t{n}" for n in range(7)]
    cell.submit(*names, delay=60)
    cell.submit("zlast", delay=60)

    def again(ids: list[str]) -> None:
        cell.submit(*(f"{task_id}.next" for task_id in ids), delay=60)
        if cell.state("zlast") == "delayed":
            cell.run(cell.store.hold("zlast"))

    assert chosen(cell, State.DELAYED, again) == names


def test_every_state_is_looked_through() -> None:
    assert sorted(state for kind in selection.KINDS for state in kind) == sorted(State)


def test_those_that_wait_for_others_as_they_are_cancelled(cell: Cell):
    names = [f"t{n}" for n in range(7)]
    cell.node("n1")
    cell.submit("first", cpu=64)
    cell.submit(*names, after=["first"])

    def cancel(ids: list[str]) -> None:
        for task_id in ids:
            cell.run(cell.store.cancel(task_id, requeue=False))

    assert sorted(chosen(cell, State.WAITING, cancel)) == names
    assert chosen(cell, State.WAITING) == []


def test_held_ones_as_they_are_brought_back(cell: Cell):
    names = [f"t{n}" for n in range(7)]
    cell.submit(*names)
    for name in names:
        cell.run(cell.store.hold(name))

    def bring_back(ids: list[str]) -> None:
        for task_id in ids:
            cell.run(cell.store.unhold(task_id))

    assert sorted(chosen(cell, State.HELD, bring_back)) == names


def test_those_on_nodes(cell: Cell):
    cell.node("n1", cpu=4)
    cell.node("n2", cpu=4)
    cell.submit(*(f"t{n}" for n in range(8)))
    cell.place()
    for node_id in ("n1", "n2"):
        starts = cell.starts(node_id)
        cell.started(node_id, *list(starts.values())[:3])
    running, assigned = chosen(cell, State.RUNNING), chosen(cell, State.ASSIGNED)
    assert (len(running), len(assigned)) == (6, 2)
    assert {*running, *assigned} == {f"t{n}" for n in range(8)}


def test_the_rest_of_an_array_is_chosen_by_its_id(cell: Cell):
    cell.node("n1", cpu=2)
    cell.submit("sweep", array="1-10")
    cell.place()
    assert chosen(cell, State.PENDING) == ["sweep"]
    assert sorted(chosen(cell, State.ASSIGNED)) == ["sweep/1", "sweep/2"]


@pytest.mark.parametrize("state", State)
def test_an_index_of_another_type_holds_none_or_it_is_told_who_mends_it(damaged: Cell, state: State):
    cell = damaged
    cell.submit("t1")
    keys = cell.store.keys
    for key in (keys.groups, keys.held, keys.delayed, keys.waiting, keys.finished(state), keys.nodes, keys.gone):
        cell.run(send("DEL", key))
        cell.run(send("SET", key, "x"))
    if state in {State.PENDING, State.ASSIGNED, State.RUNNING}:
        with pytest.raises(WrongType, match="doctor"):
            chosen(cell, state)
    else:
        assert chosen(cell, state) == []


def test_operations_that_are_refused_leave_the_others_alone(cell: Cell):
    cell.submit("t1", "t2")
    cell.run(cell.store.cancel("t2", requeue=False))
    held, gone, final = cell.run(together(*map(cell.store.hold, ("t1", "absent", "t2")), apart=True))
    assert held is State.HELD
    assert isinstance(gone, TaskNotFound)
    assert isinstance(final, TaskFinal)


def test_one_that_cannot_be_read_leaves_the_others_alone(damaged: Cell):
    cell = damaged
    cell.submit("t1", "t2")
    cell.run(send("DEL", cell.store.keys.task("t1")))
    cell.run(send("SADD", cell.store.keys.task("t1"), "x"))
    bad, good = cell.run(together(*map(cell.store.hold, ("t1", "t2")), apart=True))
    assert isinstance(bad, RqSchedError)
    assert good is State.HELD


def test_without_that_a_refusal_is_raised(cell: Cell):
    cell.submit("t1")
    with pytest.raises(TaskNotFound):
        cell.run(together(*map(cell.store.hold, ("t1", "absent"))))
