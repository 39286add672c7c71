"""Which node a task is put on: the setting node_choice."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lua.cell import Cell


def on(cell: Cell, task_id: str) -> str | None:
    return cell.info(task_id).node_id


@pytest.mark.parametrize(
    ("choice", "memory", "node"),
    [
        ("first_fit", 100, "c"),  # the smallest node, however much room others have
        ("first_fit", 1000, "c"),
        ("best_fit", 100, "a"),  # least CPU left
        ("best_fit", 1000, "a"),
        ("tight", 100, "c"),  # its memory would be wasted less there
        ("tight", 1000, "a"),
    ],
)
def test_choices(cell: Cell, choice: str, memory: int, node: str) -> None:
    cell.run(cell.store.set_setting("node_choice", choice))
    cell.node("a", 8, 8000)
    cell.submit("there", cpu=7, memory=3000)
    cell.place()
    cell.node("b", 4, 8000)
    cell.node("c", 4, 4000)
    cell.place()
    cell.submit("t", cpu=1, memory=memory)
    cell.place()
    assert on(cell, "there") == "a"
    assert on(cell, "t") == node


def test_of_equal_nodes_the_first_by_name_is_filled_first(cell: Cell) -> None:
    for name in ("c", "a", "b"):
        cell.node(name, 2, 1000)
    cell.place()
    for i in range(6):
        cell.submit(f"t{i}")
        cell.place()
    assert [on(cell, f"t{i}") for i in range(6)] == ["a", "a", "b", "b", "c", "c"]


def ends(cell: Cell, node_id: str) -> float | None:
    """In how many seconds all on the node will have ended, as its record says, and the index `ends`."""

    def ask() -> Any:
        return (yield [("HGET", cell.store.keys.node(node_id), "ends"), ("ZSCORE", cell.store.keys.ends, node_id)])

    at, indexed = cell.run(ask())
    assert (at and int(at)) == (indexed and int(indexed))
    return None if at is None else (int(at) - cell.now) / 1000


def test_aligned_ends_come_together_and_whole_nodes_stay_free(cell: Cell) -> None:
    cell.run(cell.store.set_setting("node_choice", "aligned"))
    for name, cpu in (("a", 8), ("b", 8), ("c", 9), ("d", 7)):
        cell.node(name, cpu, 8000)
    cell.place()
    cell.submit("endless", cpu=4)
    cell.place()
    cell.submit("short", cpu=5, time_limit=100)
    cell.submit("long", cpu=5, time_limit=1000)
    cell.place()
    assert [on(cell, task) for task in ("endless", "short", "long")] == ["d", "a", "b"]
    assert [ends(cell, node) for node in "abcd"] == [100, 1000, None, None]
    cell.submit("within", time_limit=90)  # both would hold it; a is free sooner
    cell.submit("beyond", time_limit=110)  # within what b is busy for anyway
    cell.submit("last", time_limit=1200)  # b for 200 s more
    cell.submit("unlimited")  # as first_fit: the smallest
    cell.place()
    assert [on(cell, task) for task in ("within", "beyond", "last", "unlimited")] == ["a", "b", "b", "d"]
    cell.submit("large", cpu=5, time_limit=100)  # only the empty one has room
    cell.place()
    assert on(cell, "large") == "c"
    assert [ends(cell, node) for node in "abcd"] == [100, 1200, 100, None]


def test_each_task_of_a_class_is_aligned_by_its_own_limit(cell: Cell) -> None:
    cell.run(cell.store.set_setting("node_choice", "aligned"))
    cell.node("a", 4, 8000)
    cell.node("b", 4, 8000)
    cell.place()
    cell.submit("a1", cpu=3, time_limit=100)
    cell.submit("b1", cpu=2, time_limit=1000)
    cell.place()
    cell.submit("b2", time_limit=1000)
    cell.submit("a2", time_limit=100)
    cell.place()
    assert [on(cell, task) for task in ("a1", "b1", "a2", "b2")] == ["a", "b", "a", "b"]


def test_when_a_node_is_free_is_known_again_once_it_was_empty(cell: Cell) -> None:
    cell.node("a", 2, 1000)
    cell.submit("endless")
    cell.submit("limited", time_limit=50)
    cell.place()
    assert ends(cell, "a") is None
    for start in cell.starts("a").values():
        cell.finish("a", start)
    cell.submit("next", time_limit=50)
    cell.submit("longer", time_limit=70)
    cell.place()
    for start in cell.starts("a").values():
        assert ends(cell, "a") == 70
        cell.finish("a", start)
    assert ends(cell, "a") is None


@pytest.mark.parametrize("choice", ["first_fit", "best_fit", "tight", "aligned"])
def test_a_node_beyond_the_candidates_is_found(cell: Cell, choice: str) -> None:
    """Forty nodes have the cores, only the one with most free CPU has the memory."""
    cell.run(cell.store.set_setting("node_choice", choice))
    for i in range(40):
        cell.node(f"n{i:02}", 4, 100)
    cell.node("big", 64, 5000)
    cell.place()
    cell.submit("t", "too-large", cpu=2, memory=4000, time_limit=10)
    cell.place()
    assert on(cell, "t") == "big"
    assert on(cell, "too-large") is None


def test_the_earliest_that_fits_wins_also_behind_many_groups_that_dont(cell: Cell) -> None:
    """It is the head of its group; in the group before it only a later task fits."""
    for i, memory in enumerate((500, 700, 1000, 1500, 2000)):
        for cpu in (1, 2, 3, 4, 6):
            cell.submit(f"large{i}-{cpu}", cpu=cpu, memory=memory, priority=9)
    cell.submit("head", memory=380, priority=8)
    cell.submit("inner", memory=290, priority=1)
    cell.submit("earliest", memory=100, priority=3)
    cell.node("a", 1, 300)
    cell.place()
    assert list(cell.starts("a")) == ["earliest"]
