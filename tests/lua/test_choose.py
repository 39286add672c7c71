"""Which node a task is put on: the setting node_choice."""

from __future__ import annotations

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


@pytest.mark.parametrize("choice", ["first_fit", "best_fit", "tight"])
def test_a_node_beyond_the_candidates_is_found(cell: Cell, choice: str) -> None:
    """Forty nodes have the cores, only the one with most free CPU has the memory."""
    cell.run(cell.store.set_setting("node_choice", choice))
    for i in range(40):
        cell.node(f"n{i:02}", 4, 100)
    cell.node("big", 64, 5000)
    cell.place()
    cell.submit("t", "too-large", cpu=2, memory=4000)
    cell.place()
    assert on(cell, "t") == "big"
    assert on(cell, "too-large") is None
