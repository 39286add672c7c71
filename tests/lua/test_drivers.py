"""Tasks that need memory alone: drivers, which wait for others and hold no core."""

from __future__ import annotations

from typing import Any

import pytest

from rq_sched.errors import InvalidValue
from rq_sched.link import Op
from rq_sched.model.resources import Resources
from rq_sched.model.states import State
from tests.lua.cell import Cell


def settings(cell: Cell) -> Any:
    def read() -> Op[Any]:
        return (yield [("HKEYS", cell.store.keys.settings)])[0]

    return cell.run(read())


@pytest.mark.parametrize("choice", ["first_fit", "best_fit", "tight", "aligned"])
def test_a_node_without_free_cores_takes_them(cell: Cell, choice: str) -> None:
    cell.run(cell.store.set_setting("node_choice", choice))
    cell.node("n", 2, 1000)
    cell.submit("a", "b", memory=100)
    cell.submit("driver", "large", cpu=0, memory=500)
    assert cell.place() == 3
    assert [cell.state(t) for t in ("a", "b", "driver", "large")] == [State.ASSIGNED] * 3 + [State.PENDING]
    assert cell.run(cell.store.node("n")).free == Resources(0, 300)
    starts = cell.starts("n")
    assert starts["driver"].allocation == Resources(0, 500)
    cell.finish("n", starts["driver"])  # all cores are busy as before
    assert cell.state("large") is State.ASSIGNED
    assert cell.run(cell.store.node("n")).free == Resources(0, 300)


def test_their_place_in_the_order_counts(cell: Cell) -> None:
    """What comes free goes to the earliest that fits, whether it needs cores or not."""
    cell.node("n", 1, 1000)
    cell.submit("a", memory=1000)
    cell.place()
    cell.submit("first", cpu=0, memory=400)
    cell.submit("second", cpu=1, memory=400)
    cell.submit("third", cpu=0, memory=400)
    cell.submit("fourth", cpu=0, memory=200)
    (start,) = cell.starts("n").values()
    _, starts = cell.finish("n", start)
    assert list(starts) == ["first", "second", "fourth"]


def test_where_none_was_ever_a_busy_node_is_full(cell: Cell) -> None:
    cell.node("n", 1, 1000)
    cell.submit("a", "b", memory=100)
    assert cell.place() == 1
    assert b"drivers" not in settings(cell)
    cell.submit("driver", cpu=0, memory=100)
    assert b"drivers" in settings(cell)
    assert cell.place() == 1


def test_they_do_not_grow(cell: Cell) -> None:
    with pytest.raises(InvalidValue, match="a task with cpu 0 has memory alone, and can't grow"):
        cell.submit("driver", cpu=0, max_cpu=2)
